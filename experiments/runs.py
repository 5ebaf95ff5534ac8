"""Running recipes from Python: once, with the reports in log files."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audioformer.files import CARD, PRETRAIN_RESULTS, PROBE_PREDICTIONS, PROBE_RESULTS
from audioformer.training import ProbeArguments, create_probe_run, create_settings, finetune, probe
from audioformer.training.codebooks import name_codebooks
from audioformer.training.families import recipe_folders
from audioformer.training.pretraining.masked_lm import pretrain_codebooks
from audioformer.training.recipes import load_recipe

from .definition import Probe


@contextlib.contextmanager
def reports_to(log: Path, progress: bool = True) -> Iterator[None]:
    """Append everything that is printed to a file.

    Args:
        log (`Path`): The file. Its folder is created.
        progress (`bool`, defaults to `True`): Whether progress bars and warnings stay on the terminal.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(log.open("a", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(file))
        if not progress:
            stack.enter_context(contextlib.redirect_stderr(file))
        yield


def pretrain_once(recipe: str, output: Path, num_codebooks: int, *, progress: bool = True, **given: Any) -> None:
    """Pre-train the models of the first codebooks, unless `output` holds them already.

    A run that was killed resumes from its last checkpoint. The report is appended to a log file beside `output`.

    Args:
        recipe (`str`): Name of the recipe.
        output (`Path`): Folder of the models `C1`, `C2`, ... or of the model `C1-C4`.
        num_codebooks (`int`): Number of codebooks, starting with C1, for which to pre-train a model each, or one
            model with `joint_codebooks`.
        progress (`bool`, defaults to `True`): Whether progress bars are shown.
        given: Settings that take precedence over the recipe's.
    """
    codebooks = list(range(num_codebooks))
    is_joint = {**load_recipe(recipe, recipe_folders()).values, **given}.get("joint_codebooks")
    names = [name_codebooks(codebooks)] if is_joint else map(name_codebooks, codebooks)
    if all((output / name / PRETRAIN_RESULTS).is_file() for name in names):
        return
    settings = create_settings(
        "pretrain", recipe, output_dir=output, codebooks=codebooks, resume_from_checkpoint="last", **given
    )
    with reports_to(_log_of(output), progress):
        pretrain_codebooks(settings)


def pretrain_stage_once(recipe: str, output: Path, *, progress: bool = True, **given: Any) -> None:
    """Run a stage of pre-training of any model family, unless `output` holds a finished one.

    A run that was killed resumes from its last checkpoint. The report is appended to a log file beside `output`.

    Args:
        recipe (`str`): Name of the recipe.
        output (`Path`): Folder of the model.
        progress (`bool`, defaults to `True`): Whether progress bars are shown.
        given: Settings that take precedence over the recipe's.

    Raises:
        ValueError: If the family of the recipe cannot be pre-trained.
    """
    if (output / PRETRAIN_RESULTS).is_file():
        return
    settings = create_settings("pretrain", recipe, output_dir=output, resume_from_checkpoint="last", **given)
    if settings.family.pretrain is None:
        raise ValueError(f"`recipe` {recipe!r}: {settings.family.title} cannot be pre-trained here.")
    with reports_to(_log_of(output), progress):
        settings.family.pretrain(settings)


def finetune_once(recipe: str, output: Path, *, progress: bool = True, **given: Any) -> None:
    """Fine-tune and test a classifier, unless `output` holds a finished one.

    Args:
        recipe (`str`): Name of the recipe.
        output (`Path`): Folder of the classifier.
        progress (`bool`, defaults to `True`): Whether progress bars are shown.
        given: Settings that take precedence over the recipe's.
    """
    # The card is written last.
    if (output / CARD).is_file():
        return
    settings = create_settings("finetune", recipe, output_dir=output, resume_from_checkpoint="last", **given)
    with reports_to(_log_of(output), progress):
        finetune(settings)


def probe_once(
    kind: Probe, model: Path, output: Path, *, seed: int, vectors_dir: Path, progress: bool = True, **given: Any
) -> Path:
    """Fit a probe to the frozen vectors of a model and test it, unless `output` holds a finished one.

    Args:
        kind (`str`): `"knn"`, `"mlp"` or `"linear"`.
        model (`Path`): Folder of the model.
        output (`Path`): Folder of the results.
        seed (`int`): Seed of an MLP.
        vectors_dir (`Path`): Where the vectors are kept.
        progress (`bool`, defaults to `True`): Whether progress bars are shown.
        given: Settings of the data.

    Returns:
        `Path`: The file of the predictions.
    """
    options = ProbeArguments(probes=[kind], seeds=[seed], vectors_dir=str(vectors_dir))
    run = create_probe_run([str(model)], options, output_dir=str(output), **given)
    if not (output / PROBE_RESULTS).is_file():
        with reports_to(_log_of(output), progress):
            probe(run)
    (file,) = (output / PROBE_PREDICTIONS).rglob("*.npz")
    return file


def _log_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.log")
