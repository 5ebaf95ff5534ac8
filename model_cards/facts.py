"""What a model card says, collected while a model is trained: plain values, kept beside the weights."""

import json
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

import audioformer
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


class CardFactsCallback(TrainerCallback):
    """Notes what a card says about the training; it renders nothing and sends nothing.

    `collected` holds hardware, number of processes, precision, seconds, steps, epochs, best metric and versions.
    """

    def __init__(self) -> None:
        self.collected: dict[str, Any] = {}
        self._started = time.perf_counter()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._started = time.perf_counter()
        self.collected |= {
            "hardware": hardware(args),
            "train_clips": len(kwargs["train_dataloader"].dataset),
            "num_processes": args.world_size,
            "precision": "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32",
            "batch_size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            "versions": {
                "audioformer": audioformer.__version__,
                "transformers": transformers.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.collected |= {
            "seconds": time.perf_counter() - self._started,
            "steps": state.global_step,
            "epochs": state.epoch,
            "best_metric": state.best_metric,
        }


def hardware(args: TrainingArguments) -> str:
    """The device of a process in words."""
    if args.device.type == "cuda":
        return torch.cuda.get_device_name(args.device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


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
