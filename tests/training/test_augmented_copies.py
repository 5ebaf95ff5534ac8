"""Augmented copies as an option of the commands: who hears them, who never does, and what is said of them."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from audioformer.data.audio.augmentation import Augmentation
from audioformer.data.codes.encoded import ClipVersions
from audioformer.files import CARD, EVAL_RESULTS, PRETRAIN_RESULTS
from audioformer.model_cards.card_check import check_card
from audioformer.training import DataArguments, create_settings, finetune
from audioformer.training.clip_splits import open_clip_splits
from audioformer.training.examples.audio import AudioExamples
from audioformer.training.pretraining.masked_lm import pretrain_codebooks
from audioformer.training.trainers import AudioFormerMPCTrainer

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
COPIES = {"augment_copies": 2, "augment_with": ["speed", "gain"], "augment_speed": [0.5, 0.6]}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """A folder of 12 training and 4 test clips of two classes."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for index in range(16):
        file = folder / "sounds" / ("train" if index < 12 else "test") / "ab"[index % 2] / f"{index}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, 0.1 * rng.standard_normal(6000), 24_000)
    return folder


def settings_of(command: str, sounds: Path, name: str, **given):
    shared = {
        "data": sounds / "sounds",
        "output_dir": sounds / name,
        "cache_dir": sounds / "cache",
        "num_codebooks": 2,
        "held_out_share": 0.3,
        "num_train_epochs": 1,
        "disable_tqdm": True,
        "use_cpu": True,
    }
    recipe = "tiny_pretrain" if command == "pretrain" else given.pop("recipe", "tiny_ft1")
    return create_settings(command, recipe, **{**shared, **SIZES, **COPIES, **given})


def trainer_of(settings):
    source = settings.family.examples
    extractor = source.open_extractor(settings)
    splits = open_clip_splits(settings, extractor, hold_out=True)
    problem = {"num_labels": 2, "problem_type": "single_label_classification"}
    model = settings.family.classifier(settings.family.config(**SIZES, **problem, **extractor.model_config()))
    return source.trainer(settings, model, extractor, splits), splits


def test_training_clips_alone_have_copies(sounds):
    trainer, splits = trainer_of(settings_of("finetune", sounds, "ft1"))
    train, selecting = trainer.train_dataset, trainer.eval_dataset
    assert isinstance(train.clips, ClipVersions) and len(train) == len(splits.train) and len(train.clips[0]) == 3
    assert not isinstance(selecting.clips, ClipVersions) and len(selecting) == len(splits.held_out)
    # Slower ones, hence longer: all three versions are drawn in some epoch.
    lengths = set()
    for epoch in range(20):
        train.set_epoch(epoch)
        lengths.add(len(train[0]["input_ids"]))
    assert lengths == {codes.shape[1] + 2 for codes in train.clips[0]}


def test_a_run_records_its_copies_and_is_not_resumed_with_others(sounds):
    summary = finetune(settings_of("finetune", sounds, "recorded", keep_checkpoints=True))
    own = {"copies": 2, "changes": ["speed", "gain"], "speed": [0.5, 0.6], "gain_db": [-20.0, 10.0], "seed": 0}
    assert summary.settings["augmented_copies"] == own
    assert json.loads((sounds / "recorded" / EVAL_RESULTS).read_text())["settings"]["augmented_copies"] == own
    assert json.loads((sounds / "recorded" / "training" / "run_data.json").read_text())["augmented_copies"] == own
    said = "augmented copies, 2 of each clip: speed and pitch times 0.5 to 0.6, level -20 to +10 dB."
    assert said in (sounds / "recorded" / CARD).read_text()
    assert all("licence" in finding for finding in check_card(sounds / "recorded"))
    (sounds / "recorded" / CARD).unlink()
    with pytest.raises(ValueError, match="begun with other clips: augmented copies .then .*'copies': 2.* now None"):
        finetune(settings_of("finetune", sounds, "recorded", augment_copies=0, resume_from_checkpoint="last"))


def test_pre_training_hears_copies_and_says_so(sounds):
    pretrain_codebooks(settings_of("pretrain", sounds, "pretrained", codebooks=[1]))
    results = json.loads((sounds / "pretrained" / "C2" / PRETRAIN_RESULTS).read_text())
    assert results["augmented_copies"]["copies"] == 2
    assert "speed and pitch times 0.5 to 0.6" in (sounds / "pretrained" / "C2" / CARD).read_text()


