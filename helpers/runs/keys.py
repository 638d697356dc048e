"""What a stage is made from, as one digest: its key.

Another key means that the stage has to be done again, so it covers settings, earlier stages, and
what lies in the files that the settings name: a file may be edited in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers import datasets
from helpers.core import files as artifacts
from helpers.core import paths
from helpers.datasets import cache
from helpers.runs import record
from helpers.runs import settings as config


def stage_key(name: str, settings: Any, run: Mapping[str, Any]) -> str:
    """A digest of a stage's settings and inputs, and of the keys of all stages before it.

    Raises:
        SettingsError: SPLIT_CSV or WEIGHTS is not a file.
    """
    order = list(config.STAGES)
    before = order[: order.index(name)]
    stages = run.get("stages", {})
    earlier = {stage: stages.get(stage, {}).get("key") for stage in before}
    content: dict[str, Any] = {"settings": config.decisive(settings), "earlier": earlier}
    if isinstance(settings, config.AnalysisSettings):
        content["models"] = record.model_files(paths.RunPaths(run["run"]))
    if not before:
        table = datasets.load(settings).table
        labels = table.drop(columns="path").astype(str).to_numpy()
        content["images"] = [cache.source_key(table), artifacts.fingerprint(labels)]
        content["split_csv"] = _digest("SPLIT_CSV", settings.split_csv)
    # Without such files the key is as it was before their content counted.
    if weights := getattr(settings, "weights", ""):
        content["weights"] = _digest("WEIGHTS", weights)
    if cells := _genotype_files(getattr(settings, "genotypes", ())):
        content["genotypes"] = {name: artifacts.file_digest(file) for name, file in cells.items()}
    return artifacts.fingerprint(content)


def _digest(parameter: str, given: str) -> str | None:
    """The digest of the file that a parameter names; None where it names none."""
    if not given:
        return None
    file = Path(given).expanduser()
    if not file.is_file():
        raise config.SettingsError(f"{parameter}={given!r} is not a file")
    return artifacts.file_digest(file)


def _genotype_files(names: tuple[str, ...]) -> dict[str, Path]:
    """Return the files among GENOTYPES; the other entries are names of cells."""
    files = {name: Path(name).expanduser() for name in names}
    return {name: file for name, file in files.items() if file.is_file()}
