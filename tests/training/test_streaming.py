"""Pre-training on a stream: a killed run goes on where it was, processes share the data, and what is refused."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset, DatasetDict, Features, Value
from PIL import Image
from safetensors.torch import load_file

from audioformer.cli import main
from audioformer.training.examples.streams import StreamedExamples
from audioformer.training.pretraining.examples import open_shards
from audioformer.training.settings import create_settings

from .processes import run_in_process, run_on_two_processes
from .run_streamed import fed, pretrain, run


@pytest.fixture(scope="module")
def tars(tmp_path_factory) -> Path:
    """Five tar files of six clips: one of half a second, and one of three windows of 0.4 s, in turns."""
    folder = tmp_path_factory.mktemp("tars")
    for number in range(5):
        with tarfile.open(folder / f"{number}.tar", "w") as tar:
            for index in range(6):
                file, rng = io.BytesIO(), np.random.default_rng(10 * number + index)
                soundfile.write(file, 0.1 * rng.standard_normal(6400 if index % 2 else 19200), 16000, format="FLAC")
                info = tarfile.TarInfo(f"{index}.flac")
                info.size = len(file.getvalue())
                tar.addfile(info, io.BytesIO(file.getvalue()))
    return folder


CROPS = 4 * 12
"""Crops of the four tar files that are not held out."""
FLAGS = ["--max-length-s", "0.4", "--shuffle-buffer-size", "5", "--average-best-checkpoints", "2"]


@pytest.fixture(scope="module")
def whole(tars, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "whole"
    run(tars, output, [*FLAGS, "--max-steps", "30"])
    return output


def test_a_run_sees_every_crop_once_before_it_sees_one_again(whole):
    clips = [clip for batch in fed(whole).values() for clip in batch]
    assert len(clips) == 60 and len(set(clips[:CROPS])) == CROPS and set(clips[CROPS:]) < set(clips[:CROPS])


def test_results_and_card_say_what_was_streamed(whole, tars):
    results = json.loads((whole / "pretrain_results.json").read_text())
    assert results["stream"] == {"source": tars.name, "shards": 4, "held_out_shards": 1}
    assert results["held_out_clips"] == 12 and results["training"]["train_clips"] is None
    assert np.isfinite(results["held_out_loss"]) and "train_clips" not in results
    assert f"60 clips streamed from 4 shards of {tars.name}" in (whole / "README.md").read_text()
    averaged = results["training"]["averaged_checkpoints"]
    assert len(averaged) == 2 and f"{averaged[0]['step']}, {averaged[1]['step']}." in (whole / "README.md").read_text()
    assert {path.name for path in (whole / "training").iterdir() if path.is_dir()} == set()
    log = json.loads((whole / "training" / "trainer_state.json").read_text())["log_history"]
    losses = {entry["step"]: entry["eval_loss"] for entry in log if "eval_loss" in entry}
    best = sorted(losses, key=lambda step: losses[step])[:2]
    assert sorted(best) == [entry["step"] for entry in averaged]
    assert log[-1]["epoch"] == 1.0 and [entry["step"] for entry in log if "eval_loss" in entry][:2] == [4, 8]
    with Image.open(whole / "training" / "reconstruction.png") as picture:
        assert picture.width > 1000


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_goes_on_with_the_clips_that_follow(workers, whole, tars, tmp_path):
    flags = [*FLAGS, "--max-steps", "30", "--dataloader-num-workers", str(workers)]
    if workers:
        whole = tmp_path / "whole"
        run_in_process(run, tars, whole, flags)
    # Two steps after a checkpoint, in the second pass through the data of a reader.
    with pytest.raises(Exception, match="SIGKILL"):
        run_in_process(run, tars, tmp_path / "cut", flags, 26)
    run_in_process(run, tars, tmp_path / "cut", [*flags, "--resume-from-checkpoint"])
    steps = [json.loads(line)[0] for line in (tmp_path / "cut" / "fed-0.jsonl").read_text().splitlines()]
    assert steps == [*range(26), *range(24, 30)]
    assert fed(tmp_path / "cut") == fed(whole)
    resumed, uninterrupted = (load_file(path / "model.safetensors") for path in (tmp_path / "cut", whole))
    for name, value in uninterrupted.items():
        # The loss does not depend on biases of keys: theirs is noise.
        torch.testing.assert_close(resumed[name], value, atol=1e-5, rtol=1e-5, msg=name)
    log = json.loads((tmp_path / "cut" / "training" / "trainer_state.json").read_text())["log_history"]
    assert log[-1]["epoch"] == 1.0


def test_two_processes_read_shards_of_their_own_and_resume(tars, tmp_path):
    flags = [*FLAGS, "--max-steps", "12"]
    run_on_two_processes(run, tars, tmp_path / "whole", flags)
    first, second = ([clip for batch in fed(tmp_path / "whole", rank).values() for clip in batch] for rank in (0, 1))
    # Two shards each, of twelve crops.
    assert len(set(first)) == len(set(second)) == 24 and not set(first) & set(second)
    with pytest.raises(Exception, match="SIGKILL|exitcode|exit code"):
        run_on_two_processes(run, tars, tmp_path / "cut", flags, 6)
    run_on_two_processes(run, tars, tmp_path / "cut", [*flags, "--resume-from-checkpoint"])
    for rank in (0, 1):
        assert fed(tmp_path / "cut", rank) == fed(tmp_path / "whole", rank)
    results = json.loads((tmp_path / "cut" / "pretrain_results.json").read_text())
    assert results["training"]["num_processes"] == 2 and results["held_out_clips"] == 12


def test_folders_are_streamed_and_other_families_read_them(tmp_path, capsys):
    for index in range(12):
        path = tmp_path / "sounds" / ("test" if index < 2 else "train") / ("a", "b")[index % 2] / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(index).standard_normal(8000), 16000)
    common = ["--data", str(tmp_path / "sounds"), "--streaming", "--max-steps", "6", "--use-cpu", "--disable-tqdm"]
    common += ["--eval-strategy", "no", "--save-strategy", "no", "--load-best-model-at-end", "false"]
    common += ["--warmup-steps", "0", "--per-device-train-batch-size", "2", "--hidden-size", "32"]
    common += ["--num-attention-heads", "2", "--num-hidden-layers", "1", "--augment-copies", "2"]
    for recipe in ("tiny_beats_iter1", "tiny_maskspec"):
        output = tmp_path / recipe
        assert main(["pretrain", "--recipe", recipe, *common, "--output", str(output)]) == 0
        results = json.loads((output / "pretrain_results.json").read_text())
        # Only the clips of the training split, a shard each.
        assert results["stream"]["shards"] == 10 and "held_out_clips" not in results
        assert "12 clips streamed from 10 shards" in (output / "README.md").read_text()
    assert "streaming: sounds" in capsys.readouterr().out


def test_parquet_files_are_streamed_by_split_and_a_saved_data_set_by_row(tmp_path):
    stored = Features({"audio": {"bytes": Value("binary"), "path": Value("string")}, "label": Value("string")})
    rows = {"audio": [{"bytes": b"x", "path": f"{index}.wav"} for index in range(6)], "label": ["a", "b"] * 3}
    dataset = Dataset.from_dict(rows, features=stored).cast_column("audio", Audio(decode=False))
    parts = DatasetDict({"train": dataset.select(range(4)), "test": dataset.select(range(4, 6))})
    parts.save_to_disk(tmp_path / "saved")
    (tmp_path / "parquet" / "data").mkdir(parents=True)
    for split, part in parts.items():
        part.to_parquet(tmp_path / "parquet" / "data" / f"{split}-00000-of-00001.parquet")

    def paths(source: str, **given) -> tuple[str, list[str]]:
        given |= {"data": tmp_path / source, "streaming": True, "max_steps": 1, "output_dir": tmp_path / "out"}
        strategies = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
        shards = open_shards(create_settings("pretrain", "tiny_dasheng", **given, **strategies))
        clips = [clip for number in range(shards.num_shards) for clip in shards.open_shard(number)]
        return shards.layout, [clip.audio["path"] for clip in clips]

    for source in ("parquet", "saved"):
        assert paths(source) == ("datasets", ["0.wav", "1.wav", "2.wav", "3.wav"])
        assert paths(source, train_split=["test"]) == ("datasets", ["4.wav", "5.wav"])
        with pytest.raises(ValueError, match="no splits|no clips of the splits"):
            paths(source, train_split=["none"])


@pytest.mark.parametrize(
    ("recipe", "flags", "message"),
    [
        ("tiny_dasheng", [], "`streaming` needs `max_steps`, got -1"),
        ("tiny_dasheng", ["--max-steps", "9"], "`eval_strategy` must be 'steps' or 'no' with `streaming`"),
        ("dasheng_base", ["--max-train-clips", "9", "--bf16", "false"], "`max_train_clips` 9 needs all clips"),
        ("tiny_pretrain", ["--max-steps", "9"], "`streaming` cannot feed AudioFormer"),
    ],
)
def test_what_a_stream_cannot_do_is_refused_before_work(recipe, flags, message, tars, tmp_path, capsys):
    command = ["pretrain", "--recipe", recipe, "--data", str(tars), "--output", str(tmp_path / "out"), "--streaming"]
    with pytest.raises(SystemExit):
        main([*command, *flags])
    assert message in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "out").exists()


def test_readers_need_a_shard_each(tars, tmp_path, capsys):
    assert pretrain(tars, tmp_path, *FLAGS, "--max-steps", "2", "--dataloader-num-workers", "5") == 1
    assert "`data` has 4 shards to train on" in " ".join(capsys.readouterr().err.split())
    assert pretrain(tars / "0.tar", tmp_path, *FLAGS, "--max-steps", "2") == 1
    assert "holds out 1 of 1 shards" in " ".join(capsys.readouterr().err.split())


def test_a_run_does_not_go_on_with_other_readers(tmp_path):
    class Shards:
        numbers = range(8)
        sampling_rate = 16000

    begun = StreamedExamples(Shards(), num_workers=2)
    begun.save(tmp_path)
    StreamedExamples(Shards(), num_workers=2).load(tmp_path)
    with pytest.raises(ValueError, match="begun by 1 processes with 2 readers each, and these are 2 with 1"):
        StreamedExamples(Shards(), num_processes=2).load(tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        StreamedExamples(Shards(), num_workers=2).load(tmp_path / "none")


def test_a_resumed_stream_has_the_data_of_then(whole, tars, tmp_path, capsys):
    flags = [*FLAGS, "--max-steps", "4", "--keep-checkpoints"]
    assert pretrain(tars, tmp_path / "run", *flags) == 0
    (tmp_path / "run" / "pretrain_results.json").unlink()
    again = ["--max-length-s", "0.3", *flags[2:], "--resume-from-checkpoint"]
    assert pretrain(tars, tmp_path / "run", *again) == 1
    assert "begun with other clips: training clips" in " ".join(capsys.readouterr().err.split())
