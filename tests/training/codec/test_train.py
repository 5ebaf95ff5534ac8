"""The command that trains the small codec, on synthesized sounds, and the codec bundled with the package."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers import EncodecModel

from audioformer import model_cards
from audioformer.training.codec import train as command
from audioformer.training.codec.arguments import CodecTrainingArguments
from audioformer.training.codec.evaluation import (
    code_statistics,
    encode_clips,
    evaluate_codec,
    reconstruction_quality,
)
from audioformer.training.codec.train import main, train_codec
from audioformer.training.codec.trainer import CodecTrainer

BUNDLED_CODEC = Path(model_cards.__file__).parent / "audioformer-tiny-codec"
TINY = {
    "max_steps": 5,
    "batch_size": 2,
    "segment_s": 0.1,
    "learning_rate": 1e-4,
    "quantizer_start_step": 2,
    "num_filters": 2,
    "hidden_size": 8,
    "codebook_size": 16,
    "logging_steps": 2,
    "save_steps": 2,
}


def sounds(num_clips: int = 4, duration_s: float = 0.5, sampling_rate: int = 24000) -> list[np.ndarray]:
    """Sweeps and noises of different pitch, loudness and decay."""
    rng = np.random.default_rng(0)
    time = np.arange(round(duration_s * sampling_rate)) / sampling_rate
    clips = []
    for index in range(num_clips):
        sweep = np.sin(2 * np.pi * (100 + 150 * index) * time * (1 + rng.uniform(0, 4) * time))
        noise = np.cumsum(rng.normal(size=len(time))) if index % 3 == 0 else rng.normal(size=len(time))
        envelope = np.exp(-rng.uniform(0, 8) * (time % rng.uniform(0.1, 1)))
        clip = envelope * (sweep + rng.uniform(0, 1) * noise / np.abs(noise).max())
        clips.append((rng.uniform(0.1, 0.9) * clip / np.abs(clip).max()).astype(np.float32))
    return clips


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of such small layers mostly wait for each other, for seconds per step on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def audio_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    (folder / "more").mkdir(parents=True)
    for index, clip in enumerate(sounds()):
        soundfile.write(folder / ("more" if index % 2 else ".") / f"{index}.wav", clip, 24000)
    return folder


def arguments(audio_folder: Path, output: Path, **changes) -> CodecTrainingArguments:
    return CodecTrainingArguments(**({"data": str(audio_folder), "output": str(output)} | TINY | changes))


@pytest.fixture(scope="module")
def trained(audio_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a codec that the command trained without interruption."""
    output = tmp_path_factory.mktemp("trained") / "codec"
    options = [part for name, value in TINY.items() for part in (f"--{name}", str(value))]
    main(["--data", str(audio_folder), "--output", str(output), *options])
    return output


def test_command_writes_a_plain_encodec_model(trained: Path) -> None:
    codec, info = EncodecModel.from_pretrained(trained, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert codec.config.num_quantizers == 4
    assert codec.config.target_bandwidths == [1.2]
    for layer in codec.quantizer.layers:
        for name in ("embed", "embed_avg", "cluster_size", "inited"):
            assert getattr(layer.codebook, name).abs().sum() > 0, name
    codes = encode_clips(codec, sounds())[0]
    assert codes.shape == (4, 38)  # ceil(0.5 s * 24000 / 320)
    assert len(np.unique(codes)) > 4

    assert sorted(path.name for path in trained.iterdir()) == ["config.json", "model.safetensors", "training_log.json"]
    log = json.loads((trained / "training_log.json").read_text())
    assert [entry["step"] for entry in log["log_history"]] == [2, 4, 5]
    assert "cepstrum_l1" in log["log_history"][0] and "log_mel_l1" in log["log_history"][1]
    assert log["training"]["num_clips"] == log["evaluation"]["num_clips"] == 4
    assert log["training"]["cpu_s"] > 0


def test_command_prints_the_evaluation(monkeypatch, capsys) -> None:
    given: list[CodecTrainingArguments] = []
    report = {"training": {"num_clips": 4}, "evaluation": {"num_frames": 7}, "log_history": []}
    monkeypatch.setattr(command, "train_codec", lambda args: given.append(args) or report)
    main(["--data", "audio", "--output", "codec", "--all_codebooks_rate", "0.25", "--level_db", "-30", "-10"])
    assert given[0].all_codebooks_rate == 0.25 and given[0].level_db == [-30.0, -10.0]
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"training": {"num_clips": 4}, "evaluation": {"num_frames": 7}}


