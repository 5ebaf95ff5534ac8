"""Cards of models, rendered from facts alone: no network, no model, and the same facts always give the same text."""

import re
from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from audioformer.files import (
    CLASSES_PICTURE,
    EVAL_RESULTS,
    ONNX_CLASSIFIER,
    ONNX_CODEC_ENCODER,
    ONNX_FOLDER,
)

from .facts import CardFacts, ModelFacts, PretrainedFacts
from .templating import fill_template

CLASSIFIER_TEMPLATE = "classifier_card.md"
PRETRAINED_TEMPLATE = "pretrained_card.md"
REPOSITORY = "USER/REPOSITORY"
"""Stands for the repository in the card of a model that has not been pushed."""

MAX_LABELS = 30
METRICS = {"mAP": "mean average precision", "accuracy": "accuracy"}


def render_model_card(facts: CardFacts, *, license: str | None = None) -> ModelCard:
    """Render the card of a classifier.

    Args:
        facts (`CardFacts`): What it says.
        license (`str`, *optional*): Licence of the weights, an identifier of the Hub such as `"cc-by-4.0"`.

    Returns:
        `huggingface_hub.ModelCard`: The card.

    Raises:
        ValueError: If the results hold none of the known metrics.
    """
    results = facts.results
    metric = metric_of(results)
    data = results.get("data") or {}
    source = data.get("source") or "unknown"
    card_data = ModelCardData(
        license=license,
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=[_tag(facts), "audio-classification", *(["codec-tokens"] if facts.codec else [])],
        # The Hub accepts only the id of a repository.
        base_model=facts.base_model if facts.base_model and is_repo_id(facts.base_model) else None,
        metrics=[metric.lower()],
        model_name=facts.name,
        eval_results=[
            EvalResult(
                task_type="audio-classification",
                dataset_type=source,
                dataset_name=source,
                metric_type=metric.lower(),
                metric_name=f"{METRICS[metric]} on {results['num_clips']} {results.get('tested_on') or 'clips'}",
                metric_value=results[metric],
            )
        ],
    )
    text = fill_template(
        CLASSIFIER_TEMPLATE,
        card_data,
        facts=facts,
        # Optional entries of the results are looked up in the template, where an absent one counts as empty.
        results={**dict.fromkeys(_OPTIONAL_RESULTS), **results},
        metric=METRICS[metric],
        value=results[metric],
        multi_label=metric == "mAP",
        data=data,
        num_rejected=sum(data.get("rejected_counts", {}).values()),
        is_audioset=data.get("layout") == "audioset" or "audioset" in source.lower(),
        paper=_paper_link(facts.paper),
        repo_id=facts.repo_id or REPOSITORY,
        license=license,
        max_labels=MAX_LABELS,
        classes_picture=CLASSES_PICTURE,
        training_picture=facts.training_picture,
        results_name=EVAL_RESULTS,
        onnx_classifier=f"{ONNX_FOLDER}/{ONNX_CLASSIFIER}",
        onnx_codec_encoder=f"{ONNX_FOLDER}/{ONNX_CODEC_ENCODER}",
    )
    return ModelCard(text)


def render_pretrained_card(facts: PretrainedFacts, *, license: str | None = None) -> ModelCard:
    """Render the card of a model that was not tested on labelled clips.

    Args:
        facts (`PretrainedFacts`): What it says.
        license (`str`, *optional*): Licence of the weights, an identifier of the Hub.

    Returns:
        `huggingface_hub.ModelCard`: The card.
    """
    card_data = ModelCardData(license=license, library_name="transformers", tags=[_tag(facts)], model_name=facts.name)
    text = fill_template(
        PRETRAINED_TEMPLATE,
        card_data,
        facts=facts,
        paper=_paper_link(facts.paper),
        repo_id=facts.repo_id or REPOSITORY,
        license=license,
    )
    return ModelCard(text)


def render_plain_card(
    name: str, license: str | None = None, facts: Mapping[str, Any] | None = None, repo_id: str | None = None
) -> ModelCard:
    """Render the card of a model that was not tested on labelled clips, from what is known about it.

    Args:
        name (`str`): Short name of the model.
        license (`str`, *optional*): Licence of the weights, an identifier of the Hub.
        facts (`Mapping[str, Any]`, *optional*): What is known, by title.
        repo_id (`str`, *optional*): Repository that the code of the card refers to.

    Returns:
        `huggingface_hub.ModelCard`: The card.
    """
    plain = PretrainedFacts(name=name, known=dict(facts or {}), repo_id=repo_id)
    return render_pretrained_card(plain, license=license)


def render_card(facts: CardFacts | PretrainedFacts, *, license: str | None = None) -> ModelCard:
    """Render the card that belongs to facts of either kind."""
    if isinstance(facts, CardFacts):
        return render_model_card(facts, license=license)
    return render_pretrained_card(facts, license=license)


def is_repo_id(name: str) -> bool:
    """Whether a name can be the id of a repository of the Hub: `user/name`."""
    return _REPO_ID.fullmatch(name) is not None and ".." not in name and "--" not in name


def metric_of(results: Mapping[str, Any]) -> str:
    """Name of the metric that results hold: `"mAP"` or `"accuracy"`.

    Raises:
        ValueError: If they hold neither.
    """
    metric = next((name for name in METRICS if name in results), None)
    if metric is None:
        raise ValueError(f"The results hold none of the metrics {', '.join(METRICS)}; they hold {sorted(results)}.")
    return metric


_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)

_OPTIONAL_RESULTS = (
    "interval_95",
    "tested_on",
    "selection",
    "num_classes_without_positives",
    "notes",
    "per_class",
    "peak_memory_gb",
)


def _tag(facts: ModelFacts) -> str:
    return "-".join(facts.title.lower().split())


def _paper_link(paper: str | None) -> str | None:
    if paper is None:
        return None
    archive, _, number = paper.partition(" ")
    if archive == "arXiv" and number:
        return f"[{paper}](https://arxiv.org/abs/{number})"
    return f"<{paper}>" if paper.startswith("https://") else paper
