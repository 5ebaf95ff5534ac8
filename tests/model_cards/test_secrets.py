"""Secrets and pickles of every kind are found in every file that could carry them, or do not leave with it."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from safetensors.numpy import save_file

from audioformer.model_cards import check
from audioformer.model_cards.check import file_findings
from audioformer.model_cards.pickles import is_pickled
from audioformer.model_cards.readers import picture_without_text
from audioformer.model_cards.secret_scan import find_secrets

from .secrets_to_find import SECRETS, any_secret

PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def write_text(folder: Path, secret: str) -> Path:
    path = folder / "notes"
    path.write_text(f"# Notes\n\nfirst\n{secret}\nlast\n")
    return path


def write_json(folder: Path, secret: str) -> Path:
    path = folder / "training_log.json"
    path.write_text(json.dumps({"log": [{"loss": 1.0}, {"note": secret}]}))
    return path


def write_escaped_json(folder: Path, secret: str) -> Path:
    """As no search in the file's own text could find it."""
    path = folder / "rejected.jsonl"
    escaped = "".join(f"\\u{ord(character):04x}" for character in secret)
    path.write_text('{"id": "a"}\n' + f'{{"id": "b", "reason": "{escaped}"}}\n')
    return path


def write_safetensors(folder: Path, secret: str) -> Path:
    path = folder / "model.safetensors"
    save_file({"weight": np.zeros(3, np.float32)}, path, metadata={"format": "pt", "note": secret})
    return path


def write_tensor_name(folder: Path, secret: str) -> Path:
    path = folder / "model.safetensors"
    save_file({f"encoder.{secret}": np.zeros(3, np.float32)}, path)
    return path


def write_tensor_bytes(folder: Path, secret: str) -> Path:
    path = folder / "model.safetensors"
    save_file({"weight": np.frombuffer(b"\0\1" + secret.encode() + b"\0", dtype=np.uint8)}, path)
    return path


def write_parquet(folder: Path, secret: str) -> Path:
    path = folder / "codes-00000-0000.parquet"
    table = pa.table({"id": ["a", "b"], "labels": [["dog"], ["rain", secret]], "codes": [[[1, 2]], [[3, 4]]]})
    pq.write_table(table, path, compression="zstd")
    return path


def write_parquet_metadata(folder: Path, secret: str) -> Path:
    path = folder / "codes-00000-0000.parquet"
    pq.write_table(pa.table({"id": ["a"]}).replace_schema_metadata({"note": secret}), path)
    return path


CARRIERS: list[Callable[[Path, str], Path]] = [
    write_text,
    write_json,
    write_escaped_json,
    write_safetensors,
    write_tensor_name,
    write_tensor_bytes,
    write_parquet,
    write_parquet_metadata,
]


@pytest.mark.parametrize("write", CARRIERS)
@settings(derandomize=True, deadline=None, max_examples=20)
@given(secret=any_secret())
def test_secrets_are_found_in_every_carrier(write, secret):
    if write is write_tensor_bytes and secret.startswith("password"):
        return  # Not looked for in numbers, where anything may come about by chance.
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), secret)
        findings = list(file_findings(path, path.name))
    assert any("contains what looks like a secret" in finding for finding in findings), (secret, findings)
    assert not any(secret in finding for finding in findings)


@pytest.mark.parametrize("kind", sorted(SECRETS))
@settings(derandomize=True, deadline=None, max_examples=6)
@given(data=st.data())
def test_every_kind_is_found_in_a_line(kind, data):
    secret = data.draw(SECRETS[kind])
    assert list(find_secrets(f"one\ntwo\n{secret}")), secret


def test_a_secret_is_found_where_two_pieces_of_a_large_file_meet(tmp_path, monkeypatch):
    secret = "hf_" + "aB3dE6" * 6
    path = write_tensor_bytes(tmp_path, secret)
    place = path.read_bytes().index(secret.encode())
    for before in (1, 12, 38):
        monkeypatch.setattr(check, "CHUNK", place + before)
        findings = list(file_findings(path, path.name))
        assert findings == [f"{path.name} contains what looks like a secret: Hugging Face token."], before


