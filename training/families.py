"""Model families. Each has one record, through which alone commands and runs know the family."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch.utils.data import Dataset
from transformers import FeatureExtractionMixin, PreTrainedConfig, PreTrainedModel

from audioformer.data.clips import ClipSplits, ClipsT
from audioformer.files import check_location

from .arguments import AudioTrainingArguments, DataArguments, FamilyArguments, ModelArguments
from .recipes import Recipe, RecipeError
from .spectrogram_arguments import SpectrogramTrainingArguments

if TYPE_CHECKING:
    from .trainers import ClassificationTrainer

BUILT_IN = ("audioformer_family", "beats_family", "dasheng_family", "maskspec_family")
"""Modules beside this one that hold the record of a family as `FAMILY`."""

CheckLabels = Callable[[Sequence[str], bool], None]
"""Raises `ValueError` where the settings do not fit the labels of some data, and whether a clip has several of them;
called before any audio is read."""


class ExampleSource(Protocol[ClipsT]):
    """How a family turns listed clips into what its models train on.

    The type parameter is the class of clips that the family opens; the other methods get these clips back. Models and
    feature extractors are `Any` because each family is only ever given objects of its own classes.
    """

    def open_extractor(self, settings: "Settings") -> Any:
        """The feature extractor of a run: that of the model it starts from, or one for a fresh model."""

    def open_clips(
        self, settings: "Settings", extractor: Any, *, test_source: bool, check_labels: CheckLabels | None
    ) -> ClipsT:
        """The clips of the data, or of the separate test data, amplified by `settings.gain_db`.

        `examples.listings.find_groups` finds their groups in the paths of the files. A source that does not apply it
        leaves that to be done with the names of the clips.
        """

    def examples(
        self, settings: "Settings", clips: ClipsT, extractor: Any, config: PreTrainedConfig, *, labels: bool
    ) -> Dataset:
        """Clips as a data set for evaluation, with or without their labels."""

    def trainer(
        self, settings: "Settings", model: Any, extractor: Any, splits: ClipSplits[ClipsT] | None
    ) -> "ClassificationTrainer":
        """The trainer of a classifier; without splits, one that only evaluates."""


class ExportReport(Protocol):
    """What an exporter wrote."""

    def to_text(self) -> str:
        """The report for the terminal."""


class Converter(Protocol):
    """Turns a checkpoint of other code into a folder of this package."""

    def __call__(self, file: Path, output: Path, label_names: Mapping[str, str] | None, sha256: str) -> str:
        """Convert a file.

        Args:
            file (`Path`): The checkpoint, a file or a folder. Nothing is unpickled from it beyond tensors and plain
                values.
            output (`Path`): The folder to write.
            label_names (mapping, *optional*): Names of labels by their ids, for a classifier that has only these.
            sha256 (`str`): SHA-256 of the checkpoint, in hexadecimal digits, for the card.

        Returns:
            `str`: What was written, and what of the file was not used, for the terminal.

        Raises:
            ValueError: If the file is no such checkpoint, or the labels do not fit it.
        """


@dataclass(frozen=True)
class ClipView:
    """A clip as a model of the family receives it, to be drawn as an image.

    Args:
        values (`np.ndarray` of shape `(num_channels, num_frames)`): Codes or features; low frequencies first.
        title (`str`): What the image shows.
        channel_names (sequence of `str`, *optional*): A name for each channel, where there are few.
    """

    values: np.ndarray
    title: str
    channel_names: Sequence[str] | None = None


@dataclass(frozen=True)
class CardText:
    """What the card of a model says about its family.

    Args:
        title (`str`): Name of the family.
        paper (`str`, *optional*): Its paper, such as `"arXiv 2308.07221"`.
        citation (`str`): BibTeX entry of the paper; empty if there is none.
        description (`str`): How the models work, in a sentence or two.
    """

    title: str
    paper: str | None = None
    citation: str = ""
    description: str = ""


@dataclass(frozen=True)
class Family:
    """A model family.

    Args:
        name (`str`): `model_type` of its configuration.
        card (`CardText`): Name, paper and description for people.
        config (type): Its configuration.
        extractor (type): Its feature extractor, which needs `sampling_rate` and
            `__call__(waveforms, sampling_rate=...)`. If it has `model_config()`, that returns the
            configuration fields that a model of its output needs.
        backbone (type): Its encoder without a head.
        classifier (type): Its `...ForAudioClassification`.
        examples (`ExampleSource`): How listed clips become examples.
        arguments (type): Settings specific to this family, including the sizes of a fresh model.
        training_arguments (type): Its Trainer settings; by default those of models that read audio or spectrograms.
        recipes (`Path`, *optional*): Folder of its recipes.
        pretrain (function, *optional*): Pre-trains models with the settings of a run and writes their folders.
        streams (`bool`, defaults to `False`): Whether `pretrain` takes its examples from [`open_examples`], which can
            stream them.
        check_settings (function, *optional*): Raises `ValueError` for settings of different groups that exclude each
            other; called before anything is read.
        check_extractor (function, *optional*): Raises `ValueError` where a configuration does not fit an extractor.
        initialize (function, *optional*): Prepares the weights of a fresh model, with or without a head, in place;
            gets the settings, the model and its extractor.
        describe_input (function, *optional*): Fields of [`CardFacts`] about the input of a model, from its
            configuration and extractor: `reads`, or `codebook` and `codec`.
        view (function, *optional*): A waveform as a model receives it, for pictures.
        exporters (mapping): Functions that write a part of a model folder in another format, by the part's name; each
            takes the model's location, its revision and the file to write.
        export_files (mapping): File name of each part.
        log_energies (function, *optional*): Log energies of waveforms at the rate of an extractor, one array of shape
            `(num_frames, num_bins)` per clip, as they are before statistics of the data normalize them. For
            `audioformer statistics`.
        front_end_weights (function, *optional*): Number of learned weights that an extractor holds, such as those of a
            codec.
        converters (mapping): Functions that turn a checkpoint of other code into a folder, by the kind of checkpoint;
            see [`Converter`].
    """

    name: str
    card: CardText
    config: type[PreTrainedConfig]
    extractor: type[FeatureExtractionMixin]
    backbone: type[PreTrainedModel]
    classifier: type[PreTrainedModel]
    examples: ExampleSource[Any]
    arguments: type[FamilyArguments] = FamilyArguments
    training_arguments: type[AudioTrainingArguments] = SpectrogramTrainingArguments
    recipes: Path | None = None
    pretrain: Callable[["Settings"], Any] | None = None
    streams: bool = False
    check_settings: Callable[["Settings"], None] | None = None
    # `Any` stands for the family's own configuration, model and extractor: it is given no others.
    check_extractor: Callable[[Any, Any], None] | None = None
    initialize: Callable[["Settings", Any, Any], None] | None = None
    describe_input: Callable[[Any, Any], Mapping[str, Any]] | None = None
    view: Callable[[Any, Any, np.ndarray], ClipView] | None = None
    exporters: Mapping[str, Callable[[str, str | None, Path], ExportReport]] = field(default_factory=dict)
    export_files: Mapping[str, str] = field(default_factory=dict)
    log_energies: Callable[[Any, Sequence[np.ndarray]], Sequence[np.ndarray]] | None = None
    front_end_weights: Callable[[Any], int] | None = None
    converters: Mapping[str, "Converter"] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name of the family for people."""
        return self.card.title

    def is_classifier(self, config: PreTrainedConfig) -> bool:
        """Whether a checkpoint of this configuration holds a classifier."""
        return self.classifier.__name__ in (config.architectures or [])


