"""Sections of the card of the bundled ESC-10 classifier that the card of every classifier does not have."""

from collections.abc import Mapping, Sequence
from typing import Any

from audioformer.files import ATTRIBUTION

from .licensed_clips import LicensedClips


def card_sections(
    clips: LicensedClips,
    results: Mapping[str, Any],
    *,
    num_labels: int,
    lengths_s: Mapping[str, float],
    recipes: Mapping[str, Mapping[str, Any]],
    licenses: Sequence[str],
) -> list[dict[str, str]]:
    """Describe what the model is, how it was tested and made, on which data, and where its limits are.

    Args:
        clips ([`LicensedClips`]): The clips.
        results (mapping): Content of `eval_results.json`.
        num_labels (`int`): Number of classes.
        lengths_s (mapping): `shortest` and `longest` clip or copy, in seconds.
        recipes (mapping): For each recipe, the settings that took precedence over it.
        licenses (sequence of `str`): Licences of the clips in use.

    Returns:
        `list[dict[str, str]]`: `title` and `text` of each section, see [`ModelFacts`].
    """
    sections = {
        "About this model": "It comes with the package audioformer so that everything can be tried on a machine that "
        "downloads nothing. It is an example, not a sound tagger for real work.",
        "How it was tested": _test(clips, results),
        "How it was made": _making(results, recipes),
        "Data and attribution": f"{len(clips.clips)} of the {clips.num_listed} clips in folds {clips.listed_folds()} "
        'of ESC-10 (K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015), all '
        f"under {' or '.join(licenses)}. Clips under other licences are left out. `{ATTRIBUTION}` gives author, "
        "title, source and licence of each clip.",
        "Further limits": f"- {num_labels} classes with about {len(clips.clips) / num_labels:.0f} clips each, from "
        "one data set: expect a much lower accuracy on your own recordings.\n"
        f"- Clips are {lengths_s['shortest']:.1f} to {lengths_s['longest']:.1f} s long; other lengths work "
        "but were not part of training.\n"
        f"- Scores are softmax probabilities over the {num_labels} classes and are not calibrated.\n"
        "- The codec is just as small and not meant for listening; codes of other codecs mean something else.",
    }
    return [{"title": title, "text": text} for title, text in sections.items()]


def _test(clips: LicensedClips, results: Mapping[str, Any]) -> str:
    rows = [f"| {row['fold']} | {row['clips']} | {row['accuracy']:.1%} |" for row in results["per_fold"]]
    table = "\n".join(["| fold | clips | accuracy |", "| --- | --- | --- |", *rows])
    return "\n\n".join(
        [
            f"{len(clips.folds)}-fold cross-validation of the recipes by the folds of the data set. All clips of a "
            "recording are in the same fold. Each fold was tested once, with the weights of the last epoch.",
            table,
            "For comparison, logistic regression on counts of the C1 codes reaches "
            f"{results['histogram_accuracy']:.1%} on the same clips and folds.",
            "The codec was trained, without labels, on the audio of all folds. Pre-training and fine-tuning of each "
            "fold's model used the other folds only. The weights given here were then pre-trained and fine-tuned on "
            "all folds, so no clip of these folds can test them.",
        ]
    )


def _making(results: Mapping[str, Any], recipes: Mapping[str, Mapping[str, Any]]) -> str:
    minutes = sum(results["seconds"].values()) / 60
    paragraphs = [
        "```\npython -m audioformer.experiments.tiny_esc10 --data path/to/esc10 --output OUTPUT\n```",
        f"The command runs the recipes {' and '.join(f'`{name}`' for name in recipes)} of the package for each fold "
        f"and for all folds, which took {minutes:.0f} minutes of training and testing.",
        "The recipes add augmented copies of the clips and synthetic sound, and one model reads all four codebooks. "
        "That is specific to this small model; the paper does none of it.",
    ]
    changed = [
        f"| `{key}` | {value} | `{name}` |" for name, values in recipes.items() for key, value in values.items()
    ]
    if changed:
        head = ["| setting | value | instead of that of |", "| --- | --- | --- |"]
        paragraphs.append("\n".join([*head, *changed]))
    return "\n\n".join(paragraphs)