def test_resumed_run_equals_the_uninterrupted_one(
    audio_folder: Path, trained: Path, tmp_path: Path, monkeypatch
) -> None:

    def killed_after_step_4(trainer: CodecTrainer) -> dict[str, float]:
        if trainer.step == 4:
            raise KeyboardInterrupt
        return train_step(trainer)

    train_step = CodecTrainer.train_step
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CodecTrainer, "train_step", killed_after_step_4)
        train_codec(arguments(audio_folder, tmp_path / "resumed"))
    assert [path.name for path in (tmp_path / "resumed").iterdir()] == ["checkpoint.pt"]
    report = train_codec(arguments(audio_folder, tmp_path / "resumed"))

    assert [entry["step"] for entry in report["log_history"]] == [2, 4, 5]
    whole = load_file(trained / "model.safetensors")
    resumed = load_file(tmp_path / "resumed" / "model.safetensors")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_seed_decides_the_result(audio_folder: Path, trained: Path, tmp_path: Path) -> None:
    for seed in (0, 2):
        train_codec(arguments(audio_folder, tmp_path / str(seed), seed=seed))
    first = load_file(trained / "model.safetensors")
    again, other = (load_file(tmp_path / str(seed) / "model.safetensors") for seed in (0, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["quantizer.layers.0.codebook.embed"], other["quantizer.layers.0.codebook.embed"])


def test_both_stages_lower_their_loss_and_the_second_leaves_the_encoder_alone(
    audio_folder: Path, tmp_path: Path
) -> None:
    sizes = {"num_filters": 4, "hidden_size": 16, "batch_size": 8, "learning_rate": 1e-2}
    args = arguments(audio_folder, tmp_path / "codec", max_steps=80, quantizer_start_step=40, **sizes)
    trainer = CodecTrainer(args, sounds())
    held_out = trainer.sample_batch(1000, 32)

    def losses(num_steps: int) -> list[float]:
        """The loss on crops that are not drawn, after one step and after many."""
        measured = []
        for count in (1, num_steps - 1):
            for _ in range(count):
                trainer.train_step()
            with torch.no_grad():
                measured.append(float(trainer.compute_loss(held_out, trainer.step - 1)["loss"]))
        return measured

    first, last = losses(40)
    assert last < 0.9 * first
    before, *_ = losses(2)
    encoder = {name: value.clone() for name, value in trainer.codec.encoder.state_dict().items()}
    frames = trainer.codec.encoder(held_out).detach().transpose(1, 2).flatten(0, 1)
    _, last = losses(38)
    assert last < 0.9 * before
    after = trainer.codec.encoder.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in encoder.items())
    # Whitened, on crops that were not among those that the transform was computed on.
    covariance = torch.cov(frames.T)
    assert covariance.diagonal().min() > 0.5 and covariance.diagonal().max() < 2
    assert (covariance - covariance.diagonal().diag()).abs().max() < 0.5


def test_checkpoint_of_other_settings_is_refused(audio_folder: Path, tmp_path: Path) -> None:
    trainer = CodecTrainer(arguments(audio_folder, tmp_path), sounds())
    trainer.save_checkpoint(tmp_path / "checkpoint.pt")
    other = CodecTrainer(arguments(audio_folder, tmp_path, seed=5), sounds())
    with pytest.raises(ValueError, match="seed 0 -> 5"):
        other.load_checkpoint(tmp_path / "checkpoint.pt")


