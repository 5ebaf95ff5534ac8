"""The record of AudioFormer (arXiv 2308.07221)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from audioformer.export.onnx_export import OnnxReport
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import codec_fingerprint
from audioformer.files import ONNX_CLASSIFIER, ONNX_CODEC_ENCODER
from audioformer.model_cards.facts import AUDIOFORMER_CITATION
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification, AudioFormerModel

from .arguments import EVALUATE, FINETUNE
from .audioformer_arguments import AudioFormerArguments, AudioFormerTrainingArguments
from .codebooks import check_same_codebooks, describe_codebooks
from .conversion import require_file
from .embedding_init import start_from_code_vectors
from .examples.code_source import CodeExampleSource
from .families import CardText, ClipView, Family, Settings
from .pretraining.masked_lm import pretrain_codebooks
from .trainers.multi_positive import check_source_of_positives

SHOWN_CODEBOOKS = 4
"""Maximum number of codebooks in a picture; the paper uses four."""


def check_settings(settings: Settings) -> None:
    """Check what the settings of different groups say together.

    Raises:
        ValueError: If clips change whose vectors FT2 reads from a file, clips are packed for an attention that
            would mix them, the waveforms of codes are to be changed, or `codebooks` do not fit the command.
    """
    data, options = settings.data, settings.options
    if settings.command == FINETUNE and options.codebooks is not None and len(options.codebooks) == 1:
        raise ValueError(
            f"`codebooks` of a classifier are several that it reads together, got {options.codebooks}: `codebook` "
            f"{options.codebooks[0]} says which it reads alone."
        )
    codes = options.codes if data.eval_data is None and options.eval_codes is None else options.eval_codes
    if data.gains is not None and codes is not None:
        raise ValueError(
            f"`gains` changes the waveforms of the test clips, but {codes!r} holds codes: give their audio with "
            "--data or --eval-data."
        )
    if data.augment_copies and options.codes is not None:
        raise ValueError(
            f"`augment_copies` {data.augment_copies} changes the waveforms of the training clips, but "
            f"{options.codes!r} holds codes: give their audio with --data."
        )
    arguments, attention = settings.training, settings.model.attn_implementation
    if settings.command == EVALUATE and arguments.crop_frames is not None and not arguments.eval_crops:
        raise ValueError(f"`crop_frames` {arguments.crop_frames} has no effect on a test without `eval_crops`.")
    if settings.command == FINETUNE and settings.options.method == "ft2":
        check_source_of_positives(arguments)
        if data.augment_copies and not arguments.online_teachers:
            raise ValueError(
                f"`augment_copies` {data.augment_copies} draws another version of a clip in every epoch, but vectors "
                "computed once belong to whole, unchanged clips: set `online_teachers`, or leave out `augment_copies`."
            )
    if arguments.packed and attention is not None and "flash" not in attention:
        raise ValueError(f'`packed` needs the attention "flash_attention_2", got {attention!r}.')


def initialize(settings: Settings, model: PreTrainedModel, extractor: AudioFormerFeatureExtractor) -> None:
    """Start the embedding of a fresh model where `embedding_init` says."""
    if settings.options.embedding_init == "code_vectors":
        start_from_code_vectors(model, extractor, settings.training.seed)


def check_vocabulary(config: AudioFormerConfig, extractor: AudioFormerFeatureExtractor) -> None:
    """Check that a checkpoint was made for the vocabulary of a codec, and for several codebooks if they are read.

    Raises:
        ValueError: If the codebooks differ in size, or, where there are several, in their indices or order.
    """
    check_same_codebooks(str(config.name_or_path), config.codebook_indices, extractor.codebooks)
    if config.codebook_size != extractor.codebook_size:
        raise ValueError(
            f"`model` {config.name_or_path!r} was made for {config.codebook_size} entries per codebook, the codec has "
            f"{extractor.codebook_size}."
        )


def describe_input(config: AudioFormerConfig, extractor: AudioFormerFeatureExtractor) -> Mapping[str, Any]:
    """What a card says about the codes that a model reads."""
    saved = extractor.to_dict()
    codec = {
        "codec": saved["codec"],
        "codec_revision": saved["codec_revision"],
        "codec_fingerprint": codec_fingerprint(extractor.codec),
        "sampling_rate": extractor.sampling_rate,
        "frame_rate": extractor.frame_rate,
        "codebook_size": extractor.codebook_size,
        **extractor.normalization,
    }
    if config.num_codebooks == 1:
        return {"codebook": config.codebook, "codec": codec}
    tokens = f"{describe_codebooks(config.codebook_indices)} of a neural audio codec, {config.num_codebooks} tokens"
    return {"reads": f"{tokens} per frame, whose embeddings are added up", "codec": codec}


def weights_of_codec(extractor: AudioFormerFeatureExtractor) -> int:
    """Number of weights of the codec, its decoder included."""
    return sum(weight.numel() for weight in extractor.codec.parameters())


def view_codes(
    model: AudioFormerForAudioClassification, extractor: AudioFormerFeatureExtractor, waveform: np.ndarray
) -> ClipView:
    """The codes of a clip, in the first `SHOWN_CODEBOOKS` codebooks or in all if the codec has fewer.

    Args:
        model ([`AudioFormerForAudioClassification`]): The title names the codebooks that it reads.
        extractor ([`AudioFormerFeatureExtractor`]): Encodes the clip.
        waveform (`np.ndarray` of shape `(num_samples,)`): Mono, at the sampling rate of the extractor.

    Returns:
        [`ClipView`]: Codes of shape `(num_codebooks, num_frames)`, one channel per codebook.
    """
    read = ", ".join(f"C{codebook + 1}" for codebook in np.atleast_1d(model.config.codebook_indices))
    for count in range(SHOWN_CODEBOOKS, 0, -1):
        codebooks = list(range(count))
        try:
            (codes,) = extractor.with_codebooks(codebooks).encode([waveform], sampling_rate=extractor.sampling_rate)
        except ValueError:
            if count == 1:
                raise
            continue
        break
    names = [f"C{codebook + 1}" for codebook in codebooks]
    return ClipView(codes.T, f"Codes; the model reads {read}", names)


def export_classifier(model: str, revision: str | None, file: Path) -> OnnxReport:
    """Write the classifier of a model folder as ONNX."""
    from audioformer.export.onnx_export import export_classifier

    classifier = AudioFormerForAudioClassification.from_pretrained(model, revision=revision or "main")
    return export_classifier(classifier, file)


def export_codec(model: str, revision: str | None, file: Path) -> OnnxReport:
    """Write the encoder of a model folder's codec as ONNX.

    Raises:
        ValueError: If the folder has no feature extractor, or its codec cannot be exported.
    """
    from audioformer.export.onnx_export import export_codec_encoder

    try:
        extractor = AudioFormerFeatureExtractor.from_pretrained(model, revision=revision)
    except OSError as error:
        raise ValueError(f"`--model` {model!r} has no feature extractor, so no codec: {error}") from error
    return export_codec_encoder(extractor, file)


def convert_encodec(file: Path, output: Path, label_names: Mapping[str, str] | None, sha256: str) -> str:
    """Convert an original checkpoint of EnCodec, for the feature extractor.

    Raises:
        ValueError: If it is no EnCodec, or names of labels are given.
    """
    from audioformer.feature_extraction.convert_encodec_checkpoint import convert_encodec_checkpoint

    if label_names is not None:
        raise ValueError("`--labels` names the labels of a classifier: a codec has none.")
    model = convert_encodec_checkpoint(require_file(file), output)
    return f"{output}: EncodecModel of {model.config.sampling_rate} Hz, {model.num_parameters():,} weights"


FAMILY = Family(
    name=AudioFormerConfig.model_type,
    card=CardText(
        title="AudioFormer",
        paper="arXiv 2308.07221",
        citation=AUDIOFORMER_CITATION,
        description="Sound is turned into codes by a neural audio codec; the codes are read as text by a "
        "RoFormer-style encoder.",
    ),
    config=AudioFormerConfig,
    extractor=AudioFormerFeatureExtractor,
    backbone=AudioFormerModel,
    classifier=AudioFormerForAudioClassification,
    examples=CodeExampleSource(),
    arguments=AudioFormerArguments,
    training_arguments=AudioFormerTrainingArguments,
    recipes=Path(__file__).parent / "recipes" / "audioformer",
    pretrain=pretrain_codebooks,
    check_settings=check_settings,
    check_extractor=check_vocabulary,
    initialize=initialize,
    describe_input=describe_input,
    front_end_weights=weights_of_codec,
    view=view_codes,
    exporters={"classifier": export_classifier, "codec": export_codec},
    export_files={"classifier": ONNX_CLASSIFIER, "codec": ONNX_CODEC_ENCODER},
    converters={"encodec": convert_encodec},
)
