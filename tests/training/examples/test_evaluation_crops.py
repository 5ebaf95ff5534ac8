"""Tests on crops: where they are, what the model reads, and how their scores are averaged."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.special import log_softmax, softmax

from audioformer.modeling_audioformer import AudioFormerForAudioClassification
from audioformer.training import create_settings, evaluate, finetune
from audioformer.training.clip_splits import open_test_clips
from audioformer.training.examples.codes import CodeExamples
from audioformer.training.examples.evaluation_crops import EvaluationCrops, crop_starts

CLIPS = [np.arange(length) for length in (10, 4, 23, 5)]


def test_crops_are_evenly_spaced_from_the_beginning_to_the_end():
    assert crop_starts(23, 5, 3).tolist() == [0, 9, 18]
    assert crop_starts(23, 5, 1).tolist() == [9]
    assert crop_starts(7, 5, 8).tolist() == [0, 1, 2]
    for frames in (1, 4, 5):
        assert crop_starts(frames, 5, 4).tolist() == crop_starts(frames, 5, 1).tolist() == [0]


def test_items_are_the_crops_of_each_clip_in_order():
    crops = EvaluationCrops(CodeExamples(CLIPS, [3, 4, 5, 6]), 5, 3)
    assert crops.clips.tolist() == [0, 0, 0, 1, 2, 2, 2, 3] and len(crops) == 8
    for index, (clip, start) in enumerate(zip(crops.clips, crops.starts, strict=True)):
        codes = CLIPS[clip][start : start + 5]
        item = crops[index]
        assert item["input_ids"].tolist() == [0, *(codes + 3).tolist(), 2]
        assert int(item["labels"]) == 3 + clip and len(codes) == crops.frames[index]


def test_scores_are_means_of_probabilities_over_time():
    crops = EvaluationCrops(CodeExamples(CLIPS), 5, 3)
    logits = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    merged = crops.merge(logits, multi_label=False)
    np.testing.assert_array_equal(merged[[1, 3]], logits[[3, 7]])
    probabilities = softmax(logits, axis=1)
    # 23 frames: crops that do not overlap. 10 frames, crops from 0, 2 and 5: the frames 2 to 4 are heard by two, and 5
    # and 6 by two.
    np.testing.assert_allclose(softmax(merged[2]), probabilities[4:7].mean(axis=0), rtol=1e-5)
    assert crops.starts[:3].tolist() == [0, 2, 5]
    weights = np.array([2 + 3 / 2, 3 / 2 + 2 / 2, 2 / 2 + 3]) / 10
    np.testing.assert_allclose(softmax(merged[0]), weights @ probabilities[:3], rtol=1e-5)
    assert np.allclose(log_softmax(merged[0]), merged[0], atol=1e-6)


@pytest.mark.parametrize("num_crops", [1, 4])
def test_a_model_of_short_clips_is_not_affected(num_crops):
    crops = EvaluationCrops(CodeExamples(CLIPS), 23, num_crops)
    assert len(crops) == 4
    for index in range(4):
        assert torch.equal(crops[index]["input_ids"], CodeExamples(CLIPS)[index]["input_ids"])


def command(name: str, folder: Path, **given):
    shared = {"data": folder / "sounds", "cache_dir": folder / "cache", "num_codebooks": 1, "use_cpu": True}
    return create_settings(name, **shared, **given)


def test_finetune_and_evaluate_measure_means_over_crops(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(16):
        file = tmp_path / "sounds" / ("train" if index < 8 else "test") / "ab"[index % 2] / f"{index}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, 0.1 * rng.standard_normal(4000 + 1000 * index), 24_000)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    options = {"recipe": "tiny_ft1", "num_train_epochs": 1, "held_out_share": 0.3, "disable_tqdm": True, **sizes}
    settings = command("finetune", tmp_path, output_dir=tmp_path / "ft1", crop_frames=20, eval_crops=3, **options)
    finetune(settings)

    extractor = settings.family.examples.open_extractor(settings)
    clips = open_test_clips(settings, extractor, lambda labels, multi_label: None)
    assert min(clips.codes.lengths) > 25
    model = AudioFormerForAudioClassification.from_pretrained(tmp_path / "ft1").eval()
    crops = EvaluationCrops(CodeExamples(clips.codes), 20, 3)
    with torch.no_grad():
        logits = [model(input_ids=crops[index]["input_ids"][None]).logits[0].numpy() for index in range(len(crops))]
    with np.load(tmp_path / "ft1" / "predictions.npz") as saved:
        scores, ids = saved["scores"], saved["ids"].tolist()
    assert ids == clips.ids
    np.testing.assert_allclose(scores, crops.merge(np.stack(logits), multi_label=False), atol=1e-5)
    results = json.loads((tmp_path / "ft1" / "eval_results.json").read_text())
    assert "means over up to 3 crops" in results["notes"][-1] and results["settings"]["eval_crops"] == 3

    again = {"model": tmp_path / "ft1", "output_dir": tmp_path / "evaluation"}
    whole = {"model": tmp_path / "ft1", "output_dir": tmp_path / "whole"}
    summary = evaluate(command("evaluate", tmp_path, crop_frames=20, eval_crops=3, **again))
    np.testing.assert_allclose(summary.scores, scores, atol=1e-5)
    assert np.abs(evaluate(command("evaluate", tmp_path, **whole)).scores - scores).max() > 1e-4
    with pytest.raises(ValueError, match="`crop_frames` 20 has no effect on a test without `eval_crops`"):
        command("evaluate", tmp_path, crop_frames=20, **again)
    with pytest.raises(ValueError, match="`eval_crops` 3 needs `crop_frames`"):
        command("evaluate", tmp_path, eval_crops=3, **again)
