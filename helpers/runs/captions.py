"""Captions: the facts that a reader of a run's table or figure must know, in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helpers.core import files
from helpers.runs import costs, stages
from helpers.runs import record as run_record

SIDES = {"train": "training", "val": "validation", "test": "test"}
_TRAINING = ("02_features_baselines", "03_finetuning", "05_genotype_retraining")


def caption(stage: stages.Stage) -> str:
    """Return the caption of a table: data, labels, split, seeds, backbone, device.

    Raises:
        ArtifactError: run.json lacks an entry that the caption needs.
    """
    run = stages.load_run(stage.paths)
    try:
        split = run["stages"]["01_data_split"]
        trained = [name for name in _TRAINING if name in run["stages"] and name <= stage.name]
        last = run["stages"][trained[-1] if trained else stage.name]
        seeds = {name[:2]: _seeds_of(run["stages"][name]["settings"]) for name in trained}
        return (
            f"Run {stage.paths.name}; {split['label_mapping']}; {_images_text(split['images'])}, "
            f"split seed {split['settings']['seed']}; "
            f"backbone {stage.notes.get('backbone') or 'none'}; {_seeds_text(seeds)}"
            f"{_devices(stage) or costs.stage_device(last)}. {split['caveats']}"
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise files.damaged(stage.paths.run_json, f"it lacks {error}") from None


def _images_text(counts: Mapping[str, int]) -> str:
    """Return the images of each side; `counts` has keys such as "train 0", "val 1" and "test"."""
    parts = []
    for side, name in SIDES.items():
        good, bad = counts.get(f"{side} 0", 0), counts.get(f"{side} 1", 0)
        if good or bad:
            parts.append(f"{name} {good:,} good and {bad:,} bad")
        hidden = sum(n for key, n in counts.items() if key.split()[0] == side) - good - bad
        if hidden:
            parts.append(f"{name} {hidden:,} unlabelled")
    return "images: " + ", ".join(parts)


def _seeds_of(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Return the first seed of a stage's trainings, and their number."""
    return settings["seed"], settings.get("seeds", 1)


def _seeds_text(seeds: Mapping[str, tuple[int, int]]) -> str:
    """Return the seeds of the stages' trainings; stages with the same first seed are not named."""
    if not seeds:
        return ""

    def text(first: int, count: int) -> str:
        """Return the words for one stage."""
        if count == 1:
            return f"seed {first}"
        return f"seeds {first} to {first + count - 1} where a row says so, otherwise {first}"

    if len({first for first, _ in seeds.values()}) == 1:
        return f"training {text(*max(seeds.values()))}; "
    return f"training {', '.join(f'{text(*own)} in {stage}' for stage, own in seeds.items())}; "


def _devices(stage: stages.Stage) -> str:
    """Return where the networks of this stage and earlier ones were trained; "" if unknown."""
    later = run_record.models_after(stage.paths, stage.name)
    models = {path.stem for path in stage.paths.predictions_root.glob("*.csv")} - later
    records = [r for model in models for r in costs.training_records(stage.paths, model)]
    return " and ".join(sorted({str(r["device"]) for r in records if r.get("device")}))