def test_codec_is_trained_on_synthetic_sound_alone_and_resumes_exactly(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(command, "EVALUATED_CLIPS", 2)
    monkeypatch.setattr(command, "EVALUATED_S", 0.5)
    options = {"data": None, "synthetic_share": 1.0, "level_db": [-40.0, 0.0]}
    report = train_codec(arguments(tmp_path, tmp_path / "whole", **options))
    assert report["training"]["num_clips"] == 0 and report["training"]["evaluated_on"] == "synthetic clips"
    assert report["evaluation"]["num_clips"] == 2

    def killed_after_step_4(trainer: CodecTrainer) -> dict[str, float]:
        if trainer.step == 4:
            raise KeyboardInterrupt
        return train_step(trainer)

    train_step = CodecTrainer.train_step
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CodecTrainer, "train_step", killed_after_step_4)
        train_codec(arguments(tmp_path, tmp_path / "resumed", **options))
    train_codec(arguments(tmp_path, tmp_path / "resumed", **options))
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_checkpoint_survives_a_kill_while_it_is_written(audio_folder: Path, tmp_path: Path, monkeypatch) -> None:
    args = arguments(audio_folder, tmp_path)
    trainer = CodecTrainer(args, sounds())
    trainer.save_checkpoint(tmp_path / "checkpoint.pt")
    trainer.train_step()

    def killed(state: dict, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer.save_checkpoint(tmp_path / "checkpoint.pt")
    restored = CodecTrainer(args, sounds())
    restored.load_checkpoint(tmp_path / "checkpoint.pt")
    assert restored.step == 0


def test_finished_codec_is_not_overwritten_unasked(audio_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match="already contains a codec"):
        train_codec(arguments(audio_folder, tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_steps": 0}, "`max_steps`.*0"),
        ({"segment_s": 0.01}, "`segment_s` must be at least 0.0133 s, one code, got 0.01"),
        ({"upsampling_ratios": [8, 5, 4, 4]}, r"`upsampling_ratios` must have the product 320, got .* is 640"),
        ({"quantizer_start_step": 0}, "`quantizer_start_step`.*0"),
        ({"quantizer_start_step": 5}, "`quantizer_start_step`.*5"),
        ({"licenses": ["CC0"]}, "`attribution` and `licenses`"),
        ({"exclude": ["absent.wav"]}, "absent.wav"),
        ({"synthetic_share": 1.5}, r"`synthetic_share` must be in \[0, 1\], got 1.5"),
        ({"data": None, "synthetic_share": 0.5}, "`data` is needed unless `synthetic_share` is 1, got 0.5"),
        ({"data": None, "synthetic_share": 1, "exclude": ["a.wav"]}, "`exclude` and `attribution` select files"),
        ({"level_db": [-40.0]}, r"`level_db` must be two levels .* got \[-40.0\]"),
        ({"level_db": [0.0, -40.0]}, "`level_db` must be two levels"),
        ({"level_db": [-40.0, 3.0]}, "`level_db` must be two levels"),
    ],
)
def test_bad_settings_are_refused(audio_folder: Path, tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_codec(arguments(audio_folder, tmp_path / "codec", **changes))
    assert not (tmp_path / "codec").exists()


def test_unreadable_files_are_counted_and_named_before_training(audio_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(audio_folder, tmp_path / "audio")
    (folder / "broken.wav").write_bytes(b"not audio")
    soundfile.write(folder / "empty.wav", np.zeros(0), 24000)
    with pytest.raises(ValueError, match=r"(?s)2 of 6 files.*broken\.wav.*empty\.wav"):
        train_codec(arguments(folder, tmp_path / "codec"))
    assert not (tmp_path / "codec").exists()


def test_learning_rate_warms_up_and_decays_to_zero_in_each_stage(audio_folder: Path, tmp_path: Path) -> None:
    settings = {"max_steps": 1500, "quantizer_start_step": 1000, "warmup_steps": 100, "learning_rate": 1e-3}
    trainer = CodecTrainer(arguments(audio_folder, tmp_path, **settings), sounds())
    rates = [trainer.learning_rate(step) for step in range(1501)]
    assert rates[0] == pytest.approx(1e-5)
    assert rates[99] == max(rates[:1000]) == pytest.approx(1e-3)
    assert rates[550] == pytest.approx(0.5e-3)
    assert rates[999] == pytest.approx(0, abs=1e-8)
    # The second stage has 500 steps, and warms up over no more than a tenth of them.
    assert rates[1000] == pytest.approx(2e-5) and rates[1049] == pytest.approx(1e-3)
    assert rates[1500] == pytest.approx(0, abs=1e-9)


def test_short_and_silent_clips_give_whole_crops(audio_folder: Path, tmp_path: Path) -> None:
    trainer = CodecTrainer(arguments(audio_folder, tmp_path), [np.zeros(10, np.float32), np.ones(100, np.float32)])
    batch = trainer.sample_batch(0, batch_size=64)
    assert batch.shape == (64, 1, 2240)  # whole codes
    assert batch.dtype == torch.float32
    # Every other clip is silent, but silence is only used after three consecutive draws of it.
    assert 0 < (batch.abs().amax(dim=-1) == 0).float().mean() < 0.35


def test_code_statistics_by_hand() -> None:
    codes = [np.array([[1, 1, 2, 2], [0, 1, 2, 3]]), np.array([[2], [3]])]
    statistics = code_statistics(codes, codebook_size=4)
    assert statistics["entries_used"] == [2, 4]
    assert statistics["repeat_rate"] == [0.6667, 0.0]
    p = np.array([2 / 5, 3 / 5])
    assert statistics["perplexity"][0] == pytest.approx(np.exp(-(p * np.log(p)).sum()), abs=0.05)


def test_bundled_codec_is_small_and_has_four_codebooks_of_1024() -> None:
    codec = EncodecModel.from_pretrained(BUNDLED_CODEC)
    assert os.path.getsize(BUNDLED_CODEC / "model.safetensors") <= 8e6
    assert codec.config.target_bandwidths == [3.0]
    assert codec.config.num_quantizers == 4
    assert codec.config.codebook_size == 1024
    assert (codec.config.sampling_rate, codec.config.hop_length, codec.config.frame_rate) == (24000, 320, 75)
    assert codec.config.use_causal_conv and not codec.config.normalize and codec.config.chunk_length_s is None


def test_bundled_codec_tells_sounds_apart() -> None:
    codec = EncodecModel.from_pretrained(BUNDLED_CODEC)
    clips = sounds(num_clips=12, duration_s=2.0)
    report = evaluate_codec(codec, clips, max_decoded_clips=3)
    assert report["num_frames"] == 12 * 150
    assert report["num_decoded_clips"] == 3
    # 1800 frames cannot use all 1024 entries; an untrained codebook uses one.
    assert min(report["entries_used"]) > 200
    assert report["repeat_rate"][0] < 0.75
    # A sound is closer to what its own codes decode to than to what the codes of another sound decode to.
    clips = clips[:4]
    codes = encode_clips(codec, clips)
    own = reconstruction_quality(codec, clips, codes)["log_mel_l1"][-1]
    others = reconstruction_quality(codec, clips, codes[1:] + codes[:1])["log_mel_l1"][-1]
    assert own < 0.8 * others


def test_bundled_codec_matches_its_log() -> None:
    log = json.loads((BUNDLED_CODEC / "training_log.json").read_text())
    assert min(log["evaluation"]["entries_used"]) > 950
    # Each codebook makes the reconstruction better, all of them by a seventh at least.
    distances = log["evaluation"]["log_mel_l1"]
    assert distances == sorted(distances, reverse=True) and distances[-1] < 6 / 7 * distances[0]
    assert log["training"]["cpu_s"] <= 2 * 40 * 60
    readme = (BUNDLED_CODEC / "README.md").read_text()
    assert readme.startswith("---\n")
    attribution = (BUNDLED_CODEC / "attribution.csv").read_text().splitlines()
    assert len(attribution) - 1 == log["training"]["num_clips"] == 318
    assert not any("Sampling" in line for line in attribution)
