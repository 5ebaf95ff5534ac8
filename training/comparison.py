"""Several classifiers of any families, each tested once on the same labelled clips."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from audioformer.data.audio.clips import list_audio_clips
from audioformer.data.audio.windows import clip_id_of
from audioformer.data.clips import Clips
from audioformer.data.listing import Listing, clips_without_audio
from audioformer.evaluation import EvaluationSummary
from audioformer.evaluation.comparison import (
    ComparedModel,
    Comparison,
    ModelCost,
    check_gives_probabilities,
    check_same_labels,
)
from audioformer.files import COMPARED_MODEL, CONFIG, PREPROCESSOR_CONFIG, write_whole
from audioformer.modeling_audioformer.classification_loss import classification_loss_name

from .arguments import EVALUATE
from .classifiers import check_known, labels_of, read_classifier_config
from .conversion import sha256_of
from .examples.audio import reading_settings
from .examples.listings import open_listing
from .families import Settings
from .peak_memory import restart_peak_memory
from .recipes import RecipeError
from .results import publishable, summarize
from .settings import create_settings, fields_of
from .testing import OpenedTest, open_test

MODELS_FOLDER = "models"
ENSEMBLE_FOLDER = "ensemble"
SPEED_CLIPS = 64
"""Clips or windows that the speed is measured on."""

NOT_SETTINGS = {"model", "model_revision", "output_dir", "gains", "codes", "eval_codes", "data"}
"""Settings of `evaluate` that are no settings of a comparison: its models all hear the same audio."""

_NOT_OF_THE_RESULT = {"data", "eval_data", "cache_dir", "output_dir", "model", "dataloader_num_workers"}
"""Settings that may differ where a comparison goes on: places, whose content is compared, and processes."""


@dataclass(frozen=True)
class _Request:
    """What determines the results of one model; equal ones are not computed again."""

    model: str
    clips: str
    settings: dict[str, Any]


def comparison_settings(models: Sequence[str], output: Path, **given: Any) -> dict[str, Settings]:
    """Settings of `evaluate` for each model of a comparison, by its name in the table.

    Args:
        models (sequence of `str`): Folders or Hub ids.
        output (`Path`): Folder of the comparison.
        given: Settings of `evaluate`. One that only some families have is given to these.

    Raises:
        RecipeError: If a setting is wrong, no family of the models has it, or a model is named twice.
    """
    names = _names_of(models)
    if not given.get("data"):
        raise RecipeError("`data` must be given: the labelled audio that all models are tested on.")
    settings: dict[str, Settings] = {}
    used: set[str] = set()
    for model, name in zip(models, names, strict=True):
        folder = output / MODELS_FOLDER / name.replace("/", "--")
        one = create_settings(EVALUATE, model=model, data=given["data"], output_dir=folder)
        own = {key: value for key, value in given.items() if key in fields_of(EVALUATE, one.family)}
        used |= own.keys()
        settings[name] = create_settings(EVALUATE, model=model, output_dir=folder, **own)
    unused = sorted(given.keys() - used)
    if unused:
        families = ", ".join(sorted({one.family.title for one in settings.values()}))
        raise RecipeError(f"`{unused[0]}` applies to none of the families of the models: {families}.")
    return settings


def _names_of(models: Sequence[str]) -> list[str]:
    """Name of each model: its Hub id, or as many of the last parts of its folder as tell it from the others.

    Raises:
        RecipeError: If there is no model, or one is named twice.
    """
    if not models:
        raise RecipeError("`models` must be given: folders or Hub ids of classifiers.")
    paths = [Path(model).resolve().parts[1:] if Path(model).exists() else (model,) for model in models]
    twice = [model for model, path in zip(models, paths, strict=True) if paths.count(path) > 1]
    if twice:
        raise RecipeError(f"`models` names {twice[0]!r} twice.")
    names = []
    for path in paths:
        length = next(n for n in range(1, len(path) + 1) if sum(other[-n:] == path[-n:] for other in paths) == 1)
        names.append("/".join(path[-length:]))
    return names


def compare(settings: Mapping[str, Settings], output: Path, ensemble: bool = False) -> Comparison:
    """Test classifiers on the same clips, and write one table, one picture and the results of each.

    Models that are finished in `output`, from a run that was killed or had fewer of them, are read.

    Args:
        settings (mapping): From [`comparison_settings`].
        output (`Path`): Folder to write.
        ensemble (`bool`, defaults to `False`): Whether to add the average of all models.

    Returns:
        [`Comparison`]: The results.

    Raises:
        ValueError: If a model is no classifier, labels differ among models or from those of the data, the data cannot
            be used, or `output` holds results of another comparison.
    """
    if ensemble and len(settings) < 2:
        raise ValueError(f"`ensemble` needs at least two models, got {len(settings)}.")
    configs = {
        name: read_classifier_config(one.family, str(one.model.model), one.model.model_revision)
        for name, one in settings.items()
    }
    losses = {name: classification_loss_name(config) for name, config in configs.items()}
    if ensemble:
        for name, loss in losses.items():
            check_gives_probabilities(name, loss)
    labels = {name: labels_of(config) for name, config in configs.items()}
    check_same_labels(labels)
    any_settings = next(iter(settings.values()))
    listing = open_listing(any_settings, str(any_settings.data.eval_data or any_settings.data.data))
    check_known(listing.labels, next(iter(labels.values())), f"`models` {next(iter(labels))}")
    clips = _digest_of(listing)
    requests = {
        name: _Request(_identity(str(one.model.model), configs[name]), clips, _settings_of_result(one))
        for name, one in settings.items()
    }
    # All before the first is computed: nothing is lost when the last does not fit.
    found = {name: _read_finished(name, _folder(one), requests[name]) for name, one in settings.items()}
    models = []
    for name, one in settings.items():
        finished = found[name]
        model = (
            _test_model(name, one, losses[name], requests[name], listing)
            if finished is None
            else ComparedModel(name, one.family.title, losses[name], *finished)
        )
        models.append(model)
    comparison = Comparison(models, ensemble)
    if PartialState().is_main_process:
        comparison.save(output)
        if comparison.average is not None:
            comparison.average.save(output / ENSEMBLE_FOLDER)
        print(comparison.to_markdown())
    PartialState().wait_for_everyone()
    return comparison


def _folder(settings: Settings) -> Path:
    return Path(str(settings.training.output_dir))


def _test_model(name: str, settings: Settings, loss: str, request: _Request, listing: Listing) -> ComparedModel:
    """Test one model, and write its folder; the file that says that it is finished comes last."""
    if PartialState().is_main_process:
        print(f"\n{name} ({settings.family.title})")
    device = settings.training.device.type
    held_gb = restart_peak_memory(device)
    test = open_test(settings)
    summary = summarize(test.trainer, settings, test.clips, test.extractor, tested_on="clips", selection=None)
    peak_gb, front_end = summary.peak_memory_gb, settings.family.front_end_weights
    cost = ModelCost(
        parameters=test.trainer.model.num_parameters(),
        front_end_parameters=0 if front_end is None else front_end(test.extractor),
        **_measure_speed(test, settings, listing),
        peak_memory_gb=None if held_gb is None or peak_gb is None else peak_gb - held_gb,
        device=device,
    )
    folder = _folder(settings)
    if test.trainer.is_world_process_zero():
        summary.save(folder)
        text = json.dumps({"request": asdict(request), "cost": asdict(cost)}, indent=2, default=str) + "\n"
        write_whole(folder / COMPARED_MODEL, lambda path: path.write_text(text, encoding="utf-8"))
    test.trainer.accelerator.wait_for_everyone()
    return ComparedModel(name, settings.family.title, loss, summary, cost)


def _read_finished(name: str, folder: Path, request: _Request) -> tuple[EvaluationSummary, ModelCost] | None:
    """What a former run measured of a model; `None` if it did not finish with it.

    Raises:
        ValueError: If it measured another model, other clips, or with other settings.
    """
    file = folder / COMPARED_MODEL
    if not file.is_file():
        return None
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        cost, former = ModelCost(**saved["cost"]), _Request(**saved["request"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged: {error!r}. Remove {folder} to measure the model again.") from error
    own = json.loads(json.dumps(asdict(request), default=str))
    changed = [part for part, value in asdict(former).items() if value != own[part]]
    if changed:
        what = {"model": "another model of this name", "clips": "other clips", "settings": "other settings"}
        raise ValueError(
            f"`output` holds results of {name} with {', '.join(what[part] for part in changed)}: give another "
            f"--output, or remove {folder}."
        )
    return EvaluationSummary.load(folder), cost


def _measure_speed(test: OpenedTest, settings: Settings, listing: Listing) -> dict[str, Any]:
    """How fast the first test clips come from waveforms in memory to scores, in batches of an evaluation."""
    waveforms = _read_waveforms(test.clips, test.extractor.sampling_rate, settings, listing)
    size = settings.training.per_device_eval_batch_size
    _score(test, waveforms[:size])
    started = time.perf_counter()
    for start in range(0, len(waveforms), size):
        _score(test, waveforms[start : start + size])
    seconds = time.perf_counter() - started
    heard_s = sum(map(len, waveforms)) / test.extractor.sampling_rate
    return {
        "speed_clips": len(waveforms),
        "clips_per_second": len(waveforms) / seconds,
        "real_time_factor": seconds / heard_s,
    }


def _score(test: OpenedTest, waveforms: Sequence[np.ndarray]) -> np.ndarray:
    extractor = test.extractor
    features = extractor(list(waveforms), sampling_rate=extractor.sampling_rate, padding=True, return_tensors="pt")
    _, logits, _ = test.trainer.prediction_step(test.trainer.model, dict(features), prediction_loss_only=False)
    assert logits is not None
    # Copied, which waits for the device.
    return logits.float().cpu().numpy()


def _read_waveforms(clips: Clips, rate: int, settings: Settings, listing: Listing) -> list[np.ndarray]:
    """The first of the clips, at a rate in Hz, whatever a family reads of them otherwise."""
    wanted = clips.ids[:SPEED_CLIPS]
    names = {*wanted, *map(clip_id_of, wanted)}
    # Clips of a `datasets` data set carry the bytes of their files: only these few are read.
    chosen = [index for index, clip in enumerate(clips_without_audio(listing)) if clip.id in names]
    some = replace(listing, clips=[listing.clips[index] for index in chosen])
    audio = list_audio_clips(some, reading_settings(settings), max_rejected_share=1.0, progress=False)
    row_of = {name: row for row, name in enumerate(audio.ids)}
    return [audio.read(row_of[name], rate) for name in wanted if name in row_of]


def _digest_of(listing: Listing) -> str:
    """SHA-256 of the list of clips; their sound is not read for it."""
    digest = hashlib.sha256(json.dumps([listing.labels, listing.multi_label]).encode())
    for clip in clips_without_audio(listing):
        entry = [clip.id, clip.labels, clip.split, clip.fold, clip.group, clip.start_s, clip.end_s]
        digest.update(json.dumps(entry).encode())
    return digest.hexdigest()


def _identity(model: str, config: Any) -> str:
    """SHA-256 of the weights and settings of a local folder; the commit of a model on the Hub."""
    folder = Path(model)
    if not folder.is_dir():
        return f"{model}@{getattr(config, '_commit_hash', None)}"
    digest = hashlib.sha256(sha256_of(folder).encode())
    for name in (CONFIG, PREPROCESSOR_CONFIG):
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _settings_of_result(settings: Settings) -> dict[str, Any]:
    given = {name: value for name, value in settings.given.items() if name not in _NOT_OF_THE_RESULT}
    return {name: publishable(value) for name, value in sorted(given.items())}
