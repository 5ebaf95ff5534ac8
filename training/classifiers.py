"""The classifier of a run: from a pre-trained model, another classifier, or fresh; and whether its labels fit."""

from collections.abc import Sequence

from transformers import AutoConfig

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification, AudioFormerModel

from .arguments import ModelArguments

SHOWN = 10


def check_known(wanted: Sequence[str], has: Sequence[str], name: str) -> None:
    """Make sure that every label of some data is known.

    Args:
        wanted (sequence of `str`): Labels of the data.
        has (sequence of `str`): Labels that are known.
        name (`str`): What knows them, as the message calls it.

    Raises:
        ValueError: Naming the labels that are unknown.
    """
    unknown = [label for label in wanted if label not in set(has)]
    if unknown:
        raise ValueError(
            f"{name} does not know {len(unknown)} of the {len(wanted)} labels of the data: {_shown(unknown)}. "
            f"It knows {len(has)}: {_shown(has)}."
        )


def check_head(model: ModelArguments, labels: Sequence[str]) -> None:
    """Make sure that there are labels and that they fit the head of a checkpoint, without loading its weights.

    Raises:
        ValueError: If there are no labels, or the checkpoint is a classifier of others and `new_head` is not set.
    """
    if not labels:
        raise ValueError("The data have no labels: a classifier cannot be fine-tuned on them.")
    if model.model is None or model.new_head:
        return
    config = read_config(model.model, model.model_revision)
    has = labels_of(config)
    if is_classifier(config) and has != list(labels):
        check_known(labels, has, f"`model` {model.model}")
        raise ValueError(
            f"`model` {model.model} has other labels than the data, or another order: {_shown(has)} against "
            f"{_shown(list(labels))}. Add --new-head to put a fresh classifier on it."
        )


def check_vocabulary(model: str, config: AudioFormerConfig, extractor: AudioFormerFeatureExtractor) -> None:
    """Make sure that a checkpoint reads the ids of a codec.

    Raises:
        ValueError: If its codebooks have another size.
    """
    if config.codebook_size != extractor.codebook_size:
        raise ValueError(
            f"`model` {model!r} was made for {config.codebook_size} entries a codebook, the codec has "
            f"{extractor.codebook_size}."
        )


def labels_of(config: AudioFormerConfig) -> list[str]:
    """Names of the classes in the order of their indices."""
    return [config.id2label[index] for index in sorted(config.id2label)]


def _shown(labels: Sequence[str]) -> str:
    return ", ".join(labels[:SHOWN]) + (f", and {len(labels) - SHOWN} more" if len(labels) > SHOWN else "")


def dropout_changes(model: ModelArguments) -> dict[str, float]:
    """The fields of the configuration for the dropout that was asked for."""
    changes = {"hidden_dropout_prob": model.dropout, "attention_probs_dropout_prob": model.attention_dropout}
    return {name: value for name, value in changes.items() if value is not None}


def read_config(model: str, revision: str | None = None) -> AudioFormerConfig:
    """The configuration of a checkpoint, without its weights.

    Raises:
        ValueError: If it is not an AudioFormer, or there is none.
    """
    try:
        config = AutoConfig.from_pretrained(model, revision=revision)
    except OSError as error:
        raise ValueError(f"`model` {model!r} cannot be opened: {error}") from error
    if not isinstance(config, AudioFormerConfig):
        raise ValueError(f"`model` {model!r} must be an AudioFormer, it is of the type {config.model_type!r}.")
    return config


def is_classifier(config: AudioFormerConfig) -> bool:
    return "AudioFormerForAudioClassification" in (config.architectures or [])


def classifier_to_train(
    model: ModelArguments, labels: Sequence[str], multi_label: bool, extractor: AudioFormerFeatureExtractor
) -> AudioFormerForAudioClassification:
    """The model that is fine-tuned: the backbone of `model.model`, or a fresh one, under a head for `labels`.

    Args:
        model (`ModelArguments`): Where to start, the loss, the dropout.
        labels (sequence of `str`): Class names; their order gives the indices.
        multi_label (`bool`): Whether a clip can have several.
        extractor (`AudioFormerFeatureExtractor`): Gives the ids of the row that is read.

    Raises:
        ValueError: If the labels or the codec do not fit the checkpoint (see [`check_head`] and
            [`check_vocabulary`]), or the loss not the labels.
    """
    loss = model.classification_loss or ("lsep" if multi_label else "cross_entropy")
    if multi_label == (loss == "cross_entropy"):
        kind = "several labels" if multi_label else "one label"
        raise ValueError(
            f"`classification_loss` {loss!r} does not fit data with {kind} a clip: "
            "cross_entropy is for one, lsep and bce are for several."
        )
    ids = extractor.model_config()
    changes: dict[str, object] = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": "multi_label_classification" if multi_label else "single_label_classification",
        "classification_loss": loss,
        "codebook": ids["codebook"],
        # What was fitted to the scores of a head says nothing about the head after training.
        "calibration_temperature": None,
        "calibration_bias": None,
    }
    changes |= dropout_changes(model)
    if model.model is None:
        config = AudioFormerConfig(
            hidden_size=model.hidden_size,
            num_hidden_layers=model.num_hidden_layers,
            num_attention_heads=model.num_attention_heads,
            intermediate_size=model.intermediate_size,
            **{**ids, **changes},
        )
        return AudioFormerForAudioClassification._from_config(config, attn_implementation=model.attn_implementation)

    config = read_config(model.model, model.model_revision)
    check_vocabulary(model.model, config, extractor)
    options = {"revision": model.model_revision, "attn_implementation": model.attn_implementation}
    if is_classifier(config) and not model.new_head:
        check_head(model, labels)
        return AudioFormerForAudioClassification.from_pretrained(model.model, **options, **changes)
    backbone = AudioFormerModel.from_pretrained(model.model, **options)
    classifier = AudioFormerForAudioClassification._from_config(
        AudioFormerConfig.from_dict({**config.to_dict(), **changes}), attn_implementation=model.attn_implementation
    )
    classifier.audioformer.load_state_dict(backbone.state_dict())
    return classifier
