"""What a model's trainings left: their cost, and the checkpoints to open."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from helpers.core import files, paths
from helpers.core.paths import RunPaths
from helpers.runs import record

_CHECKPOINT = re.compile(r"seed(\d+)(?:_fold(\d+))?\.safetensors")


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of all trainings of a model, the first seed's first.

    `folder` is `checkpoints/<model>`. It may hold trainings of an earlier call; the run's record
    names those that the model has now. Without a record all in the folder count. The list is empty
    if there is no checkpoint (SVM, ensemble).

    Raises:
        ArtifactError: the record is damaged.
    """
    run_json = folder.absolute().parent.parent / "run.json"
    try:
        models = files.load_json(run_json).get("models", {}) if run_json.is_file() else {}
        members = models[folder.name]["model"]["members"] if folder.name in models else []
        named = [folder / paths.checkpoint_name(one["seed"], one["fold"]) for one in members]
    except (AttributeError, KeyError, TypeError) as error:
        raise files.damaged(run_json, error) from None
    if named:
        return named if named[0].is_file() else []
    matches = [_CHECKPOINT.fullmatch(path.name) for path in folder.glob("*")]
    found = [(int(match[1]), int(match[2] or 0), match[0]) for match in matches if match]
    return [folder / name for *_, name in sorted(found)]


def cost_table(run_paths: RunPaths, models: Sequence[str]) -> pd.DataFrame:
    """Return `model, parameters, seconds, device` of models; missing if unknown.

    Parameters are the trained ones of one network; seconds are the sum over a model's trainings.
    What the model builds on, such as features or the members of an ensemble, is not counted again.
    """
    known = record.load_run(run_paths).get("models", {})
    rows = [{"model": name, **known.get(name, {}).get("costs", {})} for name in models]
    return pd.DataFrame(rows, columns=["model", "parameters", "seconds", "device"])
