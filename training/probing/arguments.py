"""The settings of probes, beside those of the data and of the models' families."""

from dataclasses import dataclass, field
from typing import Any, Literal

from ..arguments import PROBE, SettingMetadata, setting
from ..ranges import SEED, at_least, check_ranges, more_than

ONLY = (PROBE,)


def _several(default: tuple[Any, ...], help: str, **metadata: Any) -> Any:
    return field(default_factory=lambda: list(default), metadata=SettingMetadata(help=help, commands=ONLY, **metadata))


@dataclass
class ProbeArguments:
    """Which probes are fitted, and how.

    Raises:
        ValueError: If a number is outside its range, or something is named twice or not at all.
    """

    probes: list[Literal["knn", "mlp", "linear"]] = _several(
        ("knn", "mlp"),
        "knn: shares of labels among the nearest training clips. mlp: a perceptron with one hidden layer. linear: "
        "logistic regression.",
    )
    k: int = setting(10, "knn: number of neighbours, by cosine distance.", ONLY, range=at_least(1))
    mlp_hidden_size: int = setting(1024, "mlp: width of the hidden layer.", ONLY, range=at_least(1))
    mlp_learning_rate: float = setting(1e-3, "mlp: learning rate of Adam.", ONLY, range=more_than(0))
    mlp_epochs: int = setting(
        200,
        "mlp: most passes over the training clips; it ends earlier if their loss stops falling.",
        ONLY,
        range=at_least(1),
    )
    linear_c: float = setting(
        1.0, "linear: inverse of the regularization; smaller values regularize more.", ONLY, range=more_than(0)
    )
    seeds: list[int] = _several((0, 1, 2), "mlp: seeds; the result is the mean over them.", range=SEED)
    cross_validate: bool = setting(
        False,
        "Test each fold of the data, or of --train-folds, with probes of the others (default where the data have "
        "folds and no test part).",
        ONLY,
    )
    vectors_dir: str | None = setting(
        None, "Where the vectors of the clips are kept (default: in the Hugging Face home folder).", ONLY
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        for name in ("probes", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"`{name}` must be at least one, and different ones, got {values}.")
