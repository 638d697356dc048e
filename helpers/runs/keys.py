"""The key of a stage: a digest of its settings and inputs. If it changes, the stage runs again.

It covers the settings of earlier stages, the data files that they have made, and the content of
files that the settings name, because a file may be edited in place. The code is digested beside it:
see `stages.is_current`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers import datasets
from helpers.core import files, paths
from helpers.core.rules import SettingsError
from helpers.datasets import cache
from helpers.datasets.folder import image_files
from helpers.models import RANDOM
from helpers.models.record import ENSEMBLES
from helpers.results.settings import AnalysisSettings
from helpers.runs.settings import STAGES, STEERING, decisive

# files that later stages build on: no pictures, tables and sentences for the eye
DATA = ("split.csv", "predictions/", "features/", "checkpoints/", "genotypes/")


def stage_key(stage: str, settings: Any, run: Mapping[str, Any]) -> str:
    """Return a digest of a stage's settings and inputs.

    Raises:
        SettingsError: SPLIT_CSV or WEIGHTS is not a file, or FOLDER is not a folder.
    """
    before = list(STAGES)[: list(STAGES).index(stage)]
    content: dict[str, Any] = {"settings": decisive(settings), "earlier": _earlier(run, before)}
    if isinstance(settings, AnalysisSettings):
        # all predictions, a user's own too, except the ensembles made from them
        found = sorted(paths.RunPaths(run["run"]).predictions_root.glob("*.csv"))
        models = {p.stem: files.file_digest(p) for p in found if p.stem not in ENSEMBLES}
        content["models"] = models
        if settings.compare_run:
            other = paths.RunPaths(settings.compare_run)
            read = [other.split_csv, *sorted(other.predictions_root.glob("*.csv"))]
            content["compared"] = {p.name: files.file_digest(p) for p in read if p.is_file()}
    if not before:
        table = datasets.load(settings).table
        labels = table.drop(columns="path").astype(str).to_numpy()
        content["images"] = [cache.source_key(table), files.fingerprint(labels)]
        content["split_csv"] = None
    for name in ("split_csv", "weights"):
        given = getattr(settings, name, "")
        if given and (name, given) != ("weights", RANDOM):
            file = Path(given).expanduser()
            if not file.is_file():
                raise SettingsError(f"{name.upper()}={given!r} is not a file")
            content[name] = files.file_digest(file)
    if given := getattr(settings, "folder", ""):
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise SettingsError(f"FOLDER={given!r} is not a folder")
        own = [file for file in image_files(folder) if file.is_file()]
        content["folder"] = {
            file.relative_to(folder).as_posix(): files.file_digest(file) for file in own
        }
    cells = {name: Path(name).expanduser() for name in getattr(settings, "genotypes", ())}
    named = {n: p for n, p in cells.items() if n.endswith(".json")}  # not the names of cells
    if digests := {n: files.file_digest(p) for n, p in named.items() if p.is_file()}:
        content["genotypes"] = digests
    return files.fingerprint(content)


def _earlier(run: Mapping[str, Any], before: list[str]) -> dict[str, Any]:
    """Return what earlier stages were given and have made, their pictures and texts left out.

    A stage that has run again, and made the same files, does not repeat those after it.
    """
    stages, steps = run.get("stages", {}), run.get("steps", {})
    given = {name: stages.get(name, {}).get("settings", {}) for name in before}
    made: dict[str, str] = {}
    for name in before:
        made |= stages.get(name, {}).get("outputs", {})
    for step in steps.values():
        if step["stage"] in before:
            made |= step["outputs"]
    return {
        "settings": {
            name: {k: v for k, v in values.items() if k not in STEERING}
            for name, values in given.items()
        },
        "files": {name: digest for name, digest in made.items() if name.startswith(DATA)},
    }
