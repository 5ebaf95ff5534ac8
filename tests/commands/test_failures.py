"""How commands end: one line and an exit status for what lies outside the program, a traceback for its own errors."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from audioformer import cli
from audioformer.cli import COMMANDS, main
from audioformer.failures import LONGEST_NAME, explain
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_ESC10

SYSTEM_ERRORS = [errno.ENOSPC, errno.EEXIST, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EACCES, errno.EROFS, errno.EIO]


def command(monkeypatch, name: str, fail, output: Path | None = None) -> None:
    """Replace a command by one that fails."""

    def run(arguments) -> int:
        raise fail() if callable(fail) else fail

    module = SimpleNamespace(parse=lambda argv: argv, run=run)
    if output is not None:
        module.output_of = lambda arguments: (output, "the same command goes on from there")
    monkeypatch.setattr(cli.importlib, "import_module", lambda path: module)


def last_line(capsys) -> str:
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("sound") / "tone.wav"
    soundfile.write(file, 0.1 * np.sin(np.arange(12000) * 0.1), 24000)
    return file


@pytest.mark.parametrize("name", COMMANDS)
@settings(derandomize=True, deadline=None, max_examples=25)
@given(code=st.sampled_from(SYSTEM_ERRORS), file=st.text(min_size=1, max_size=6000).map(lambda text: text + "!"))
def test_whatever_the_system_refuses_is_one_line_and_status_1(name, code, file):
    with pytest.MonkeyPatch.context() as patch:
        command(patch, name, OSError(code, os.strerror(code), file))
        with patch.context() as said:
            lines: list[str] = []
            said.setattr(sys, "stderr", SimpleNamespace(write=lines.append, flush=lambda: None))
            assert main([name]) == 1
    text = "".join(lines)
    assert text.startswith(f"audioformer {name}: error: ") and os.strerror(code).lower() in text
    assert len(text) < LONGEST_NAME + 150


@pytest.mark.parametrize(
    "error",
    [
        ValueError("`--a` must be 1"),
        yaml.YAMLError("line 3"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: invalid device ordinal"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
        AssertionError("Torch not compiled with CUDA enabled"),
        MemoryError(),
        ImportError("Resampling needs soxr: `pip install soxr`."),
        ModuleNotFoundError("No module named 'flash_attn'", name="flash_attn"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_libraries_report_is_one_line(monkeypatch, capsys, error):
    command(monkeypatch, "classify", error)
    assert main(["classify"]) == 1
    (line,) = last_line(capsys).splitlines()
    assert line.startswith("audioformer classify: error: ")
    with pytest.raises(type(error)):
        main(["classify", "--debug"])


@pytest.mark.parametrize(
    "error",
    [
        TypeError("'NoneType' object is not callable"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"),
        KeyError("labels"),
        AssertionError(),
        RecursionError("maximum recursion depth exceeded"),
        ImportError("cannot import name 'x' from 'audioformer.cli'", name="audioformer.cli"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_the_program_keeps_its_traceback(monkeypatch, error):
    command(monkeypatch, "classify", error)
    with pytest.raises(type(error)):
        main(["classify"])


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_ends_with_130_and_names_what_was_written(monkeypatch, capsys, tmp_path, name):
    def fail() -> BaseException:
        (tmp_path / "part").write_text("half")
        return KeyboardInterrupt()

    command(monkeypatch, name, fail, tmp_path)
    assert main([name]) == 130
    stopped, left = last_line(capsys).splitlines()
    assert stopped == f"audioformer {name}: stopped by Ctrl-C"
    assert left == f"audioformer {name}: what it has written is in {tmp_path}: the same command goes on from there"


def test_what_was_there_before_is_not_named(monkeypatch, capsys, tmp_path):
    (tmp_path / "old").write_text("finished")
    os.utime(tmp_path / "old", (time.time() - 99,) * 2)
    command(monkeypatch, "encode", OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert main(["encode"]) == 1
    assert last_line(capsys) == "audioformer encode: error: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"a": 1}, protocol=0), None], ids=repr)
def test_a_file_that_torch_cannot_load_is_named(monkeypatch, capsys, tmp_path, content):
    file = tmp_path / "checkpoint-1" / "optimizer.pt"
    file.parent.mkdir()
    torch.save({"state": torch.zeros(999)}, file)
    file.write_bytes(file.read_bytes()[:1500] if content is None else content)

    def load() -> BaseException:
        torch.load(file, weights_only=True)
        raise NotImplementedError

    command(monkeypatch, "finetune", load)
    assert main(["finetune"]) == 1
    (line,) = last_line(capsys).splitlines()
    assert f"{file} cannot be read, it is damaged or cut off" in line


def test_a_full_disk_is_named_where_torch_saves(monkeypatch, capsys):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")

    def save() -> BaseException:
        torch.save({"state": torch.zeros(99999)}, "/dev/full")
        raise NotImplementedError

    command(monkeypatch, "finetune", save)
    assert main(["finetune"]) == 1
    (line,) = last_line(capsys).splitlines()
    assert "/dev/full" in line and ("disk" in line or "space" in line)


@pytest.mark.parametrize("parse", [yaml.safe_load, __import__("json").loads], ids=["yaml", "json"])
def test_input_that_is_nested_without_end_is_no_error_of_the_program(parse):
    with pytest.raises(RecursionError) as caught:
        parse("[" * 100_000)
    assert "nested too deeply" in (explain(caught.value) or "")


def test_the_message_of_a_worker_process_comes_without_its_traceback():
    error = OSError(
        "Caught OSError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  x\n"
        "OSError: gone"
    )
    assert explain(error) == "gone"


def test_debug_stands_anywhere_and_leaves_the_setting_of_the_trainer_alone():
    assert cli._without_debug(["--debug", "classify", "a.wav"]) == (["classify", "a.wav"], True)
    assert cli._without_debug(["classify", "--debug", "a.wav"]) == (["classify", "a.wav"], True)
    trainers = ["finetune", "--debug", "underflow_overflow"]
    assert cli._without_debug(trainers) == (trainers, False)
    assert cli._without_debug(["classify", "--", "--debug"]) == (["classify", "--", "--debug"], False)


def commands_with_output(output: str, sound: Path) -> list[list[str]]:
    data, model = str(sound.parent), str(TINY_ESC10)
    return [
        ["encode", data, "--output", output],
        ["export", "--onnx", "--parts", "classifier", "--output", output],
        ["evaluate", "--model", model, "--data", data, "--output", output],
        ["finetune", "--model", model, "--data", data, "--output", output],
        ["pretrain", "--recipe", "tiny_pretrain", "--data", data, "--output", output],
    ]


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize("kind", ["a file", "in a file", "overlong"])
def test_an_output_that_cannot_be_a_folder(sound, tmp_path, capsys, index, kind):
    (tmp_path / "file").write_text("mine")
    output = {"a file": "file", "in a file": "file/sub", "overlong": "x" * 5000}[kind]
    arguments = commands_with_output(str(tmp_path / output), sound)[index]
    try:
        status = main(arguments)
    except SystemExit as stopped:
        status = stopped.code
    said = last_line(capsys)
    assert status in (1, 2) and "error" in said and len(said) < 700
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("device", ["nosuch", "meta", "cuda:99", "cpu:cpu"])
def test_a_device_that_cannot_compute(sound, tmp_path, capsys, device):
    for arguments in (["classify", str(sound)], ["encode", str(sound.parent), "--output", str(tmp_path)], ["app"]):
        assert main([*arguments, "--device", device]) == 1
        said = last_line(capsys)
        assert f"`--device` {device!r} cannot be used here; devices of this machine are cpu" in said


@pytest.mark.parametrize("model", ["gone", "./a/b/c", "x" * 5000, "a b"], ids=lambda text: text[:9])
def test_a_model_that_is_nowhere_is_named(sound, tmp_path, capsys, model):
    calls = [
        ["classify", str(sound), "--model", model],
        ["app", "--model", model],
        ["export", "--onnx", "--output", str(tmp_path / "o"), "--model", model],
        ["encode", str(sound.parent), "--output", str(tmp_path / "o"), "--codec", model],
        ["evaluate", "--data", str(sound.parent), "--output", str(tmp_path / "o"), "--model", model],
    ]
    for arguments in calls:
        try:
            status = main(arguments)
        except SystemExit as stopped:
            status = stopped.code
        said = last_line(capsys)
        assert status in (1, 2)
        assert model[:60] in said and "does not exist" in said and "Repo id" not in said and len(said) < 400, said


def test_overlong_names_of_sounds_are_missing_files(sound, capsys):
    assert main(["classify", "x" * 5000, str(sound)]) == 1
    printed = capsys.readouterr()
    assert "no such file" in printed.err and str(sound) in printed.out


def test_a_reader_that_goes_away_is_no_error(sound, monkeypatch, capsys):
    """`audioformer classify tone.wav | head -0`, with output that is written at once or in the end."""
    for buffering in (1, 8192):
        read, write = os.pipe()
        os.close(read)
        with monkeypatch.context() as patch, os.fdopen(write, "w", buffering) as closed:
            patch.setattr(sys, "stdout", closed)
            assert main(["classify", str(sound)]) == 1
        assert last_line(capsys) == ""


def test_the_help_of_a_reader_that_goes_away(tmp_path):
    read, write = os.pipe()
    os.close(read)
    # What the installed script does.
    code = "import sys; sys.argv = ['audioformer', '--help']; from audioformer.cli import main; sys.exit(main())"
    unbuffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, env=unbuffered
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_ctrl_c_stops_an_encoding_that_goes_on_later(tmp_path, monkeypatch, capsys):
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", np.random.default_rng(number).normal(0, 0.1, 24000), 24000)
    command = ["encode", str(tmp_path), "--output", str(tmp_path / "out"), "--shard-size", "1", "--batch-size", "1"]
    encode, calls = AudioFormerFeatureExtractor.encode, []

    def press_ctrl_c(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return encode(*arguments, **options)

    # Processes in the background of a shell inherit that it is ignored.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(AudioFormerFeatureExtractor, "encode", press_ctrl_c)
            assert main(command) == 130
    finally:
        signal.signal(signal.SIGINT, previous)
    said = last_line(capsys)
    assert f"what it has written is in {tmp_path / 'out'}: the same command goes on from there" in said
    assert 1 <= len(list((tmp_path / "out").glob("codes-*.parquet"))) < 4
    assert main(command) == 0
    assert len(list((tmp_path / "out").glob("codes-*.parquet"))) == 4
