"""The record of MaskSpec (arXiv 2204.12768)."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from audioformer.export.onnx_export import OnnxReport
from audioformer.feature_extraction import MaskSpecFeatureExtractor
from audioformer.files import ONNX_CLASSIFIER, ONNX_FILTERBANK
from audioformer.modeling_maskspec import MaskSpecConfig, MaskSpecForAudioClassification, MaskSpecModel

from .arguments import PRETRAIN
from .classifiers import labels_of
from .conversion import require_file, summarize, write_card
from .examples.audio import AudioExampleSource
from .families import CardText, Family, Settings
from .maskspec_arguments import MaskSpecArguments
from .pretraining.maskspec import check_length, pretrain_maskspec
from .spectrograms import check_extractor, describe_level, open_saved_extractor, view_spectrogram

CITATION = """@inproceedings{chong2023maskspec,
  title={Masked Spectrogram Prediction for Self-Supervised Audio Pre-Training},
  author={Chong, Dading and Wang, Helin and Zhou, Peilin and Zeng, Qingcheng},
  booktitle={IEEE International Conference on Acoustics, Speech and Signal Processing},
  year={2023}
}"""

CARD_TEXT = CardText(
    title="MaskSpec",
    paper="arXiv 2204.12768",
    citation=CITATION,
    description="Patches of a log-mel spectrogram are read by a Transformer, pre-trained as a masked autoencoder.",
)


class MaskSpecExampleSource(AudioExampleSource):
    """Clips as spectrograms, with the statistics and other settings of the front end that a run changes."""

    def __init__(self) -> None:
        super().__init__(MaskSpecFeatureExtractor)

    def open_extractor(self, settings: Settings) -> MaskSpecFeatureExtractor:
        """The extractor of the model that the run starts from, or a fresh one, with what the settings change.

        Raises:
            ValueError: If the file of statistics cannot be used.
        """
        extractor: MaskSpecFeatureExtractor = super().open_extractor(settings)
        options = settings.options
        return extractor.with_settings(
            **options.read_statistics(), lowpass_hz=options.lowpass_hz, stretch_to=options.stretch_to
        )


def check_settings(settings: Settings) -> None:
    """Check what the settings of different groups say together.

    Raises:
        ValueError: If clips of pre-training would be too long.
    """
    if settings.command == PRETRAIN:
        check_length(settings)


def describe_input(config: MaskSpecConfig, extractor: MaskSpecFeatureExtractor) -> Mapping[str, Any]:
    """What a card says about the spectrograms that a model reads."""
    level = describe_level(extractor)
    lowpass = f", up to {extractor.lowpass_hz:g} Hz" if extractor.lowpass_hz else ""
    size = config.patch_size
    return {
        "reads": f"log-mel spectrograms of {config.num_mel_bins} bins at {extractor.sampling_rate} Hz, each bin with "
        f"its own mean and standard deviation{lowpass}{level}, in patches of {size} frames and {size} bins"
    }


def log_energies(extractor: MaskSpecFeatureExtractor, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Log energies of clips at the rate of an extractor, as they are before its statistics are applied."""
    return [clip.numpy() for clip in extractor.log_energies(list(waveforms), extractor.sampling_rate)]


def export_classifier(model: str, revision: str | None, file: Path) -> OnnxReport:
    """Write the classifier of a model folder as ONNX, for clips of one piece."""
    from audioformer.export.onnx_spectrogram import PatchGrid, export_spectrogram_classifier

    classifier = MaskSpecForAudioClassification.from_pretrained(model, revision=revision or "main")
    config = classifier.config
    grid = PatchGrid(config.patch_size, config.num_bands, config.num_time_positions)
    return export_spectrogram_classifier(classifier, grid, file)


def export_filterbank(model: str, revision: str | None, file: Path) -> OnnxReport:
    """Write what the feature extractor of a model folder computes as ONNX.

    Raises:
        ValueError: If the folder has no feature extractor, or it does what the file cannot.
    """
    from audioformer.export.onnx_spectrogram import MaskSpecFeatures, export_filterbank

    extractor = open_saved_extractor(MaskSpecFeatureExtractor, model, revision)
    return export_filterbank(extractor, MaskSpecFeatures, file)


def convert_maskspec(file: Path, output: Path, label_names: Mapping[str, str] | None, sha256: str) -> str:
    """Convert a checkpoint of the authors: a pre-trained autoencoder or a fine-tuned classifier.

    Raises:
        ValueError: If it is no such checkpoint, or the names do not fit its labels.
    """
    from audioformer.modeling_maskspec.convert_maskspec import convert_maskspec_checkpoint, read_maskspec_checkpoint

    converted = convert_maskspec_checkpoint(read_maskspec_checkpoint(require_file(file)), label_names)
    model = converted.model
    # The statistics are not in the file. The released models were trained with those of AudioSet, the defaults.
    extractor = MaskSpecFeatureExtractor(feature_size=model.config.num_mel_bins, patch_size=model.config.patch_size)
    model.save_pretrained(output)
    extractor.save_pretrained(output)
    write_card(CARD_TEXT, file, sha256, output)
    labels = labels_of(model.config) if isinstance(model, MaskSpecForAudioClassification) else []
    return summarize(output, type(model), model.num_parameters(), labels, converted.notes)


FAMILY = Family(
    name=MaskSpecConfig.model_type,
    card=CARD_TEXT,
    config=MaskSpecConfig,
    extractor=MaskSpecFeatureExtractor,
    backbone=MaskSpecModel,
    classifier=MaskSpecForAudioClassification,
    examples=MaskSpecExampleSource(),
    arguments=MaskSpecArguments,
    recipes=Path(__file__).parent / "recipes" / "maskspec",
    pretrain=pretrain_maskspec,
    streams=True,
    check_settings=check_settings,
    check_extractor=check_extractor,
    describe_input=describe_input,
    view=partial(view_spectrogram, kind="Log-mel spectrogram"),
    log_energies=log_energies,
    exporters={"classifier": export_classifier, "filterbank": export_filterbank},
    export_files={"classifier": ONNX_CLASSIFIER, "filterbank": ONNX_FILTERBANK},
    converters={"maskspec": convert_maskspec},
)
