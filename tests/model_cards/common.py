"""Facts of a made-up run."""

import json
from pathlib import Path

from audioformer.model_cards.facts import CardFacts
from audioformer.model_cards.render import render_model_card


def make_facts(**changes) -> CardFacts:
    facts = {
        "name": "tiny-sounds",
        "method": "FT2",
        "base_model": "C1",
        "codebook": 0,
        "codec": {
            "codec": None,
            "codec_revision": None,
            "codec_fingerprint": "0" * 64,
            "sampling_rate": 24000,
            "frame_rate": 75.0,
            "codebook_size": 1024,
        },
        "labels": ["dog", "rain"],
        "num_parameters": 133514,
        "loss": "cross_entropy",
        "recipe": {"recipe": "tiny_ft2", "own": {"base": "tiny_ft1"}, "flags": {"num_train_epochs": 3.0}},
        "results": {
            "accuracy": 0.7125,
            "interval_95": [0.605, 0.808],
            "num_clips": 80,
            "tested_on": "test clips",
            "selection": "a held-out part of the training clips",
            "notes": [],
            "peak_memory_gb": 1.25,
            "data": {
                "source": "esc10",
                "layout": "esc50",
                "found": 320,
                "listed": 322,
                "missing": 1,
                "rejected_counts": {"unreadable": 1},
                "hours": 0.45,
                "splits": {"train": 240, "test": 80},
            },
        },
        "training": {
            "hardware": "x86_64 CPU, 2 threads",
            "train_clips": 216,
            "num_processes": 1,
            "precision": "float32",
            "batch_size": 16,
            "seconds": 213.0,
            "steps": 350,
            "epochs": 25.0,
            "best_metric": 0.75,
            "versions": {"audioformer": "0.1.0", "transformers": "5.23.0", "torch": "2.13.0", "python": "3.11.7"},
        },
        "has_curves": True,
    }
    return CardFacts(**{**facts, **changes})


def write_folder(folder: Path, facts: CardFacts, license: str | None = None) -> None:
    """Facts, results and card, as `audioformer finetune` writes them."""
    facts.save(folder)
    (folder / "eval_results.json").write_text(json.dumps(facts.results))
    render_model_card(facts, license=license).save(folder / "README.md")
