"""`audioformer encode`: what it writes, what `datasets` and training make of it, what it refuses."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from datasets import load_dataset
from transformers import AutoConfig

from audioformer.cli import main
from audioformer.commands.encode import build_parser
from audioformer.data import ReadingSettings, list_audio_clips, read_listing
from audioformer.data.codes.encoded import load_codes
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import codec_fingerprint
from audioformer.model_cards import TINY_CODEC
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification

from ..feature_extraction.common import make_mimi


def make_sounds(folder: Path, num_clips: int = 12, seconds: float = 0.6) -> Path:
    for index in range(num_clips):
        path = folder / ("tone", "noise")[index % 2] / f"{index:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(index).standard_normal(round(16000 * seconds)), 16000)
    return folder


@pytest.fixture(scope="module")
def encoded(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("encode")
    sounds = make_sounds(root / "sounds")
    output = root / "codes"
    flags = ["--window-s", "0.5", "--long-files", "cut", "--shard-size", "5", "--codec", str(TINY_CODEC)]
    assert main(["encode", str(sounds), "--output", str(output), *flags]) == 0
    return output


def test_datasets_reads_it_with_and_without_the_card(encoded, tmp_path):
    files = str(encoded / "codes-*.parquet")
    rows = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "a"))
    assert rows.num_rows == 12 and np.array(rows[0]["codes"]).shape == (4, math.ceil(0.5 * 75))
    assert str(rows.features["codes"]) == "List(List(Value('uint16')))"
    by_card = load_dataset(str(encoded), cache_dir=str(tmp_path / "b"))
    assert by_card["train"].to_list() == rows.to_list()


def test_every_file_says_where_its_codes_come_from(encoded):
    codec = AudioFormerFeatureExtractor(codec=str(TINY_CODEC)).codec
    for file in encoded.glob("codes-*.parquet"):
        metadata = json.loads(pq.read_metadata(file).metadata[b"audioformer"])
        assert metadata["codec"]["codec_fingerprint"] == codec_fingerprint(codec)
        assert {"codec", "codec_revision", "frame_rate", "sampling_rate", "codebook_size"} <= metadata["codec"].keys()
    info = json.loads((encoded / "dataset_info.json").read_text())
    assert info["splits"]["train"]["num_examples"] == 12 and "codes" in info["features"]


def test_the_card_tells_what_was_counted(encoded):
    text = (encoded / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["license"] == "other" and header["configs"][0]["data_files"] == "codes-*.parquet"
    data = load_codes(encoded)
    rows = [np.concatenate([clip[row] for clip in data.codes]) for row in range(4)]
    counts = np.array([np.bincount(row, minlength=1024) for row in rows])
    shares = counts / counts.sum(axis=1, keepdims=True)
    for row in range(4):
        used = int((counts[row] > 0).sum())
        entropy = -sum(share * math.log2(share) for share in shares[row] if share)
        assert f"| C{row + 1} | {used:,} of 1,024 | {entropy:.2f} of 10.00 |" in text
    assert "12 of 12 listed" in text and "noise (6)" in text and "{{" not in text
    assert (encoded / "histogram.png").read_bytes().startswith(b"\x89PNG")


def test_training_reads_it(encoded, tmp_path):
    flags = ["--codes", str(encoded), "--output", str(tmp_path), "--codebooks", "0", "--max-steps", "1", "--use-cpu"]
    sizes = ["--hidden-size", "32", "--num-hidden-layers", "1", "--num-attention-heads", "2"]
    assert main(["pretrain", "--recipe", "tiny_pretrain", *flags, *sizes]) == 0
    assert (tmp_path / "C1" / "model.safetensors").is_file()


def test_another_codec_gives_a_model_of_its_own_vocabulary(encoded, tmp_path, capsys):
    make_mimi().save_pretrained(tmp_path / "mimi")
    codec = ["--codec", str(tmp_path / "mimi")]
    source = str(encoded.parent / "sounds")
    assert main(["encode", source, "--output", str(tmp_path / "codes"), "--num-codebooks", "2", *codec]) == 0
    run = ["--codes", str(tmp_path / "codes"), "--num-codebooks", "2", *codec, "--max-steps", "1", "--use-cpu"]
    sizes = ["--hidden-size", "32", "--num-hidden-layers", "1", "--num-attention-heads", "2"]
    pretrained = tmp_path / "pretrained"
    assert main(["pretrain", "--recipe", "tiny_pretrain", *run, *sizes, "--output", str(pretrained)]) == 0
    config = AutoConfig.from_pretrained(pretrained / "C2")
    assert (config.vocab_size, config.hop_length, config.codebook) == (260, 1920, 1)
    finetune = ["finetune", "--recipe", "tiny_ft1", "--output", str(tmp_path / "ft1"), "--model"]
    assert main([*finetune, str(pretrained / "C1"), *run]) == 0
    capsys.readouterr()
    # The same codes for a checkpoint of EnCodec's.
    config = AudioFormerConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    AudioFormerForAudioClassification(config).save_pretrained(tmp_path / "of-encodec")
    of_encodec = ["--model", str(tmp_path / "of-encodec")]
    wrong = ["finetune", "--recipe", "tiny_ft1", "--output", str(tmp_path / "no"), *of_encodec, *run]
    assert main([*wrong, "--new-head"]) == 1
    assert "made for 1024 entries per codebook, the codec has 256" in capsys.readouterr().err


@pytest.fixture(scope="module")
def narrow(encoded) -> Path:
    """Codes of the first codebook alone, and of the first two."""
    for number in (1, 2):
        output = encoded.parent / f"narrow-{number}"
        flags = ["--output", str(output), "--num-codebooks", str(number)]
        assert main(["encode", str(encoded.parent / "sounds"), *flags]) == 0
    return encoded.parent


@pytest.mark.parametrize(
    ("number", "codebooks", "lacking"),
    [(1, ["0", "1", "2", "3"], "1 .C2., 2 .C3., 3 .C4."), (2, ["0", "2"], "2 .C3."), (2, [], "3 .C4.")],
)
def test_codebooks_that_a_folder_lacks_are_refused_before_any_model_is_trained(
    narrow, tmp_path, capsys, number, codebooks, lacking
):
    folder = narrow / f"narrow-{number}"
    command = ["pretrain", "--recipe", "tiny_pretrain", "--codes", str(folder), "--output", str(tmp_path / "run")]
    flags = ["--codebooks", *codebooks] if codebooks else []
    assert main([*command, *flags, "--max-steps", "1", "--use-cpu"]) == 1
    said = capsys.readouterr().err
    assert re.search(rf"narrow-{number}' has no codebook {lacking}: .*`num_codebooks` {number}", said), said
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").glob("C*"))


def test_the_codebooks_of_a_classifier_and_of_its_teachers_must_be_in_the_folder(narrow, tmp_path, capsys):
    sizes = ["--hidden-size", "32", "--num-hidden-layers", "1", "--num-attention-heads", "2"]
    run = ["--max-steps", "1", "--use-cpu"]
    command = ["finetune", "--recipe", "tiny_ft1", "--output", str(tmp_path / "ft1"), *run, *sizes]
    assert main([*command, "--codes", str(narrow / "narrow-1"), "--codebook", "2"]) == 1
    assert "has no codebook 2 (C3)" in capsys.readouterr().err
    pretrain = ["pretrain", "--recipe", "tiny_pretrain", "--codes", str(narrow / "codes"), "--codebooks", "0", "2"]
    assert main([*pretrain, *run, *sizes, "--output", str(tmp_path / "mlm")]) == 0
    capsys.readouterr()
    command = ["finetune", "--recipe", "tiny_ft2", "--output", str(tmp_path / "ft2"), *run]
    models = ["--model", str(tmp_path / "mlm" / "C1"), "--teachers", str(tmp_path / "mlm" / "C3")]
    assert main([*command, *models, "--codes", str(narrow / "narrow-2")]) == 1
    assert "has no codebook 2 (C3)" in capsys.readouterr().err


def test_audio_without_labels_trains_no_classifier(tmp_path, capsys):
    make_sounds(tmp_path / "sounds" / "deep" / "er", 3)
    flags = ["--data", str(tmp_path / "sounds"), "--layout", "audio_files", "--output", str(tmp_path / "run")]
    assert main(["finetune", "--recipe", "tiny_ft1", *flags]) == 1
    assert "The data have no labels" in capsys.readouterr().err


def test_started_again_it_does_nothing(encoded, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in encoded.iterdir()}
    flags = ["--window-s", "0.5", "--long-files", "cut", "--shard-size", "5"]
    assert main(["encode", str(encoded.parent / "sounds"), "--output", str(encoded), *flags]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in encoded.iterdir() if path.name in before} == before
    assert "12 of 12 listed" in capsys.readouterr().out


def test_a_tree_without_class_folders_has_no_labels(tmp_path):
    make_sounds(tmp_path / "sounds" / "2024" / "may", 3)
    assert main(["encode", str(tmp_path / "sounds"), "--output", str(tmp_path / "codes")]) == 0
    data = load_codes(tmp_path / "codes")
    assert data.labels == [] and data.dataset["id"][0] == "2024/may/noise/01.wav"


@pytest.mark.parametrize(
    "flags, message",
    [
        (["{sounds}/gone"], "`data` '.*gone' does not exist"),
        (["{sounds}", "--num-codebooks", "9"], "`codebooks` contains 8"),
        (["{sounds}", "--window-s", "-1"], "`--window-s` must be more than 0, got -1.0"),
        (["{sounds}", "--num-codebooks", "0"], "`--num-codebooks` must be more than 0, got 0"),
        (["{sounds}", "--workers", "0"], "`--workers` must be more than 0, got 0"),
        (["{sounds}", "--codec", "no/such/codec"], "'no/such/codec' does not exist"),
        (["{empty}"], "No audio"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(tmp_path, capsys, flags, message):
    make_sounds(tmp_path / "sounds", 2)
    (tmp_path / "empty").mkdir()
    flags = [flag.format(sounds=tmp_path / "sounds", empty=tmp_path / "empty") for flag in flags]
    assert main(["encode", *flags, "--output", str(tmp_path / "codes")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("audioformer encode: error: ") and "Traceback" not in said
    assert re.search(message, said), said
    assert not (tmp_path / "codes").exists()


def test_codes_are_not_encoded_again(encoded, tmp_path, capsys):
    assert main(["encode", str(encoded), "--output", str(tmp_path / "codes")]) == 1
    assert "is a folder of codes already" in capsys.readouterr().err


def test_long_files_are_read_as_every_command_reads_them(tmp_path, capsys):
    defaults = build_parser().parse_args(["sounds", "--output", "codes"])
    given = (defaults.window_s, defaults.long_files, defaults.max_file_s, defaults.keep_silent)
    reading = ReadingSettings()
    assert given == (reading.max_length_s, reading.long_files, reading.max_duration_s, reading.keep_silent)
    make_sounds(tmp_path / "sounds", 2, seconds=2.2)
    flags = ["--output", str(tmp_path / "codes"), "--window-s", "0.8"]
    assert main(["encode", str(tmp_path / "sounds"), *flags]) == 0
    clips = list_audio_clips(read_listing(tmp_path / "sounds"), ReadingSettings(max_length_s=0.8))
    codes = load_codes(tmp_path / "codes")
    assert codes.ids == clips.ids and len(codes) == 6 and codes.groups == clips.groups
