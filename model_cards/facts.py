"""What a model card says, collected while a model is trained: plain values, kept beside the weights."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from audioformer.files import CARD_FACTS, EVAL_RESULTS


@dataclass
class CardFacts:
    """Everything that a card is rendered from.

    Args:
        name (`str`): Short name of the model.
        method (`str`): `"FT1"` or `"FT2"`.
        base_model (`str`, *optional*): Where the weights started; without it they were fresh.
        codebook (`int`): Row of codes that is read, from 0.
        codec (mapping): `codec` (a Hub id, or `None` for one that lies beside the model), `codec_revision`,
            `codec_fingerprint`, `sampling_rate`, `frame_rate`, `codebook_size`.
        labels (`list[str]`): Class names.
        num_parameters (`int`): Weights of the model.
        loss (`str`): Loss of the classifier.
        recipe (mapping): `recipe` (its name, or `None`), `own` (what it changes of its base), `flags` (what was given
            on the command line).
        results (mapping): Content of `eval_results.json`.
        training (mapping): What [`CardFactsCallback`] collected.
        has_curves (`bool`): Whether `training.png` lies beside the card.
    """

    name: str
    method: str
    base_model: str | None
    codebook: int
    codec: dict[str, Any]
    labels: list[str]
    num_parameters: int
    loss: str
    recipe: dict[str, Any]
    results: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    has_curves: bool = False

    def save(self, folder: str | Path) -> None:
        """Write `card_facts.json`; the results stay in their own file."""
        facts = {name: value for name, value in asdict(self).items() if name != "results"}
        text = json.dumps(facts, indent=2, ensure_ascii=False, default=str)
        (Path(folder) / CARD_FACTS).write_text(text + "\n", encoding="utf-8")


def read_facts(folder: str | Path) -> CardFacts:
    """The facts that a run left in its folder, with its results.

    Raises:
        ValueError: If the folder has none.
    """
    folder = Path(folder)
    missing = [name for name in (CARD_FACTS, EVAL_RESULTS) if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} has no {' and no '.join(missing)}: it is no folder of `audioformer finetune`.")
    facts = json.loads((folder / CARD_FACTS).read_text(encoding="utf-8"))
    results = json.loads((folder / EVAL_RESULTS).read_text(encoding="utf-8"))
    return CardFacts(**facts, results=results)
