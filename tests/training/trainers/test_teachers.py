"""Frozen models and the file of their vectors, compared with the model's own forward and with one process."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.multiprocessing import ProcessExitedException

from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForMaskedLM, AudioFormerModel
from audioformer.training.trainers import teachers as module
from audioformer.training.trainers.teachers import build_positives, load_teachers, pooled_vectors

from ..processes import run_in_process, run_on_two_processes

NUM_CLIPS = 11


def config(codebook: int = 0, hidden_size: int = 32, **settings: object) -> AudioFormerConfig:
    return AudioFormerConfig(
        hidden_size=hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        codebook=codebook,
        **settings,
    )


def masked_lm(codebook: int, **settings: object) -> AudioFormerForMaskedLM:
    torch.manual_seed(codebook)
    # With BERT's narrow initialization all clips have nearly the same vector.
    return AudioFormerForMaskedLM(config(codebook, initializer_range=0.5, **settings))


def clips(num_clips: int = NUM_CLIPS) -> tuple[list[np.ndarray], list[str]]:
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, 1024, (3, int(rng.integers(3, 40))), dtype=np.uint16) for _ in range(num_clips)]
    return codes, [f"clip {index}" for index in range(num_clips)]


def expected(codes: list[np.ndarray], codebooks: tuple[int, ...] = (1, 2)) -> np.ndarray:
    """Each clip and codebook alone, from the last hidden states, without the package's pooling."""
    vectors = np.empty((len(codes), len(codebooks), 32), dtype=np.float32)
    for position, codebook in enumerate(codebooks):
        model = masked_lm(codebook).eval()
        for index, clip in enumerate(codes):
            ids = torch.tensor([[0, *(clip[codebook].astype(int) + 3), 2]])
            with torch.no_grad():
                vectors[index, position] = model.audioformer(ids).last_hidden_state[0].mean(dim=0).numpy()
    return vectors


