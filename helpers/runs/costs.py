"""What a model's trainings left: their records, their cost, and the checkpoints to open."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import files, paths
from helpers.core.paths import RunPaths
from helpers.runs import record

_CHECKPOINT = re.compile(r"seed(\d+)(?:_fold(\d+))?\.safetensors")


def training_records(run_paths: RunPaths, model: str) -> list[dict[str, Any]]:
    """Load what each training of a network recorded about itself.

    Returns:
        One record per seed and fold (`seconds, parameters, device, ...`) from
        `metrics/<model>_history.json`; empty if there is no such file.

    Raises:
        ArtifactError: the file is damaged.
    """
    path = run_paths.metrics(f"{model}_history")
    return _records(path) if path.is_file() else []


def _records(history: Path) -> list[dict[str, Any]]:
    content = files.load_json(history)
    try:
        return [dict(record) for record in content["seeds"]]
    except (KeyError, TypeError, ValueError) as error:
        raise files.damaged(history, f"it does not list its trainings: {error}") from None


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of all trainings of a model, the first seed's first.

    `folder` is `checkpoints/<model>`. It may hold trainings of an earlier call; the model's
    learning curves name those that it has now. Without them all in the folder count. The list is
    empty if there is no checkpoint (SVM, ensemble).

    Raises:
        ArtifactError: the learning curves are damaged.
    """
    history = folder.absolute().parent.parent / "metrics" / f"{folder.name}_history.json"
    if not history.is_file():
        matches = [_CHECKPOINT.fullmatch(path.name) for path in folder.glob("*")]
        found = [(int(match[1]), int(match[2] or 0), match[0]) for match in matches if match]
        return [folder / name for *_, name in sorted(found)]
    records = _records(history)
    named = [folder / paths.checkpoint_name(r["seed"], r.get("fold")) for r in records]
    return named if named and named[0].is_file() else []


def cost_table(run_paths: RunPaths, models: Sequence[str]) -> pd.DataFrame:
    """Return `model, parameters, seconds, device` of models; missing if unknown."""
    run = record.load_run(run_paths)
    rows = [{"model": name, **training_cost(run_paths, run, name)} for name in models]
    return pd.DataFrame(rows, columns=["model", "parameters", "seconds", "device"])


def training_cost(run_paths: RunPaths, run: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return `parameters`, `seconds` and `device` of one model's own training, None if unknown.

    Parameters are the trained ones of one network; seconds are the sum over its trainings. What the
    model builds on, such as features or the members of an ensemble, is not counted again. A model
    whose files do not name a device has that of the stage which wrote the predictions. `run` is the
    content of run.json.
    """
    if costs := run.get("models", {}).get(model, {}).get("costs"):
        return costs
    records = training_records(run_paths, model)
    fit = run_paths.metrics(f"fit_{model}")  # of a classical model
    if not records and fit.is_file():
        records = [files.load_json(fit)]
    seconds = [record["seconds"] for record in records if record.get("seconds") is not None]
    step = run.get("steps", {}).get(model, {})
    wrote = [
        stage_device(stage)
        for stage in run.get("stages", {}).values()
        if f"predictions/{model}.csv" in stage.get("outputs", {})
    ]
    first = records[0] if records else {}
    return {
        "parameters": first.get("parameters"),
        "seconds": sum(seconds) if seconds else step.get("seconds"),
        "device": first.get("device", wrote[0] if wrote else None),
    }


def stage_device(stage: Mapping[str, Any]) -> str:
    """Return the device and precision that a stage of run.json was run with."""
    return f"{stage['device']}, {stage['precision']}"
