"""The cost of a model's training: seconds, parameters and device, from the files that it left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helpers.core import files
from helpers.core.paths import RunPaths


def training_records(run_paths: RunPaths, model: str) -> list[dict[str, Any]]:
    """Load what each seed's training of a network recorded about itself.

    Returns:
        One record per seed (`seconds, parameters, device, ...`) from
        `metrics/<model>_history.json`; empty if there is no such file.

    Raises:
        ArtifactError: the file is damaged.
    """
    path = run_paths.metrics(f"{model}_history")
    if not path.is_file():
        return []
    content = files.load_json(path)
    try:
        return [dict(record) for record in content["seeds"]]
    except (KeyError, TypeError, ValueError) as error:
        raise files.damaged(path, f"it does not list its seeds: {error}") from None


def training_cost(run_paths: RunPaths, run: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return `parameters`, `seconds` and `device` of one model's own training, None if unknown.

    Parameters are the trained ones of one network; seconds are the sum over the seeds. What the
    model builds on, such as features or the members of an ensemble, is not counted again. A model
    whose files do not name a device has that of the stage which wrote the predictions. `run` is the
    content of run.json.
    """
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