def test_a_secret_is_found_on_a_very_long_line():
    secret = "hf_" + "aB3dE6" * 6
    for place in (0, 4090, 65_500, 150_000):
        assert list(find_secrets("x " * (place // 2) + secret + " y" * 100_000)) == ["Hugging Face token, line 1"]


@pytest.mark.parametrize(
    "text",
    [
        f'"codec_fingerprint": "{"0123456789abcdef" * 4}"',
        "revision c1dbe2ae3f1de713481a3b3e7c47f357ee092040",
        '"auto_map": {"AutoModelForAudioClassification": "modeling_audioformer.AudioFormerForAudioClassification"}',
        "https://huggingface.co/facebook/encodec_24khz/blob/c1dbe2ae3f1de713481a3b3e7c47f357ee092040/README.md",
        "| SHA-256 of the codec's configuration and weights | `" + "9f" * 32 + "` |",
        "encoder.layer.11.attention.self.distance_embedding.LayerNorm_weight",
        "num_tokens: 12, token_type_ids, hf_transfer, sk-learn",
    ],
)
def test_names_and_hashes_are_no_secrets(text):
    assert list(find_secrets(text)) == []


@settings(derandomize=True, deadline=None, max_examples=20)
@given(secret=any_secret(), compressed=st.booleans())
def test_of_a_picture_only_the_pixels_go_out(secret, compressed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "classes.png"
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Comment", secret, zip=compressed)
        texts.add_itxt("Note", secret, zip=not compressed)
        exif = Image.Exif()
        exif[0x010E] = secret
        Image.fromarray(PIXELS).save(path, pnginfo=texts, exif=exif, icc_profile=secret.encode())
        with path.open("ab") as file:
            file.write(secret.encode())
        sent = picture_without_text(path)
    assert secret.encode() not in sent
    with Image.open(io.BytesIO(sent)) as image:
        image.load()
        assert image.info == {} and not image.getexif()
        assert np.array_equal(np.asarray(image), PIXELS)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


class Runs:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (print, ("was loaded",))


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", data)
    return buffer.getvalue()


def tarred(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("data")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    **{"bare": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zlib": zlib.compress},
    **{"zip": zipped, "tar": tarred, "with more behind it": lambda data: data + b"\nand more\n"},
}
NAMES = ["notes.txt", "summary.md", "LICENSE", "evil.PKL", ".env", "training_log.json", "rejected.jsonl", "code.py"]
NAMES += ["model.safetensors", "classes.png", "codes-00000-0000.parquet", "model.onnx", "sound.wav"]


@pytest.mark.parametrize("name", NAMES)
@settings(derandomize=True, deadline=None, max_examples=14)
@given(value=VALUES | st.just(Runs()), protocol=st.integers(0, 5), wrapping=st.sampled_from(sorted(WRAPPINGS)))
def test_pickles_of_every_protocol_are_refused_under_every_name(name, value, protocol, wrapping):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(WRAPPINGS[wrapping](pickle.dumps(value, protocol)))
        assert any(finding.startswith(f"{name} is") for finding in file_findings(path, name))


@settings(derandomize=True, deadline=None, max_examples=80)
@given(value=VALUES | st.just(Runs()), protocol=st.integers(0, 5))
def test_pickles_are_told_by_their_content(value, protocol):
    data = pickle.dumps(value, protocol)
    assert is_pickled(data) and is_pickled(data + b"and more")
    if isinstance(value, Runs):
        # Cut short, it raises an error, but only after it has run.
        assert is_pickled(data[: data.rindex(b"R") + 1])


@pytest.mark.parametrize(
    "text",
    [
        "# Results\n\naccuracy 71.2 %\n",
        "clips of dogs\nand of rain\n",
        "Very short.\n",
        "Pre-trained on codes.\nThe end.\n",
        "class Model:\n    pass\n",
        "(c) 2026 the authors\nof this file\n",
        "import json\n",
        '{"a": 1}',
        "",
    ],
)
def test_texts_are_no_pickles(text):
    assert not is_pickled(text.encode())