@dataclass(frozen=True)
class Settings:
    """The settings of one run.

    Args:
        command (`str`): `"pretrain"`, `"finetune"` or `"evaluate"`.
        family (`Family`): The model family.
        data (`DataArguments`): What to train, select and test on.
        model (`ModelArguments`): Where to start.
        options (`FamilyArguments`): Settings specific to the family, in its own dataclass.
        training (`AudioTrainingArguments`): Trainer settings, in the family's own dataclass.
        recipe (`Recipe`, *optional*): The recipe that the run began with.
        given (mapping): Settings given in addition to the recipe, by name.
        gain_db (`float`, defaults to 0): By how many dB waveforms are amplified before the feature extractor, while
            `evaluate` measures one of its `gains`.
    """

    command: str
    family: Family
    data: DataArguments
    model: ModelArguments
    options: Any
    training: Any
    recipe: Recipe | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    gain_db: float = 0.0

    @property
    def groups(self) -> tuple[Any, ...]:
        """The dataclasses, in the order of the help."""
        return self.data, self.model, self.options, self.training


_ADDED: dict[str, Family] = {}


def register_family(family: Family) -> None:
    """Add a model family, so that commands find it by the `model_type` of a checkpoint, a recipe, or `--family`.

    Raises:
        ValueError: If another family has its name.
    """
    if any(known.name == family.name and known is not family for known in families()):
        raise ValueError(f"A family named {family.name!r} is registered already.")
    _ADDED[family.name] = family


