"""The key of a stage: a digest of its settings and inputs. If it changes, the stage runs again.

It covers the keys of earlier stages and the content of files that the settings name, because a file
may be edited in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers import datasets
from helpers.core import files, paths
from helpers.datasets import cache
from helpers.runs import record
from helpers.runs.settings import STAGES, AnalysisSettings, SettingsError, decisive


def stage_key(name: str, settings: Any, run: Mapping[str, Any]) -> str:
    """Return a digest of a stage's settings and inputs, and of the keys of all earlier stages.

    Raises:
        SettingsError: SPLIT_CSV or WEIGHTS is not a file.
    """
    order = list(STAGES)
    before, stages = order[: order.index(name)], run.get("stages", {})
    earlier = {stage: stages.get(stage, {}).get("key") for stage in before}
    content: dict[str, Any] = {"settings": decisive(settings), "earlier": earlier}
    if isinstance(settings, AnalysisSettings):
        content["models"] = record.model_files(paths.RunPaths(run["run"]))
    if not before:
        table = datasets.load(settings).table
        labels = table.drop(columns="path").astype(str).to_numpy()
        content["images"] = [cache.source_key(table), files.fingerprint(labels)]
        content["split_csv"] = _digest("SPLIT_CSV", settings.split_csv)
    if weights := getattr(settings, "weights", ""):
        content["weights"] = _digest("WEIGHTS", weights)
    cells = {name: Path(name).expanduser() for name in getattr(settings, "genotypes", ())}
    if found := {n: files.file_digest(file) for n, file in cells.items() if file.is_file()}:
        content["genotypes"] = found  # the other entries are names of cells
    return files.fingerprint(content)


def _digest(parameter: str, given: str) -> str | None:
    """Return the digest of the file that a parameter names, or None if it is empty."""
    if not given:
        return None
    file = Path(given).expanduser()
    if not file.is_file():
        raise SettingsError(f"{parameter}={given!r} is not a file")
    return files.file_digest(file)
