"""The card of a fine-tuned model, rendered from facts alone: no network, no model, the same text every time."""

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from . import CLASSIFIER_CARD, ONNX_SECTION
from .facts import CardFacts

REPOSITORY = "USER/REPOSITORY"
"""Stands for the repository in a card that has not been pushed."""

NO_LICENSE = "not stated yet: say it with `audioformer push --license`"
SHOWN_LABELS = 30
METRICS = {"mAP": "mean average precision", "accuracy": "accuracy"}


def render_model_card(facts: CardFacts, repo_id: str = REPOSITORY, license: str | None = None) -> ModelCard:
    """Render the card of a classifier.

    Args:
        facts (`CardFacts`): What it says.
        repo_id (`str`): Repository in its snippet.
        license (`str`, *optional*): Licence of the weights, an identifier of the Hub such as `"cc-by-4.0"`.
    """
    metric = metric_of(facts.results)
    data = facts.results.get("data") or {}
    result = EvalResult(
        task_type="audio-classification",
        dataset_type=data.get("source") or "unknown",
        dataset_name=data.get("source") or "unknown",
        metric_type=metric.lower(),
        metric_name=f"{METRICS[metric]} on {facts.results['num_clips']} {facts.results['tested_on']}",
        metric_value=facts.results[metric],
    )
    base_model = facts.base_model if facts.base_model and facts.base_model.count("/") == 1 else None
    card_data = ModelCardData(
        license=license,
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=["audioformer", "audio-classification", "codec-tokens"],
        base_model=base_model,
        metrics=[metric.lower()],
        model_name=facts.name,
        eval_results=[result],
    )
    return ModelCard.from_template(
        card_data,
        template_path=str(CLASSIFIER_CARD),
        name=facts.name,
        repo_id=repo_id,
        sampling_rate=facts.codec["sampling_rate"],
        method=facts.method,
        summary=_summary(facts, metric),
        results=_results(facts, metric),
        has_curves=facts.has_curves,
        origin=f"started from {facts.base_model}" if facts.base_model else "started from fresh weights",
        base_model=facts.base_model or "fresh weights, without pre-training",
        num_parameters=f"{facts.num_parameters:,}",
        row=f"row C{facts.codebook + 1} of the codes",
        codec=_codec(facts.codec),
        num_labels=len(facts.labels),
        labels=_labels(facts.labels),
        loss=facts.loss,
        data=_data(data),
        recipe=_recipe(facts.recipe),
        cost=_cost(facts),
        limits="\n".join(f"- {limit}" for limit in _limits(facts, data)),
        license=license or NO_LICENSE,
    )


def render_plain_card(name: str, license: str | None = None, facts: Mapping[str, Any] | None = None) -> ModelCard:
    """The card of a model that was not tested on labels: how to load it, and what is known of it.

    Args:
        name (`str`): Short name of the model.
        license (`str`, *optional*): Licence of the weights.
        facts (mapping, *optional*): What is known, by its title.
    """
    card_data = ModelCardData(license=license, library_name="transformers", tags=["audioformer"], model_name=name)
    table = "\n".join(
        ["| | |", "| --- | --- |", *(f"| {title} | {value} |" for title, value in (facts or {}).items())]
    )
    return ModelCard(
        f"""---
{card_data.to_yaml()}
---

# {name}

An AudioFormer ([arXiv 2308.07221](https://arxiv.org/abs/2308.07221)); not a model of the paper's authors.

```python
from transformers import AutoModel

model = AutoModel.from_pretrained("{REPOSITORY}", trust_remote_code=True)
```

{table if facts else "Nothing was recorded of its training."}

It was not tested on labelled sound.

Weights: {license or NO_LICENSE}.
The code in this repository (`*.py`): Apache-2.0.
"""
    )


def onnx_section(multi_label: bool) -> str:
    """How to run the exported files of a folder, for its card.

    Args:
        multi_label (`bool`): Whether a clip can have several labels: scores are sigmoids then, else a softmax.
    """
    softmax = "scores = np.exp(logits[0] - logits[0].max())\nscores /= scores.sum()"
    scores = "scores = 1 / (1 + np.exp(-logits[0]))" if multi_label else softmax
    return ONNX_SECTION.read_text(encoding="utf-8").replace("scores_of_logits", scores)


def metric_of(results: Mapping[str, Any]) -> str:
    """Name of the metric that results have."""
    return next(name for name in METRICS if name in results)


