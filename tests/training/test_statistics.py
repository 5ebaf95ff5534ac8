"""Statistics of log energies: what the command measures is what the front ends normalize with."""

import json

import numpy as np
import pytest
import soundfile

from audioformer import BeatsFeatureExtractor, MaskSpecFeatureExtractor
from audioformer.cli import main
from audioformer.commands.arguments import parse_settings
from audioformer.training.families import families


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Noise of several lengths and levels, in the splits train and test."""
    folder = tmp_path_factory.mktemp("sounds")
    for index in range(6):
        rng = np.random.default_rng(index)
        path = folder / ("test" if index >= 4 else "train") / "noise" / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.02 * (index + 1) * rng.standard_normal(16_000 + 3_200 * index), 32_000)
    return folder


def waveforms(sounds, split):
    return [soundfile.read(path)[0] for path in sorted((sounds / split).rglob("*.wav"))]


def measure(sounds, output, *flags):
    assert main(["statistics", "--data", str(sounds), "--output", str(output), *flags]) == 0
    return json.loads(output.read_text())


def test_normalized_bins_have_mean_zero_and_deviation_one(sounds, tmp_path, capsys):
    found = measure(sounds, tmp_path / "s.json", "--family", "audioformer_maskspec", "--splits", "train")
    assert (found["num_clips"], found["num_frames"], found["sampling_rate"]) == (4, 50 + 60 + 70 + 80, 32_000)
    assert "4 clips, 260 frames" in capsys.readouterr().out
    extractor = MaskSpecFeatureExtractor(mean=found["bins"]["mean"], std=found["bins"]["std"])
    clips = extractor(waveforms(sounds, "train"), sampling_rate=32_000, padding=False)["input_features"]
    frames = np.concatenate(clips).astype(np.float64)
    np.testing.assert_allclose(frames.mean(0), 0.0, atol=1e-3)
    np.testing.assert_allclose(frames.std(0), 1.0, atol=1e-3)
    # The settings of a run read the file.
    flags = ["--recipe", "tiny_maskspec_finetune", "--output", "unused", "--statistics", str(tmp_path / "s.json")]
    settings = parse_settings(flags, "finetune", "")
    opened = settings.family.examples.open_extractor(settings)
    assert (opened.mean, opened.std) == (extractor.mean, extractor.std)


def test_other_families_have_their_own_energies(sounds, tmp_path):
    found = measure(sounds, tmp_path / "s.json", "--family", "audioformer_beats")
    extractor = BeatsFeatureExtractor(mean=found["all"]["mean"], std=found["all"]["std"])
    clips = waveforms(sounds, "train") + waveforms(sounds, "test")
    frames = np.concatenate(extractor(clips, sampling_rate=32_000, padding=False)["input_features"])
    assert found["num_clips"] == 6 and frames.mean() == pytest.approx(0.0, abs=1e-3)
    assert frames.std() == pytest.approx(0.5, abs=1e-3)


def test_a_choice_of_clips_and_the_front_end_of_a_model(sounds, tmp_path):
    MaskSpecFeatureExtractor(lowpass_hz=4000).save_pretrained(tmp_path / "model")
    family = next(one for one in families() if one.name == "audioformer_maskspec")
    family.config().save_pretrained(tmp_path / "model")
    found = measure(sounds, tmp_path / "s.json", "--model", str(tmp_path / "model"), "--max-clips", "2")
    assert found["num_clips"] == 2
    assert max(found["bins"]["std"][100:]) < 1e-6 and min(found["bins"]["std"][:50]) > 0.1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--family", "audioformer"], "Name a model or a family that does: audioformer_beats, audioformer_maskspec"),
        (["--family", "audioformer_maskspec", "--splits", "dev"], "No clip is in the splits dev; the data have"),
        (["--family", "unknown"], "known model families are"),
    ],
)
def test_what_cannot_be_measured_is_named(sounds, tmp_path, capsys, flags, message):
    assert main(["statistics", "--data", str(sounds), "--output", str(tmp_path / "s.json"), *flags]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_file_of_something_else_is_named(tmp_path):
    (tmp_path / "s.json").write_text("{}")
    flags = ["--recipe", "tiny_maskspec_finetune", "--output", "unused", "--statistics", str(tmp_path / "s.json")]
    settings = parse_settings(flags, "finetune", "")
    with pytest.raises(ValueError, match=r"`statistics` .* must be a file that `audioformer statistics` wrote"):
        settings.family.examples.open_extractor(settings)
