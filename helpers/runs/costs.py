"""What a model's trainings left: their records, their cost, and the checkpoint to open."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
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
    return _records(path) if path.is_file() else []


def _records(history: Path) -> list[dict[str, Any]]:
    content = files.load_json(history)
    try:
        return [dict(record) for record in content["seeds"]]
    except (KeyError, TypeError, ValueError) as error:
        raise files.damaged(history, f"it does not list its seeds: {error}") from None


def first_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint of a model's first seed, or None if it has none (SVM, ensemble).

    `folder` is `checkpoints/<model>`. It may hold seeds of an earlier call; the model's learning
    curves name the seeds that it has now. Without them the lowest seed counts.
    """
    history = folder.absolute().parents[1] / "metrics" / f"{folder.name}_history.json"
    if history.is_file():
        path = folder / f"seed{_records(history)[0]['seed']}.safetensors"
        return path if path.is_file() else None
    found = folder.glob("seed*.safetensors")
    return min(found, key=lambda path: int(path.stem.removeprefix("seed")), default=None)


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
