"""The record of BEATs (arXiv 2212.09058)."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from audioformer.export.onnx_export import OnnxReport
from audioformer.feature_extraction import BeatsFeatureExtractor
from audioformer.files import ONNX_CLASSIFIER, ONNX_FILTERBANK
from audioformer.modeling_beats import BeatsConfig, BeatsForAudioClassification, BeatsModel

from .arguments import PRETRAIN
from .beats_arguments import BeatsArguments
from .classifiers import labels_of
from .conversion import require_file, summarize, write_card
from .examples.audio import AudioExampleSource
from .families import CardText, Family, Settings
from .pretraining.beats import pretrain_beats
from .spectrograms import check_extractor, describe_level, open_saved_extractor, view_spectrogram

CITATION = """@inproceedings{chen2023beats,
  title={{BEATs}: Audio Pre-Training with Acoustic Tokenizers},
  author={Chen, Sanyuan and Wu, Yu and Wang, Chengyi and Liu, Shujie and Tompkins, Daniel and Chen, Zhuo and Che,
    Wanxiang and Yu, Xiangzhan and Wei, Furu},
  booktitle={International Conference on Machine Learning},
  year={2023}
}"""

CARD_TEXT = CardText(
    title="BEATs",
    paper="arXiv 2212.09058",
    citation=CITATION,
    description="Patches of a log-mel spectrogram are read by a Transformer with a gated relative position bias.",
)


class BeatsExampleSource(AudioExampleSource):
    """Clips as spectrograms, scaled by the mean and standard deviation of the settings."""

    def __init__(self) -> None:
        super().__init__(BeatsFeatureExtractor)

    def open_extractor(self, settings: Settings) -> BeatsFeatureExtractor:
        """The extractor of the model that the run starts from, or a fresh one, with what the settings change."""
        extractor: BeatsFeatureExtractor = super().open_extractor(settings)
        options = settings.options
        return extractor.with_scale(mean=options.mean, std=options.std)


def check_settings(settings: Settings) -> None:
    """Check what the settings of different groups say together.

    Raises:
        ValueError: If both kinds of layer-wise decay are requested, or a stage of pre-training lacks what it needs, or
            is given what it has no use for.
    """
    if settings.command == PRETRAIN:
        check_stage(settings)
    scale, decay = settings.options.layer_gradient_scale, settings.training.layer_wise_lr_decay
    if scale not in (None, 1.0) and decay not in (None, 1.0):
        raise ValueError(
            f"`layer_gradient_scale` {scale} and `layer_wise_lr_decay` {decay} are two forms of the same: give one."
        )


def check_stage(settings: Settings) -> None:
    """Check that a stage of pre-training has the models that it needs, and no others.

    Raises:
        ValueError: If it does not.
    """
    options = settings.options
    is_tokenizer = options.stage == "tokenizer"
    wanted = {"teacher": is_tokenizer, "tokenizer": not is_tokenizer and options.labels_from == "tokenizer"}
    purposes = {
        "teacher": '`stage` "tokenizer", which learns from it',
        "tokenizer": '`stage` "encoder" with `labels_from` "tokenizer", which predicts its labels',
    }
    for name, is_wanted in wanted.items():
        value = getattr(options, name)
        if is_wanted and value is None:
            raise ValueError(f"`{name}` must be given for {purposes[name]}: the folder of the stage before.")
        if value is not None and not is_wanted:
            raise ValueError(f"`{name}` {value!r} is for {purposes[name]}.")
    arguments = settings.training
    averages = arguments.ema_decay or arguments.average_best_checkpoints
    if is_tokenizer and (averages or arguments.fsdp or arguments.deepspeed):
        raise ValueError(
            '`stage` "tokenizer" needs its weights as a whole, and its codes are averages already: it excludes '
            "`ema_decay`, `average_best_checkpoints`, `fsdp` and `deepspeed`."
        )


def describe_input(config: BeatsConfig, extractor: BeatsFeatureExtractor) -> Mapping[str, Any]:
    """What a card says about the spectrograms that a model reads."""
    level = describe_level(extractor)
    size = config.patch_size
    return {
        "reads": f"log-mel spectrograms of {config.num_mel_bins} bins (mean {extractor.mean:g}, standard deviation "
        f"{extractor.std:g}{level}), in patches of {size} frames and {size} bins"
    }


def log_energies(extractor: BeatsFeatureExtractor, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Log energies of clips at the rate of an extractor, as they are before its mean and deviation are applied."""
    scaled = extractor(list(waveforms), sampling_rate=extractor.sampling_rate, padding=False)["input_features"]
    return [clip * (2 * extractor.std) + extractor.mean for clip in scaled]


def export_classifier(model: str, revision: str | None, file: Path) -> OnnxReport:
    """Write the classifier of a model folder as ONNX."""
    from audioformer.export.onnx_spectrogram import PatchGrid, export_spectrogram_classifier

    classifier = BeatsForAudioClassification.from_pretrained(model, revision=revision or "main")
    grid = PatchGrid(classifier.config.patch_size, classifier.config.num_bands)
    return export_spectrogram_classifier(classifier, grid, file)


def export_filterbank(model: str, revision: str | None, file: Path) -> OnnxReport:
    """Write the filterbank of a model folder as ONNX.

    Raises:
        ValueError: If the folder has no feature extractor.
    """
    from audioformer.export.onnx_spectrogram import BeatsFeatures, export_filterbank

    extractor = open_saved_extractor(BeatsFeatureExtractor, model, revision)
    return export_filterbank(extractor, BeatsFeatures, file)


def convert_beats(file: Path, output: Path, label_names: Mapping[str, str] | None, sha256: str) -> str:
    """Convert a checkpoint of the authors: an encoder, a fine-tuned classifier or a tokenizer.

    Raises:
        ValueError: If it is no such checkpoint, or the names do not fit its labels.
    """
    from audioformer.modeling_beats.convert_beats import convert_beats_checkpoint, read_beats_checkpoint

    converted = convert_beats_checkpoint(read_beats_checkpoint(require_file(file)), label_names)
    model = converted.model
    # The released models have been trained with the mean and deviation of AudioSet, which are the defaults.
    extractor = BeatsFeatureExtractor(feature_size=model.config.num_mel_bins, patch_size=model.config.patch_size)
    model.save_pretrained(output)
    extractor.save_pretrained(output)
    write_card(CARD_TEXT, file, sha256, output)
    labels = labels_of(model.config) if isinstance(model, BeatsForAudioClassification) else []
    return summarize(output, type(model), model.num_parameters(), labels, converted.notes)


FAMILY = Family(
    name=BeatsConfig.model_type,
    card=CARD_TEXT,
    config=BeatsConfig,
    extractor=BeatsFeatureExtractor,
    backbone=BeatsModel,
    classifier=BeatsForAudioClassification,
    examples=BeatsExampleSource(),
    arguments=BeatsArguments,
    recipes=Path(__file__).parent / "recipes" / "beats",
    pretrain=pretrain_beats,
    streams=True,
    check_settings=check_settings,
    check_extractor=check_extractor,
    describe_input=describe_input,
    view=partial(view_spectrogram, kind="Log-mel spectrogram"),
    log_energies=log_energies,
    exporters={"classifier": export_classifier, "filterbank": export_filterbank},
    export_files={"classifier": ONNX_CLASSIFIER, "filterbank": ONNX_FILTERBANK},
    converters={"beats": convert_beats},
)
