"""Captions: the facts that a reader of a run's table or figure must know, in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helpers.core import files, paths
from helpers.core.style import SIDES
from helpers.models.libraries import titles
from helpers.runs import costs, record, stages

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
        values = {name[:2]: run["stages"][name]["settings"] for name in trained}
        seeds = {number: (own["seed"], own.get("seeds", 1)) for number, own in values.items()}
        # where the networks of this stage and of earlier ones were trained
        models = {path.stem for path in stage.paths.predictions_root.glob("*.csv")}
        models -= record.models_of_later_stages(stage.paths, stage.name)
        trainings = [one for model in models for one in costs.training_records(stage.paths, model)]
        devices = sorted({str(one["device"]) for one in trainings if one.get("device")})
        machines = {device.rpartition(", ")[0] for device in devices}
        if len(machines) == 1:  # they differ in the precision
            devices[1:] = [device.rpartition(", ")[2] for device in devices[1:]]
        return (
            f"Run {stage.paths.name}; {split['label_mapping']}; {_images_text(split['images'])}, "
            f"{_split_text(split['settings'])}; "
            f"backbone {_backbone_text(stage, run['stages'])}; {_seeds_text(seeds)}"
            f"{' and '.join(devices) or costs.stage_device(last)}. {split['caveats']}"
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


def _split_text(settings: Mapping[str, Any]) -> str:
    kind = "groups kept apart" if settings["split"] == "groups" else "random split"
    if settings["split_csv"]:
        kind = "split by SPLIT_CSV"
    folds = settings["cross_fit"]
    return f"{kind}, seed {settings['seed']}" + (f", {folds} folds" if folds else "")


def _backbone_text(stage: stages.Stage, entries: Mapping[str, Any]) -> str:
    """Return the stage's backbone, or that of 02 and of 03 if they were run with different ones."""
    names = [name for name in _TRAINING[:2] if name <= stage.name]
    own = {name[:2]: entries.get(name, {}).get("backbone") for name in names}
    if len({*filter(None, own.values())}) > 1:
        return ", ".join(f"{titles(name or 'none')} in {number}" for number, name in own.items())
    return titles(stage.notes.get("backbone") or "none")


def _seeds_text(seeds: Mapping[str, tuple[int, int]]) -> str:
    """Return the first seed and the number of seeds by stage in words.

    Stages with the same first seed are not named.
    """
    texts = {
        stage: f"seeds {first} to {first + count - 1} where a row says so, otherwise {first}"
        if count > 1
        else f"seed {first}"
        for stage, (first, count) in seeds.items()
    }
    if len({first for first, _ in seeds.values()}) == 1:
        return f"training {texts[max(seeds, key=seeds.__getitem__)]}; "
    named = ", ".join(f"{text} in {stage}" for stage, text in texts.items())
    return f"training {named}; " if named else ""


def backbone_note(stage: stages.Stage) -> dict[str, str]:
    """Return the backbone of the rows of 02 and 03, for captions; empty without such rows."""
    found = backbone_of(stage.paths)
    return {"backbone": found} if found else {}


def backbone_of(run_paths: paths.RunPaths) -> str | None:
    """Return the pretrained backbone of 03, or else of 02; None if neither has been run."""
    run = stages.load_run(run_paths).get("stages", {})
    found = (run.get(name, {}).get("backbone") for name in reversed(_TRAINING[:2]))
    return next(filter(None, found), None)