@pytest.fixture
def two_teachers() -> list[AudioFormerModel]:
    return load_teachers([masked_lm(1), masked_lm(2)], config(0))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the ids in each call of the teachers."""
    shapes: list[tuple[int, ...]] = []

    def counted(models: list[AudioFormerModel], input_ids: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(input_ids.shape))
        return pooled_vectors(models, input_ids)

    monkeypatch.setattr(module, "pooled_vectors", counted)
    return shapes


def test_loads_folders_with_and_without_a_head(tmp_path: Path) -> None:
    masked_lm(1).save_pretrained(tmp_path / "c2")
    masked_lm(2).base_model.to(torch.bfloat16).save_pretrained(tmp_path / "c3")
    loaded = load_teachers([masked_lm(3).train(), tmp_path / "c2", str(tmp_path / "c3")], config(0))
    assert [teacher.config.codebook for teacher in loaded] == [1, 2, 3]
    for teacher in loaded:
        assert type(teacher) is AudioFormerModel and not teacher.training
        assert not any(part.training for part in teacher.modules())
        assert not any(parameter.requires_grad for parameter in teacher.parameters())
        assert {parameter.dtype for parameter in teacher.parameters()} == {torch.float32}
    for name, weight in masked_lm(1).base_model.state_dict().items():
        assert torch.equal(loaded[0].state_dict()[name], weight)


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        ([], "At least one teacher"),
        (
            [masked_lm(0)],
            r"'AudioFormerForMaskedLM' reads codebook 0 \(C1\).*of the anchor.*another one than \[0\]",
        ),
        ([masked_lm(1), masked_lm(1)], r"reads codebook 1 \(C2\).*that of teacher.*another one than \[0, 1\]"),
        ([masked_lm(1, hidden_size=64)], "`hidden_size` must be that of the anchor, 32, got 64"),
        ([masked_lm(1, codebook_size=512)], "`codebook_size` must be that of the anchor, 1024, got 512"),
        ([torch.nn.Linear(2, 2)], "a folder, a Hub id or an AudioFormer model, got Linear"),
    ],
)
def test_refuses_teachers(teachers: list[torch.nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_teachers(teachers, config(0))


def test_refuses_folders_before_weights_are_read(tmp_path: Path) -> None:
    masked_lm(1, hidden_size=64).config.save_pretrained(tmp_path / "wide")
    with pytest.raises(ValueError, match=r"wide': `hidden_size`"):
        load_teachers([tmp_path / "wide"], config(0))
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"bert': `model_type` must be 'audioformer', got 'bert'"):
        load_teachers([tmp_path / "bert"], config(0))


def test_refuses_a_checkpoint_that_lacks_weights(tmp_path: Path) -> None:
    model = masked_lm(1).base_model
    weights = {name: weight for name, weight in model.state_dict().items() if "layers.1.mlp" not in name}
    model.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(ValueError, match=r"lacks \['layers.1.mlp"):
        load_teachers([tmp_path], config(0))


def test_vectors_are_those_of_each_clip_alone_in_the_order_of_the_clips(
    two_teachers: list[AudioFormerModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, ids = clips()
    monkeypatch.setattr(module, "CLIPS_PER_BLOCK", 4)
    for batch_size in (1, 3, 16):
        positives = build_positives(two_teachers, codes, ids, tmp_path / str(batch_size), "codec", batch_size)
        assert isinstance(positives, np.memmap) and positives.dtype == np.float32 and not positives.flags.writeable
        np.testing.assert_allclose(positives, expected(codes), rtol=0, atol=1e-5)
    assert np.abs(expected(codes)[1:] - expected(codes)[:-1]).max(axis=-1).min() > 0.1
    (manifest,) = (tmp_path / "3").glob("*.json")
    assert json.loads(manifest.read_text())["shape"] == [NUM_CLIPS, 2, 32]
    assert not list((tmp_path / "3").glob("*.part")) and not list((tmp_path / "3").glob("*.blocks"))


def test_batches_hold_clips_of_similar_length(
    two_teachers: list[AudioFormerModel], calls: list[tuple[int, ...]], tmp_path: Path
) -> None:
    codes, ids = clips()
    build_positives(two_teachers, codes, ids, tmp_path, "codec", batch_size=2)
    lengths = sorted(clip.shape[1] + 2 for clip in codes)
    assert [shape[2] for shape in calls] == [*lengths[1::2], lengths[-1]]


def test_a_second_run_computes_nothing(
    two_teachers: list[AudioFormerModel], calls: list[tuple[int, ...]], tmp_path: Path
) -> None:
    codes, ids = clips()
    first = build_positives(two_teachers, codes, ids, tmp_path, "codec")
    assert calls
    calls.clear()
    # Neither heads and dropout nor the integer type of the codes matter.
    again = load_teachers([masked_lm(1, hidden_dropout_prob=0.5), masked_lm(2).base_model], config(0))
    second = build_positives(again, [clip.astype(np.int64) for clip in codes], ids, tmp_path, "codec", batch_size=3)
    assert not calls and second.filename == first.filename and np.array_equal(first, second)


def test_runs_that_share_a_folder_wait_for_each_other(
    two_teachers: list[AudioFormerModel],
    calls: list[tuple[int, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CLIPS_PER_BLOCK", 2)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(build_positives, two_teachers, *clips(), tmp_path, "codec", 1) for _ in range(2)]
        first, second = (run.result() for run in runs)
    assert len(calls) == NUM_CLIPS
    np.testing.assert_allclose(first, expected(clips()[0]), rtol=0, atol=1e-5)
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    "change", ["weight", "setting", "codebook", "order", "codec", "id", "code", "length", "fewer"]
)
def test_a_change_of_anything_gives_another_file(
    change: str, two_teachers: list[AudioFormerModel], calls: list[tuple[int, ...]], tmp_path: Path
) -> None:
    codes, ids = clips()
    codec = "codec"
    before = build_positives(two_teachers, codes, ids, tmp_path, codec)
    calls.clear()
    if change == "weight":
        with torch.no_grad():
            two_teachers[1].layers[1].mlp.down_proj.bias[3] += 1e-3
    elif change == "setting":
        two_teachers[0].config.layer_norm_eps = 1e-5
    elif change == "codebook":
        two_teachers[0].config.codebook = 0
    elif change == "order":
        two_teachers.reverse()
    elif change == "codec":
        codec = "another"
    elif change == "id":
        ids[4] = "clip four"
    elif change == "code":
        codes[4] = codes[4].copy()
        codes[4][2, 1] ^= 1
    elif change == "length":
        codes[4] = codes[4][:, :-1]
    else:
        codes, ids = codes[:-1], ids[:-1]
    after = build_positives(two_teachers, codes, ids, tmp_path, codec)
    assert calls and after.filename != before.filename
    assert len(list(tmp_path.glob("*.npy"))) == 2


@pytest.mark.parametrize(
    ("codes", "ids", "message"),
    [
        ([], [], "At least one clip"),
        ([np.zeros((3, 5), np.uint16)], ["a", "b"], "as many ids as clips, are needed, got 2 and 1"),
        ([np.zeros((2, 5), np.uint16)], ["a"], r"Clip 'a'.*at least 3 codebooks.*\[1, 2\], got \(2, 5\)"),
        ([np.zeros(5, np.uint16)], ["a"], r"Clip 'a'.*got \(5,\)"),
        ([[np.zeros((3, 5), np.uint16)]], ["a"], "Clip 'a' is a list of copies.*online_teachers"),
    ],
)
def test_refuses_clips(
    codes: list, ids: list[str], message: str, two_teachers: list[AudioFormerModel], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        build_positives(two_teachers, codes, ids, tmp_path, "codec")
    with pytest.raises(ValueError, match="batch_size"):
        build_positives(two_teachers, *clips(), tmp_path, "codec", batch_size=0)
    assert not list(tmp_path.glob("*.npy"))


def test_refuses_ids_of_another_number_of_codebooks(two_teachers: list[AudioFormerModel]) -> None:
    with pytest.raises(ValueError, match=r"\(batch_size, 2, sequence_length\).*got \(4, 3, 9\)"):
        pooled_vectors(two_teachers, torch.zeros(4, 3, 9, dtype=torch.int64))


def kill_in_the_middle(folder: Path) -> None:
    """Start computing vectors in blocks of three clips, and kill the process in the fifth pass."""
    compute, passes = module.pooled_vectors, 0

    def kill_at_the_fifth(models: list[AudioFormerModel], input_ids: torch.Tensor) -> torch.Tensor:
        nonlocal passes
        passes += 1
        if passes == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return compute(models, input_ids)

    module.CLIPS_PER_BLOCK, module.pooled_vectors = 3, kill_at_the_fifth
    build_positives(load_teachers([masked_lm(1), masked_lm(2)], config(0)), *clips(), folder, "codec", batch_size=2)


def test_a_killed_run_resumes_after_its_finished_blocks(
    two_teachers: list[AudioFormerModel],
    calls: list[tuple[int, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        run_in_process(kill_in_the_middle, tmp_path / "killed")
    (part,) = (tmp_path / "killed").glob("*.part")
    (marks,) = (tmp_path / "killed").glob("*.blocks")
    # Blocks 0 and 1 took two passes each; the process was killed in block 2.
    assert sorted(mark.name for mark in marks.iterdir()) == ["0-3", "3-6"]
    # What an unfinished block contains must not matter.
    np.load(part, mmap_mode="r+")[6:8] = np.nan
    monkeypatch.setattr(module, "CLIPS_PER_BLOCK", 3)
    codes, ids = clips()
    finished = build_positives(two_teachers, codes, ids, tmp_path / "killed", "codec", batch_size=2)
    assert len(calls) == 3
    uninterrupted = build_positives(two_teachers, codes, ids, tmp_path / "whole", "codec", batch_size=2)
    assert np.array_equal(finished, uninterrupted)


def on_one_of_two_processes(folder: Path) -> None:
    shapes: list[int] = []
    module.CLIPS_PER_BLOCK = 3
    rank = module.PartialState(cpu=True).process_index
    compute = module.pooled_vectors

    def counted(models: list[AudioFormerModel], input_ids: torch.Tensor) -> torch.Tensor:
        shapes.append(len(input_ids))
        return compute(models, input_ids)

    module.pooled_vectors = counted
    models = load_teachers([masked_lm(1), masked_lm(2)], config(0))
    positives = build_positives(models, *clips(), folder, "codec", batch_size=2)
    np.save(folder / f"rank{rank}", np.array(positives))
    assert sum(shapes) == (6, 5)[rank]
    build_positives(models, *clips(), folder, "codec", batch_size=2)
    assert sum(shapes) == (6, 5)[rank]


def test_two_processes_share_the_work(
    two_teachers: list[AudioFormerModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on_two_processes(on_one_of_two_processes, tmp_path)
    monkeypatch.setattr(module, "CLIPS_PER_BLOCK", 3)
    alone = build_positives(two_teachers, *clips(), tmp_path / "alone", "codec", batch_size=2)
    for rank in range(2):
        np.testing.assert_allclose(np.load(tmp_path / f"rank{rank}.npy"), alone, rtol=0, atol=1e-6)