def test_ft2_hears_copies_with_online_teachers_only(sounds):
    pretrain_codebooks(settings_of("pretrain", sounds, "teachers", codebooks=[1]))
    ft2 = {"recipe": "tiny_ft2", "teachers": [str(sounds / "teachers" / "C2")]}
    with pytest.raises(ValueError, match="`augment_copies` 2 draws another version .*: set `online_teachers`"):
        settings_of("finetune", sounds, "ft2", **ft2)
    trainer, _ = trainer_of(settings_of("finetune", sounds, "ft2", online_teachers=True, **ft2))
    assert isinstance(trainer, AudioFormerMPCTrainer) and isinstance(trainer.train_dataset.clips, ClipVersions)
    item = trainer.train_dataset[0]
    assert item["positive_input_ids"].shape[1] == len(item["input_ids"])
    trainer.train()


def test_all_options_work_for_a_model_of_several_codebooks(sounds):
    options = {"codebooks": [0, 1], "token_mixup_alpha": 0.5, "ema_decay": 0.5, "crop_frames": 10, "eval_crops": 2}
    pretrain_codebooks(settings_of("pretrain", sounds, "each", codebooks=[0, 1]))
    ft2 = {"recipe": "tiny_ft2", "teachers": [str(sounds / "each" / "C2")], "online_teachers": True}
    for name, given in (("joint_ft1", {}), ("joint_ft2", ft2)):
        summary = finetune(settings_of("finetune", sounds, name, **options, **given))
        assert np.isfinite(summary.scores).all() and summary.scores.shape == (4, 2)
        assert summary.settings["augmented_copies"]["copies"] == 2


def test_codes_have_no_waveforms_to_change(sounds, tmp_path):
    with pytest.raises(ValueError, match="`augment_copies` 2 changes the waveforms .* holds codes"):
        settings_of("finetune", sounds, "codes", data=None, codes=str(tmp_path))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"augment_copies": -1}, "`augment_copies` must be at least 0, got -1"),
        ({"augment_speed": [1.2, 0.8]}, "`augment_speed` must be two numbers"),
        ({"augment_with": []}, "`augment_with` must name at least one"),
        ({"augment_tilt": 2.0}, "`augment_tilt` must be in"),
        ({"augment_seed": -1}, "`augment_seed` must be"),
    ],
)
def test_wrong_ranges_are_refused_with_the_name_of_the_setting(wrong, message):
    with pytest.raises(ValueError, match=message):
        DataArguments(**wrong)


def test_the_defaults_are_off_and_those_that_the_help_states():
    assert DataArguments().augmentation is None and DataArguments().describe_copies() is None
    assert DataArguments(augment_copies=1).augmentation == Augmentation()


class Waveforms:
    """Clips that are numbers: each reads as a ramp that begins with its index."""

    targets = np.arange(3)

    def __init__(self) -> None:
        self.dataset = SimpleNamespace(select_columns=lambda names: [{"id": f"clip-{n}"} for n in range(3)])

    def __len__(self) -> int:
        return 3

    def read(self, index: int, sampling_rate: int) -> np.ndarray:
        return np.linspace(index, index + 1, 1000, dtype=np.float32)


def test_models_that_read_audio_hear_the_same_copies_made_when_they_are_read():
    augmentation = Augmentation(speed=(0.5, 0.9))
    examples = AudioExamples(Waveforms(), 1000, augmentation=augmentation, num_copies=2, max_length_s=1.1, seed=3)  # type: ignore[arg-type]
    own = Waveforms().read(1, 1000)
    versions = [own, *(augmentation.copy_of(own, "clip-1", number, 1100) for number in (1, 2))]
    drawn = []
    for epoch in range(20):
        examples.set_epoch(epoch)
        waveform = examples[1]["waveform"]
        assert len(waveform) <= 1100
        (number,) = [n for n, version in enumerate(versions) if np.array_equal(version, waveform)]
        drawn.append(number)
    assert set(drawn) == {0, 1, 2}
    plain = AudioExamples(Waveforms(), 1000)  # type: ignore[arg-type]
    np.testing.assert_array_equal(plain[1]["waveform"], versions[0])