def _summary(facts: CardFacts, metric: str) -> str:
    kind = "tags sound with any of" if metric == "mAP" else "tells apart"
    return f"An AudioFormer that {kind} {len(facts.labels)} classes: {facts.results[metric]:.1%} {METRICS[metric]}."


def _results(facts: CardFacts, metric: str) -> str:
    results = facts.results
    low, high = results["interval_95"]
    lines = [
        f"**{METRICS[metric]} {results[metric]:.1%}**, 95 % bootstrap interval {low:.1%} to {high:.1%}, on "
        f"{results['num_clips']:,} {results['tested_on']}.",
        f"Checkpoint selected on: {results['selection']}.",
    ]
    if results.get("num_classes_without_positives"):
        lines.append(
            f"{results['num_classes_without_positives']} classes have no positive clip there and are left out."
        )
    return "\n".join([*lines, *results.get("notes", [])])


def _codec(codec: Mapping[str, Any]) -> str:
    where = "in `codec/` of this repository"
    if codec.get("codec"):
        revision = codec.get("codec_revision")
        where = f"[{codec['codec']}](https://huggingface.co/{codec['codec']})"
        where += f", revision `{revision}`" if revision else ", revision not pinned"
    return f"{where}; {codec['frame_rate']:g} frames a second, {codec['codebook_size']:,} entries a codebook"


def _labels(labels: Sequence[str]) -> str:
    more = f", and {len(labels) - SHOWN_LABELS} more" if len(labels) > SHOWN_LABELS else ""
    return ", ".join(labels[:SHOWN_LABELS]) + more


def _data(data: Mapping[str, Any]) -> str:
    if not data:
        return "Not recorded."
    lines = [
        f"{data['source']} (layout {data['layout']}): {data['found']:,} of {data['listed']:,} listed clips, "
        f"{data['missing']:,} not there, {sum(data.get('rejected_counts', {}).values()):,} left out; "
        f"{data['hours']:.2f} hours. These are all clips that were encoded, trained on or tested.",
        "",
        "| split | clips |",
        "| --- | --- |",
        *(f"| {split} | {count:,} |" for split, count in data.get("splits", {}).items()),
    ]
    return "\n".join(lines if data.get("splits") else lines[:1])


def _recipe(recipe: Mapping[str, Any]) -> str:
    name = recipe.get("recipe")
    begin = f"Recipe `{name}` of the package audioformer" if name else "No recipe"
    own, flags = recipe.get("own", {}), recipe.get("flags", {})
    parts = [f"{begin}. What it changes of its base, and what was given besides:"]
    rows = [*((key, value, "recipe") for key, value in own.items()), *((k, v, "given") for k, v in flags.items())]
    if not rows:
        return f"{begin}, unchanged."
    table = ["| setting | value | from |", "| --- | --- | --- |"]
    return "\n".join([*parts, "", *table, *(f"| `{key}` | {value} | {origin} |" for key, value, origin in rows)])


def _cost(facts: CardFacts) -> str:
    training = facts.training
    if not training:
        return ""
    versions = ", ".join(f"{name} {version}" for name, version in training["versions"].items())
    memory = facts.results.get("peak_memory_gb")
    parts = [
        f"{training['num_processes']} x {training['hardware']}, {training['precision']}",
        f"{training['train_clips']:,} training clips, {training['steps']:,} steps of {training['batch_size']}",
        f"{training['seconds'] / 60:.1f} minutes",
    ]
    if memory is not None:
        parts.append(f"peak memory {memory:.2f} GB")
    return f"{'; '.join(parts)}. Versions: {versions}."


def _limits(facts: CardFacts, data: Mapping[str, Any]) -> list[str]:
    limits = [
        "It answers with its own classes whatever it hears; silence and sounds of other kinds get scores, too.",
        "Numbers on one data set say little about other microphones, places and mixtures of sounds.",
    ]
    if data.get("layout") == "audioset" or "audioset" in str(data.get("source", "")).lower():
        limits += [
            "AudioSet's labels are noisy and incomplete: a class without a label may still be heard.",
            "Music and speech dominate AudioSet; rare classes have few clips.",
        ]
    if facts.loss == "lsep":
        limits.append(
            "LSEP ranks classes. A temperature and biases fitted on held-out clips make the sigmoids usable; they are "
            "no calibrated probabilities for other data."
        )
    return limits
