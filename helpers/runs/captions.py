"""Captions: the facts that a reader of a run's table or figure must know, in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.core.style import SIDES
from helpers.models.libraries import titles
from helpers.runs.record import load_run
from helpers.runs.stages import FIRST, Run

TRAINING = ("02_features_baselines", "03_finetuning", "05_genotype_retraining")


def caption(run: Run) -> str:
    """Return the caption of a table: labels, images, split, backbone, seeds, device.

    Raises:
        ArtifactError: run.json lacks an entry that the caption needs.
    """
    stages = load_run(run.paths)["stages"]
    try:
        first, trained = stages[FIRST], [stages[name] for name in TRAINING if name in stages]
        last = (trained or [stages[run.name]])[-1]
        seeds = max((stage["settings"] for stage in trained), key=_seeds, default=None)
        parts = [
            f"Run {run.paths.name}",
            first["label_mapping"],
            f"{_images_text(first['images'])}, {_split_text(first['settings'])}",
            f"backbone {titles(backbone_of(run.paths) or 'none')}",
            f"training seed {seeds['seed']}, {_seeds(seeds)} in all" if seeds else "",
            f"{last['device']}, {last['precision']}",
        ]
        return f"{'; '.join(filter(None, parts))}. {first['caveats']}"
    except (AttributeError, KeyError, TypeError) as error:
        raise files.damaged(run.paths.run_json, f"it lacks {error}") from None


def _seeds(settings: Mapping[str, Any]) -> int:
    return settings.get("seeds", 1)


def _images_text(counts: Mapping[str, int]) -> str:
    """Return the images of each side; `counts` has keys such as "train 0", "val 1" and "test"."""
    parts = []
    for side, name in SIDES.items():
        good, bad, hidden = (counts.get(key, 0) for key in (f"{side} 0", f"{side} 1", side))
        parts += [f"{name} {good:,} good and {bad:,} bad"] if good + bad else []
        parts += [f"{name} {hidden:,} unlabelled"] if hidden else []
    return "images: " + ", ".join(parts)


def _split_text(settings: Mapping[str, Any]) -> str:
    kind = "groups kept apart" if settings["split"] == "groups" else "random split"
    kind = "split by SPLIT_CSV" if settings["split_csv"] else kind
    folds = settings["cross_fit"]
    return f"{kind}, seed {settings['seed']}" + (f", {folds} folds" if folds else "")


def backbone_of(run_paths: RunPaths) -> str | None:
    """Return the pretrained backbone of 03, or else of 02; None if neither has been run."""
    stages = load_run(run_paths).get("stages", {})
    names = (stages.get(name, {}).get("backbone") for name in TRAINING[1::-1])
    return next(filter(None, names), None)
