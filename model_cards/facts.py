"""What the card of a model says, as plain values that are kept beside the weights."""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from audioformer.files import CARD_FACTS, EVAL_RESULTS, FORMER_TRAINING_PICTURE

AUDIOFORMER_CITATION = """@article{li2023audioformer,
  title={AudioFormer: Audio Transformer learns audio feature representations from discrete acoustic codes},
  author={Li, Zhaohui and Wang, Haitao and Jiang, Xinghua},
  journal={arXiv preprint arXiv:2308.07221},
  year={2023}
}"""


@dataclass(kw_only=True)
class ModelFacts:
    """What every card of a model says.

    The defaults of `title`, `paper` and `citation` are those of AudioFormer, because facts saved by earlier versions
    do not have them. Other model families give their own.

    Args:
        name (`str`): Short name of the model.
        title (`str`, defaults to `"AudioFormer"`): Name of the model family.
        paper (`str`, *optional*, defaults to `"arXiv 2308.07221"`): Where the family was published: `arXiv NUMBER` or
            an address, either of which becomes a link, or any other text.
        citation (`str`, *optional*): BibTeX entry of the paper.
        sections (`list[dict[str, str]]`, *optional*): Further sections, each with a `title` and a `text` in Markdown.
            They precede the section on limits.
        repo_id (`str`, *optional*): Repository that the code of the card refers to, once the model has been pushed.
        has_onnx (`bool`, defaults to `False`): Whether the folder holds the model in ONNX.
    """

    name: str
    title: str = "AudioFormer"
    paper: str | None = "arXiv 2308.07221"
    citation: str | None = AUDIOFORMER_CITATION
    sections: list[dict[str, str]] = field(default_factory=list)
    repo_id: str | None = None
    has_onnx: bool = False

    def save(self, folder: str | Path) -> None:
        """Write `card_facts.json`. The results are left out, since they have a file of their own."""
        facts = {name: value for name, value in asdict(self).items() if name != "results"}
        text = json.dumps({"card": _KINDS[type(self)], **facts}, indent=2, ensure_ascii=False, default=str)
        (Path(folder) / CARD_FACTS).write_text(text + "\n", encoding="utf-8")


@dataclass(kw_only=True)
class CardFacts(ModelFacts):
    """What the card of a classifier says, in addition to [`ModelFacts`].

    Args:
        method (`str`, *optional*): Training method of the family, such as `"FT1"`.
        base_model (`str`, *optional*): Where the weights came from; `None` for freshly initialized weights.
        labels (`list[str]`): Names of the classes.
        num_parameters (`int`): Number of parameters of the model.
        loss (`str`): Name of the classification loss.
        results (`dict[str, Any]`): Content of `eval_results.json`.
        recipe (`dict[str, Any]`, *optional*): `recipe` (name or `None`), `own` (settings that differ from its base)
            and `flags` (settings given on the command line); `augmented_copies` (text) if there were any.
        training (`dict[str, Any]`, *optional*): What [`CardFactsCallback`] collected.
        codebook (`int`, *optional*): Index of the codebook that the model reads, from 0; `None` for a model that
            reads no codes, or several codebooks, which `reads` then names.
        codec (`dict[str, Any]`, *optional*): `codec` (id on the Hub, or `None` if it is in the folder of the model),
            `codec_revision`, `codec_fingerprint`, `sampling_rate` in Hz, `frame_rate` in frames per second and
            `codebook_size`, and `normalize`, `target_rms` and `min_rms` if waveforms are normalized; `None` for a
            model that reads no codes.
        reads (`str`, *optional*): What the input of the model is; by default described from `codebook`.
        sampling_rate (`int`, *optional*): Sampling rate of the input in Hz; by default that of the codec.
        has_curves (`bool`, defaults to `False`): Whether the folder holds a picture of the training.
        training_picture (`str`, defaults to `"training.png"`): Where it is in the folder; the default is that of
            earlier versions, which did not record it.
        has_classes_picture (`bool`, defaults to `True`): Whether the folder holds `classes.png`.

    Raises:
        ValueError: If neither `codebook` nor `reads`, or neither `codec` nor `sampling_rate`, is given.
    """

    method: str | None
    base_model: str | None
    labels: list[str]
    num_parameters: int
    loss: str
    results: dict[str, Any]
    recipe: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    codebook: int | None = None
    codec: dict[str, Any] | None = None
    reads: str | None = None
    sampling_rate: int | None = None
    has_curves: bool = False
    training_picture: str = FORMER_TRAINING_PICTURE
    has_classes_picture: bool = True

    def __post_init__(self) -> None:
        if self.reads is None:
            if self.codebook is None:
                raise ValueError("`reads` must describe the input of a model that has no `codebook`.")
            self.reads = f"codebook C{self.codebook + 1} of a neural audio codec, one token per frame"
        if self.sampling_rate is None:
            if self.codec is None:
                raise ValueError("`sampling_rate` is needed for a model that has no `codec`.")
            self.sampling_rate = self.codec["sampling_rate"]

    @property
    def level(self) -> str | None:
        """How the level of waveforms is normalized, in words; `None` if they are encoded as they are."""
        return describe_level(self.codec or {})


