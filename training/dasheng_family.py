"""The record of Dasheng (arXiv 2406.06992)."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from audioformer.data.audio.clips import AudioClips
from audioformer.data.clips import ClipSplits
from audioformer.export.onnx_export import OnnxReport
from audioformer.feature_extraction import DashengFeatureExtractor
from audioformer.files import ONNX_CLASSIFIER, ONNX_FILTERBANK
from audioformer.modeling_dasheng import DashengConfig, DashengForAudioClassification, DashengModel

from .classifiers import labels_of
from .conversion import summarize, write_card
from .dasheng_arguments import DashengArguments
from .examples.audio import AudioExampleSource
from .families import CardText, Family, Settings
from .pretraining.dasheng import check_length, pretrain_dasheng
from .spectrograms import check_extractor, describe_level, open_saved_extractor, view_spectrogram
from .trainers import ClassificationTrainer

CITATION = """@inproceedings{dinkel2024dasheng,
  title={Scaling up masked audio encoder learning for general audio classification},
  author={Dinkel, Heinrich and Yan, Zhiyong and Wang, Yongqing and Zhang, Junbo and Wang, Yujun and Wang, Bin},
  booktitle={Interspeech},
  year={2024}
}"""

CARD_TEXT = CardText(
    title="Dasheng",
    paper="arXiv 2406.06992",
    citation=CITATION,
    description="Pieces of 40 ms of a mel spectrogram are read by a Transformer, pre-trained as a masked autoencoder.",
)

MAX_FRONT_END_DIFFERENCE = 1e-4
"""Largest allowed difference between a value of the window or the mel filters in a checkpoint and ours."""


class DashengExampleSource(AudioExampleSource):
    """Clips as spectrograms, for a model whose encoder may be frozen."""

    def __init__(self) -> None:
        super().__init__(DashengFeatureExtractor)

    def trainer(
        self, settings: Settings, model: PreTrainedModel, extractor: Any, splits: ClipSplits[AudioClips] | None
    ) -> ClassificationTrainer:
        """A `ClassificationTrainer`, after the encoder was frozen where the settings say so."""
        if splits is not None and settings.options.freeze_encoder:
            model.base_model.requires_grad_(False)
        return super().trainer(settings, model, extractor, splits)


def check_settings(settings: Settings) -> None:
    """Check what the settings of different groups say together.

    Raises:
        ValueError: If a fresh encoder is to be frozen, or clips of pre-training would be too long.
    """
    if settings.command == "pretrain":
        check_length(settings)
    if settings.command == "finetune" and settings.options.freeze_encoder and settings.model.model is None:
        raise ValueError("`freeze_encoder` needs `model`: the encoder of a fresh model has not learned anything.")


def describe_input(config: DashengConfig, extractor: DashengFeatureExtractor) -> Mapping[str, Any]:
    """What a card says about the spectrograms that a model reads."""
    level = describe_level(extractor)
    return {
        "reads": f"mel spectrograms of {config.num_mel_bins} bins in dB{level}, in pieces of "
        f"{1000 / config.frame_rate:g} ms"
    }


def export_classifier(model: str, revision: str | None, file: Path) -> OnnxReport:
    """Write the classifier of a model folder as ONNX, for clips of one piece."""
    from audioformer.export.onnx_spectrogram import PatchGrid, export_spectrogram_classifier

    classifier = DashengForAudioClassification.from_pretrained(model, revision=revision or "main")
    config = classifier.config
    grid = PatchGrid(config.frames_per_patch, max_steps=config.num_time_positions)
    return export_spectrogram_classifier(classifier, grid, file)


def export_filterbank(model: str, revision: str | None, file: Path) -> OnnxReport:
    """Write what the feature extractor of a model folder computes as ONNX.

    Raises:
        ValueError: If the folder has no feature extractor.
    """
    from audioformer.export.onnx_spectrogram import DashengFeatures, export_filterbank

    extractor = open_saved_extractor(DashengFeatureExtractor, model, revision)
    return export_filterbank(extractor, DashengFeatures, file)


def convert_dasheng(file: Path, output: Path, label_names: Mapping[str, str] | None, sha256: str) -> str:
    """Convert what was published: an encoder, a fine-tuned classifier, or a folder of the port for the Hub.

    Raises:
        ValueError: If it is no such checkpoint, or the names do not fit its labels.
    """
    from audioformer.modeling_dasheng.convert_dasheng import convert_dasheng_checkpoint, read_dasheng_checkpoint

    checkpoint = read_dasheng_checkpoint(file)
    converted = convert_dasheng_checkpoint(checkpoint, label_names)
    config = converted.config
    extractor = DashengFeatureExtractor(feature_size=config.num_mel_bins, frames_per_patch=config.frames_per_patch)
    check_front_end(checkpoint.front_end, extractor)
    converted.save(output)
    extractor.save_pretrained(output)
    write_card(CARD_TEXT, file, sha256, output)
    with torch.device("meta"):
        num_weights = converted.model_class(config).num_parameters()
    labels = labels_of(config) if converted.model_class is DashengForAudioClassification else []
    return summarize(output, converted.model_class, num_weights, labels, converted.notes)


def check_front_end(front_end: Mapping[str, torch.Tensor], extractor: DashengFeatureExtractor) -> None:
    """Check that a model was trained on the spectrograms of an extractor.

    Args:
        front_end (mapping): Window and mel filters of a checkpoint, by the names of the authors' code; may be empty.
        extractor ([`DashengFeatureExtractor`]): The extractor of the converted folder.

    Raises:
        ValueError: If they are others.
    """
    ours = {
        "front_end.0.spectrogram.window": extractor.spectrogram.window,
        "front_end.0.mel_scale.fb": extractor.spectrogram.mel_weights,
    }
    for name, value in front_end.items():
        if name not in ours:
            raise ValueError(f"The checkpoint has {name!r}, which no Dasheng has.")
        if value.shape != ours[name].shape or (value - ours[name]).abs().max() > MAX_FRONT_END_DIFFERENCE:
            raise ValueError(
                f"{name!r} of the checkpoint is not that of Dasheng: it was trained on other spectrograms."
            )


FAMILY = Family(
    name=DashengConfig.model_type,
    card=CARD_TEXT,
    config=DashengConfig,
    extractor=DashengFeatureExtractor,
    backbone=DashengModel,
    classifier=DashengForAudioClassification,
    examples=DashengExampleSource(),
    arguments=DashengArguments,
    recipes=Path(__file__).parent / "recipes" / "dasheng",
    pretrain=pretrain_dasheng,
    streams=True,
    check_settings=check_settings,
    check_extractor=check_extractor,
    describe_input=describe_input,
    view=partial(view_spectrogram, kind="Mel spectrogram in dB"),
    exporters={"classifier": export_classifier, "filterbank": export_filterbank},
    export_files={"classifier": ONNX_CLASSIFIER, "filterbank": ONNX_FILTERBANK},
    converters={"dasheng": convert_dasheng},
)
