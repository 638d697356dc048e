"""Open a run from a notebook's parameters, and check first what the notebook builds on."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from helpers.core import environment, paths
from helpers.core.errors import UserError
from helpers.core.rules import Registry, SettingsError
from helpers.datasets import split_file
from helpers.runs import record, settings
from helpers.runs.run import OPEN, Run


def open_run(name: str, names: Mapping[str, Any]) -> Run:
    """Open a run from a notebook's global names; call it right after the parameters cell.

    The notebook is locked for this process until `finish`, and its start is noted in run.json.
    """
    run = prepare(name, names)
    lock = record.lock_file(run.paths, name)  # a notebook's first cells may be run twice
    if not (lock in OPEN and lock.exists()):
        OPEN[lock] = record.lock(run.paths, name)
    with record.edit_run(run.paths) as content:
        content.update(run=run.paths.name, preset=run.preset)
        content.update({"dataset": run.settings.dataset} if name == settings.FIRST else {})
        content.setdefault("stages", {})[name] = {
            "status": "started",
            "settings": dataclasses.asdict(run.settings),
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            "device": environment.device_name(environment.default_device()),
            "precision": environment.default_precision(environment.default_device()),
            "versions": environment.versions(),
            "commit": environment.commit(),
        }
    run.head.open()
    if what := waits_for(name, run.paths):
        print(f"This run waits for {what}. `python -m helpers.run` skips cells that fail by hand.")
    return run


def prepare(name: str, names: Mapping[str, Any]) -> Run:
    """Return a run as `open_run` does, but leave no trace in run.json."""
    given = {
        name: value
        for name, value in names.items()
        if name.isupper() and not name.startswith("_")
        if not isinstance(value, ModuleType | Registry)  # such as F and OPS
    }
    preset = given.pop("PRESET", None) or default_preset()
    run_name = given.pop("RUN", None) or default_run(given.get("DATASET") or "elpv", preset)
    record.check_run_name(run_name)
    run_paths = paths.RunPaths(run_name)
    content = record.load_run(run_paths)
    if name != settings.FIRST:
        preset = content.get("preset") or default_preset()
    resolved = settings.resolve(name, preset, {n.lower(): v for n, v in given.items()})
    settings.check_places(resolved)
    run = Run(name, run_paths, preset, resolved)
    if name == settings.FIRST:
        check_same_dataset(run_name, content, resolved.dataset)
    else:
        require_earlier(run)
        if name in settings.BOTH_CLASSES and (what := waits_for(name, run_paths)):
            raise UserError(f"{name} waits for {what}")
    return run


def default_preset() -> str:
    """Return "full" on a CUDA GPU, which takes hours on a CPU, or else "quick"."""
    return "full" if environment.default_device().type == "cuda" else "quick"


def default_run(dataset: str, preset: str) -> str:
    """Return `<dataset>-<preset>`; a folder is represented by its last name."""
    kind, _, place = dataset.partition(":")
    return f"{kind}-{Path(place).name}-{preset}" if place else f"{kind}-{preset}"


def check_same_dataset(run: str, content: Mapping[str, Any], dataset: str) -> None:
    """Raise SettingsError if a run was started with other data; a folder may have moved."""
    before = content.get("dataset") or dataset
    (kind, _, place), (other_kind, _, other) = before.partition(":"), dataset.partition(":")
    old, new = (Path(name).expanduser().resolve() for name in (place, other))
    has_moved = bool(place) and old.name == new.name and not old.exists()
    if kind != other_kind or (old != new and not has_moved):
        raise SettingsError(
            f"run {run!r} was started with --dataset {before}, not {dataset}, and would lose its "
            "predictions: give this one another name with --name (RUN in a notebook)"
        )


def waits_for(name: str, run_paths: paths.RunPaths) -> str:
    """Return what a notebook, or its cells that need both classes, waits for; "" if for nothing."""
    if name == settings.FIRST or not run_paths.split_csv.is_file():
        return ""
    return split_file.waits_for(split_file.read_split(run_paths.split_csv))


def require_earlier(run: Run) -> None:
    """Check for a later notebook that the split exists, and that images and files are unchanged."""
    if run.source.get("status") != "done":
        existing = sorted(path.parent.name for path in paths.runs_root().glob("[!.]*/split.csv"))
        known = f" (there are: {', '.join(existing)})" if existing else ""
        raise UserError(
            f"{run.name} needs the split of run {run.paths.name!r}, which does not exist{known}: "
            f"run notebooks/{settings.FIRST}.ipynb first, or name another run (--name; RUN in a "
            "notebook)"
        )
    record.refuse_changed_files(run.record, run.name, run.paths.root)
    is_decoded = "image_size_px" in run.source.get("settings", {})
    if not (is_decoded and run.paths.split_csv.is_file() and "digest" in run.split):
        return  # `digest` is missing in the user's own split.csv
    if changed := run.images().changed_images(run.split):
        raise UserError(
            f"{len(changed)} image(s) of run {run.paths.name!r} have changed since notebook 01, "
            f"e.g. {changed[0]!r}: run 01 again (`python -m helpers.run` without --from and --only)"
        )