def families() -> list[Family]:
    """All model families: the built-in ones, then those that were registered."""
    built_in = [importlib.import_module(f".{module}", __package__).FAMILY for module in BUILT_IN]
    return [*built_in, *_ADDED.values()]


def find_family(name: str, origin: str) -> Family:
    """The family of a `model_type`.

    Args:
        name (`str`): The name.
        origin (`str`): What refers to it, for the error message.

    Raises:
        ValueError: If no such family is registered.
    """
    found = next((family for family in families() if family.name == name), None)
    if found is None:
        known = ", ".join(family.name for family in families())
        raise ValueError(f"{origin} is of the model type {name!r}; known model families are {known}.")
    return found


def recipe_folders() -> dict[str, Path]:
    """Folder of recipes of each family that has one."""
    return {family.name: family.recipes for family in families() if family.recipes is not None}


def read_model_type(model: str, revision: str | None = None) -> str:
    """`model_type` of a checkpoint.

    Raises:
        ValueError: If there is no such checkpoint, or its configuration has no `model_type`.
    """
    check_location(model, "`model`")
    try:
        settings, _ = PreTrainedConfig.get_config_dict(model, revision=revision)
    except OSError as error:
        raise ValueError(f"`model` {model!r} cannot be opened: {error}") from error
    if "model_type" not in settings:
        raise ValueError(f"`model` {model!r} has no configuration with a `model_type`.")
    return settings["model_type"]


def choose_family(
    model: str | None = None,
    model_revision: str | None = None,
    recipe: Recipe | None = None,
    name: str | None = None,
) -> Family:
    """The family of a run: that of the model it starts from, else of the recipe, else the one named, else the first.

    Args:
        model (`str`, *optional*): Folder or Hub id.
        model_revision (`str`, *optional*): Revision of a model on the Hub.
        recipe (`Recipe`, *optional*): The recipe of the run.
        name (`str`, *optional*): Name of a family.

    Raises:
        RecipeError: If a family is unknown, or model, recipe and name belong to different ones.
    """
    found: dict[str, Family] = {}
    try:
        if model is not None:
            found["`model`"] = find_family(read_model_type(model, model_revision), f"`model` {model!r}")
        if recipe is not None and recipe.family is not None:
            found["`recipe`"] = find_family(recipe.family, f"`recipe` {recipe.name!r}")
        if name is not None:
            found["`family`"] = find_family(name, "`family`")
    except ValueError as error:
        raise RecipeError(str(error)) from error
    if len({family.name for family in found.values()}) > 1:
        listing = ", ".join(f"{origin} is of {family.title}" for origin, family in found.items())
        raise RecipeError(f"Model, recipe and family must belong together: {listing}.")
    return next(iter(found.values()), families()[0])
