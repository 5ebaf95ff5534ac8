"""The classifier of a run, from a pre-trained model, another classifier or fresh weights, and checks of its labels."""

from collections.abc import Sequence
from typing import Any

from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from .families import Family, Settings

SHOWN = 10


def check_known(wanted: Sequence[str], known: Sequence[str], name: str) -> None:
    """Check that every label of the data is known.

    Args:
        wanted (sequence of `str`): Labels of the data.
        known (sequence of `str`): Labels that are known.
        name (`str`): What knows them, for the error message.

    Raises:
        ValueError: If labels are unknown; the message names them.
    """
    unknown = [label for label in wanted if label not in set(known)]
    if unknown:
        raise ValueError(
            f"{name} does not know {len(unknown)} of the {len(wanted)} labels of the data: {_shown(unknown)}. "
            f"It knows {len(known)}: {_shown(known)}."
        )


def check_head(settings: Settings, labels: Sequence[str]) -> None:
    """Check that there are labels and that they fit the head of a checkpoint, without loading its weights.

    Raises:
        ValueError: If there are no labels, or the checkpoint is a classifier with other labels and `new_head` is not
            set.
    """
    model = settings.model
    if not labels:
        raise ValueError("The data have no labels: a classifier cannot be fine-tuned on them.")
    if model.model is None or model.new_head:
        return
    config = read_config(settings.family, model.model, model.model_revision)
    known = labels_of(config)
    if settings.family.is_classifier(config) and known != list(labels):
        check_known(labels, known, f"`model` {model.model}")
        raise ValueError(
            f"`model` {model.model} has other labels than the data, or another order: {_shown(known)} against "
            f"{_shown(list(labels))}. Add --new-head to put a fresh classifier on it."
        )


def labels_of(config: PreTrainedConfig) -> list[str]:
    """Names of the classes in the order of their indices."""
    names = {int(index): name for index, name in (config.id2label or {}).items()}
    return [names[index] for index in sorted(names)]


def read_config(family: Family, model: str, revision: str | None = None) -> PreTrainedConfig:
    """The configuration of a checkpoint, without its weights.

    Raises:
        ValueError: If there is none, or it belongs to another family.
    """
    try:
        config = AutoConfig.from_pretrained(model, revision=revision)
    except OSError as error:
        raise ValueError(f"`model` {model!r} cannot be opened: {error}") from error
    if not isinstance(config, family.config):
        raise ValueError(
            f"`model` {model!r} must be of the family {family.title}, it is of the type {config.model_type!r}."
        )
    return config


def read_classifier_config(family: Family, model: str, revision: str | None = None) -> PreTrainedConfig:
    """The configuration of a checkpoint that must be a classifier.

    Raises:
        ValueError: If it is not one.
    """
    config = read_config(family, model, revision)
    if not family.is_classifier(config):
        # `from_pretrained` would put a head of random numbers on it.
        architectures = ", ".join(config.architectures or ["unknown"])
        raise ValueError(f"`model` {model!r} must be a classifier, not {architectures}.")
    return config


def default_classification_loss(multi_label: bool) -> str:
    """The loss of a classifier if none was requested: LSEP (paper, Eq. 7) for several labels per clip."""
    return "lsep" if multi_label else "cross_entropy"


def check_classification_loss(loss: str, multi_label: bool) -> None:
    """Check that a loss fits the labels.

    Raises:
        ValueError: If one is for a single label per clip and the other for several.
    """
    if multi_label == (loss == "cross_entropy"):
        kind = "several labels" if multi_label else "one label"
        raise ValueError(
            f"`classification_loss` {loss!r} does not fit data with {kind} per clip: "
            "cross_entropy is for one, lsep and bce are for several."
        )


def fresh_config(settings: Settings, extractor: Any, **changes: Any) -> PreTrainedConfig:
    """The configuration of a fresh model: the requested sizes, and what the extractor's output requires."""
    reads = extractor.model_config() if hasattr(extractor, "model_config") else {}
    return settings.family.config(**{**reads, **settings.options.config_values(fresh=True), **changes})


def fresh_model(settings: Settings, extractor: Any, model_class: type[PreTrainedModel], **changes: Any) -> Any:
    """A model with random weights, or with those that the family starts from.

    Args:
        settings (`Settings`): The requested sizes, attention and seed.
        extractor: Feature extractor of the run.
        model_class (type): A class of the family.
        changes: Fields of its configuration.
    """
    config = fresh_config(settings, extractor, **changes)
    model = model_class._from_config(config, attn_implementation=settings.model.attn_implementation)
    if settings.family.initialize is not None:
        settings.family.initialize(settings, model, extractor)
    return model


def classifier_to_train(
    settings: Settings, labels: Sequence[str], multi_label: bool, extractor: Any
) -> PreTrainedModel:
    """The model that is fine-tuned: the backbone of `settings.model.model`, or a fresh one, under a head for `labels`.

    Args:
        settings (`Settings`): Where to start, the loss, the sizes.
        labels (sequence of `str`): Class names; their order gives the indices.
        multi_label (`bool`): Whether a clip can have several.
        extractor: Feature extractor of the run.

    Returns:
        `PreTrainedModel`: A model of the family's class `classifier`.

    Raises:
        ValueError: If the labels or the extractor do not fit the checkpoint (see [`check_head`]), or the loss does not
            fit the labels.
    """
    family, model = settings.family, settings.model
    loss = model.classification_loss or default_classification_loss(multi_label)
    check_classification_loss(loss, multi_label)
    changes: dict[str, Any] = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": "multi_label_classification" if multi_label else "single_label_classification",
        "classification_loss": loss,
        "bce_reduction": model.bce_reduction,
        # A calibration belongs to the scores of the head as it was before this training.
        "calibration_temperature": None,
        "calibration_bias": None,
    }
    attention = {"attn_implementation": model.attn_implementation}
    if model.model is None:
        return fresh_model(settings, extractor, family.classifier, **changes)

    config = read_config(family, model.model, model.model_revision)
    if family.check_extractor is not None:
        family.check_extractor(config, extractor)
    changes |= settings.options.config_values(fresh=False)
    if family.is_classifier(config) and not model.new_head:
        check_head(settings, labels)
        return family.classifier.from_pretrained(model.model, **model.loading_options, **changes)
    backbone = family.backbone.from_pretrained(model.model, **model.loading_options)
    classifier = family.classifier._from_config(family.config.from_dict({**config.to_dict(), **changes}), **attention)
    classifier.base_model.load_state_dict(backbone.state_dict())
    return classifier


def _shown(labels: Sequence[str]) -> str:
    return ", ".join(labels[:SHOWN]) + (f", and {len(labels) - SHOWN} more" if len(labels) > SHOWN else "")