def describe_level(settings: Mapping[str, Any]) -> str | None:
    """Say in words how the level of waveforms was normalized before they were encoded.

    Args:
        settings (mapping): Has `normalize`, `target_rms` and `min_rms` if it was.

    Returns:
        `str` or `None`: `None` if waveforms were encoded as they are.
    """
    if settings.get("normalize") is None:
        return None
    target_db, min_db = (20 * math.log10(settings[name]) for name in ("target_rms", "min_rms"))
    return (
        f"each clip is scaled to a root mean square of {settings['target_rms']:g} ({target_db:.0f} dBFS); softer than "
        f"{min_db:.0f} dBFS, it is amplified by {target_db - min_db:.0f} dB"
    )


@dataclass(kw_only=True)
class PretrainedFacts(ModelFacts):
    """What the card of a model says that was not tested on labelled clips, in addition to [`ModelFacts`].

    Args:
        known (`dict[str, str]`, *optional*): What is known about it, by title.
        converted_from (`dict[str, str]`, *optional*): `file` and `sha256` of the checkpoint of other code that it was
            converted from; by default the model was made with this package.
    """

    known: dict[str, Any] = field(default_factory=dict)
    converted_from: dict[str, str] | None = None


@dataclass(kw_only=True)
class TrainedFacts(PretrainedFacts):
    """What the card of a model says that a trainer uploads by itself, in addition to [`PretrainedFacts`].

    Args:
        evaluated (`bool`, defaults to `False`): Whether results on labelled clips are among what is known.
    """

    evaluated: bool = False


_KINDS: dict[type[ModelFacts], str] = {
    CardFacts: "classifier",
    PretrainedFacts: "pretrained",
    TrainedFacts: "trained",
}


def read_facts(folder: str | Path) -> CardFacts | PretrainedFacts:
    """Read the facts that a run left in its folder, and the results that belong to them.

    Args:
        folder (`str` or `Path`): A folder of `audioformer finetune` or `audioformer pretrain`.

    Raises:
        ValueError: If a file is missing, or does not hold the facts of a card.
    """
    folder = Path(folder)
    file = folder / CARD_FACTS
    if not file.is_file():
        raise ValueError(f"{folder} has no {CARD_FACTS}, which `finetune` and `pretrain` write.")
    values = json.loads(file.read_text(encoding="utf-8"))
    # Earlier versions recorded facts of classifiers only.
    kind = values.pop("card", "classifier")
    facts_class: Any = next((cls for cls, name in _KINDS.items() if name == kind), None)
    if facts_class is None:
        raise ValueError(f"{file}: `card` must be one of {', '.join(_KINDS.values())}, got {kind!r}.")
    if facts_class is CardFacts:
        if not (folder / EVAL_RESULTS).is_file():
            raise ValueError(f"{folder} has no {EVAL_RESULTS}, which holds the results that its card states.")
        values["results"] = json.loads((folder / EVAL_RESULTS).read_text(encoding="utf-8"))
    known = {entry.name: entry for entry in fields(facts_class)}
    unknown = sorted(set(values) - set(known))
    required = {name for name, e in known.items() if e.default is MISSING and e.default_factory is MISSING}
    missing = sorted(required - set(values))
    if unknown or missing:
        what = [f"{kind} {', '.join(names)}" for kind, names in (("unknown", unknown), ("missing", missing)) if names]
        raise ValueError(f"{file} does not hold the facts of a card: {'; '.join(what)}.")
    return facts_class(**values)
