"""Files are whole or not there, whatever other processes do at the same time."""

import pytest

from audioformer.files import CODES_PATTERN, EMPTY_PATTERN, codes_part_name, remove_unfinished, write_whole


def test_a_file_appears_only_once_it_is_complete(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def write(unfinished):
        unfinished.write_text("half")
        assert path.read_text() == "old" and unfinished.parent == tmp_path and unfinished.suffix == ".json"
        unfinished.write_text("new")

    write_whole(path, write)
    assert path.read_text() == "new" and [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_whole(path, lambda unfinished: unfinished.write_text(str(1 / 0)))
    assert path.read_text() == "old"


def test_a_file_that_another_process_tidied_away_is_written_again(tmp_path):
    path, writes = tmp_path / "README.md", []

    def write(unfinished):
        unfinished.write_text("text")
        writes.append(unfinished)
        if len(writes) == 1:
            remove_unfinished(tmp_path)

    write_whole(path, write)
    assert path.read_text() == "text" and len(writes) == 2


def test_a_file_that_another_process_wrote_meanwhile_is_kept(tmp_path):
    path = tmp_path / "README.md"

    def write(unfinished):
        unfinished.write_text("text")
        path.write_text("text")
        remove_unfinished(tmp_path)

    write_whole(path, write)
    assert path.read_text() == "text"


def test_a_folder_that_is_gone_is_an_error(tmp_path):
    folder = tmp_path / "codes"
    folder.mkdir()

    def write(unfinished):
        unfinished.write_text("text")
        unfinished.unlink()

    with pytest.raises(FileNotFoundError):
        write_whole(folder / "README.md", write)


def test_names_of_parts_match_their_patterns(tmp_path):
    for is_empty in (False, True):
        (tmp_path / codes_part_name(3, 1, is_empty)).touch()
    assert [path.name for path in tmp_path.glob(CODES_PATTERN)] == ["codes-00003-0001.parquet"]
    assert [path.name for path in tmp_path.glob(EMPTY_PATTERN)] == ["empty-00003-0001.parquet"]
