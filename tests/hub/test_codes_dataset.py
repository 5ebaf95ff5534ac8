"""A folder of codes pushed as a data set and read back by its id."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import load_dataset

from audioformer.cli import main

from .client import ask_client
from .server import TOKEN, HubServer

PUSH = """
import json
import sys
from huggingface_hub import HfApi

HfApi().create_repo("tester/codes", repo_type="dataset")
commit = HfApi().upload_folder(repo_id="tester/codes", repo_type="dataset", folder_path=sys.argv[1])
print(json.dumps(commit.oid))
"""

# `datasets` would first ask the viewer of data sets, at an address that it makes of the Hub's, for what it knows.
LOAD = """
import json
import sys
import datasets
from datasets import load_dataset

datasets.config.USE_PARQUET_EXPORT = False
pinned = load_dataset("tester/codes", revision=sys.argv[1], split="train")
streamed = load_dataset("tester/codes", split="train", streaming=True)
report = {"rows": pinned.to_list(), "streamed": list(streamed), "features": str(pinned.features)}
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def codes(tmp_path_factory) -> Path:
    """A folder of codes, written by `audioformer encode`."""
    root = tmp_path_factory.mktemp("codes")
    for index in range(6):
        path = root / "sounds" / ("tone", "noise")[index % 2] / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(index).standard_normal(8000), 16000)
    assert main(["encode", str(root / "sounds"), "--output", str(root / "codes"), "--shard-size", "4"]) == 0
    return root / "codes"


@pytest.mark.slow
def test_codes_are_pushed_and_loaded_by_id(server: HubServer, codes, tmp_path):
    commit = ask_client(PUSH, str(codes), server=server, home=tmp_path / "push", token=TOKEN)
    pushed = server.repositories["datasets", "tester/codes"].head
    assert pushed.sha == commit
    local = {path.relative_to(codes).as_posix(): path.read_bytes() for path in codes.rglob("*") if path.is_file()}
    assert {path: file.content for path, file in pushed.files.items() if path != ".gitattributes"} == local
    assert sum(path.endswith(".parquet") and file.is_large for path, file in pushed.files.items()) == 2

    report = ask_client(LOAD, commit, server=server, home=tmp_path / "load")
    rows = load_dataset(
        "parquet", data_files=str(codes / "codes-*.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert rows.num_rows == 6 and report["rows"] == rows.to_list() == report["streamed"]
    assert report["features"] == str(rows.features)


def test_nothing_of_this_machine_is_in_the_folder(codes):
    """The names of folders and of the user are nobody's business."""
    for path in codes.rglob("*"):
        assert path.is_dir() or str(codes.parent).encode() not in path.read_bytes(), path.name
