"""Open a stage of a run for a notebook, and tell when it has to run again.

A stage's key is a digest of its settings and inputs: the settings of earlier stages, the data files
that they have made, and the content of files that the settings name, because a file may be edited
in place. The code is digested beside it, see `is_current`; finished work inside of a notebook has
keys of its own, see `memo`.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from helpers import datasets
from helpers.core import environment, files, paths
from helpers.core.devices import default_device, default_precision, device_name
from helpers.core.errors import UserError
from helpers.core.rules import SettingsError
from helpers.datasets import cache, split_file
from helpers.datasets.folder import image_files
from helpers.models import RANDOM
from helpers.models.record import ENSEMBLES
from helpers.runs import record, settings
from helpers.runs.memo import OPEN, Run, images_of, split_of
from helpers.runs.record import edit_run, load_run, outputs_are_intact
from helpers.runs.settings import ANALYSIS, DECISION, FIRST

# files that later stages build on: no pictures, tables and sentences for the eye
DATA = ("split.csv", "predictions/", "features/", "checkpoints/", "genotypes/")
# settings that name a file or a folder
PLACES = ("split_csv", "labels_csv", "mask", "weights", "folder")


class StageError(UserError):
    """A notebook cannot start; the message says which one to run first."""


def default_preset() -> str:
    """Return `full` on a GPU, `quick` on a CPU."""
    return "full" if default_device().type == "cuda" else "quick"


def default_run(dataset: str, preset: str) -> str:
    """Return `<dataset>-<preset>`; a folder is represented by its last name."""
    kind, _, place = dataset.partition(":")
    return f"{kind}-{Path(place).name}-{preset}" if place else f"{kind}-{preset}"


def begin(name: str, names: Mapping[str, Any]) -> Run:
    """Open a stage from a notebook's global names; call it right after the parameters cell.

    Raises:
        SettingsError: a parameter that the stage does not have (a misspelt `-p`, for example).
        StageError: an earlier notebook has not been run for this run, or it has no bad images.
        RunError: another process has this stage open; this process holds it until `finish`.
        ArtifactError: run.json is damaged, or a file of an earlier notebook has changed.
    """
    stage = open_stage(name, names)
    lock = record.lock_file(stage.paths, name)  # a notebook's first cells may be run twice
    if not (lock in OPEN and lock.exists()):
        OPEN[lock] = record.lock(stage.paths, name)
    files.remove_leftovers(stage.paths.root, paths.submissions_root())
    header = {"run": stage.paths.name, "preset": stage.preset}
    if name == FIRST:
        header["dataset"] = stage.settings.dataset
    with edit_run(stage.paths) as run:
        run.update(header)
        run.setdefault("stages", {})[name] = {
            "status": "started",
            "key": stage.key,
            "settings": dataclasses.asdict(stage.settings),
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
            "device": device_name(default_device()),
            "precision": default_precision(default_device()),
            "versions": environment.versions(),
            "commit": environment.commit(),
        }
    stage.findings.open()
    if what := waits_for(name, stage.paths):
        text = "`python -m helpers.run` leaves out cells that need both classes; they fail by hand."
        stage.say(f"This run waits for {what}. {text}", head=False)
    return stage


def open_stage(name: str, names: Mapping[str, Any]) -> Run:
    """Open a stage like `begin`, but leave no trace in run.json."""
    given = {
        name: value
        for name, value in names.items()  # a module may be called F
        if name.isupper() and not name.startswith("_") and not isinstance(value, ModuleType)
    }
    preset = given.pop("PRESET", None) or default_preset()
    run_name = given.pop("RUN", None) or default_run(given.get("DATASET") or "elpv", preset)
    check_run_name(run_name)
    run_paths = paths.RunPaths(run_name)
    run = load_run(run_paths)
    if name != FIRST:
        preset = run.get("preset") or default_preset()
    resolved = settings.resolve(name, preset, {n.lower(): v for n, v in given.items()})
    if name != FIRST:
        require_earlier(name, run_paths, run)
        if name in settings.BOTH_CLASSES and (what := waits_for(name, run_paths)):
            raise StageError(f"{name} waits for {what}")
    return Run(name, run_paths, preset, resolved, stage_key(name, resolved, run))


def waits_for(name: str, run_paths: paths.RunPaths) -> str:
    """Return what a stage, or its cells that need both classes, waits for; "" if for nothing."""
    if name == FIRST or not run_paths.split_csv.is_file():
        return ""
    return split_file.waits_for(split_file.read_split(run_paths.split_csv))


def check_run_name(name: str) -> None:
    """Raise SettingsError for a name that leads out of the folder of runs."""
    if name != Path(name).name or name.startswith("."):
        raise SettingsError(f"RUN={name!r} must be a plain folder name")


def parameter_names(name: str) -> set[str]:
    """Return the parameters that a stage's notebook takes."""
    fields = {field.name.upper() for field in dataclasses.fields(settings.STAGES[name])}
    return fields | ({"RUN", "PRESET"} if name == FIRST else {"RUN"})


def is_current(name: str, resolved: Any, run_paths: paths.RunPaths, code: str = "") -> bool:
    """Return True if the stage is done with these settings and inputs, and its files are intact.

    `code` is the digest of the notebook's code; a notebook that was run by hand has recorded none,
    and is run again: its finished work is not repeated.
    """
    run = load_run(run_paths)
    stage = run.get("stages", {}).get(name, {})
    return (
        stage.get("status") == "done"
        and (not code or stage.get("notebook") == code)
        and stage.get("key") == stage_key(name, resolved, run)
        and outputs_are_intact(run_paths, stage.get("outputs", {}))
    )


def record_notebook(name: str, run_paths: paths.RunPaths, code: str) -> None:
    """Note which code the stage's notebook ran, so that a changed notebook is run again."""
    with edit_run(run_paths) as run:
        run["stages"][name]["notebook"] = code


def require_earlier(name: str, run_paths: paths.RunPaths, run: Mapping[str, Any]) -> None:
    """Check for a later stage that the split exists, and that images and files are unchanged."""
    order = list(settings.STAGES)
    if run.get("stages", {}).get(FIRST, {}).get("status") != "done":
        existing = sorted(path.parent.name for path in paths.runs_root().glob("[!.]*/split.csv"))
        known = f" (there are: {', '.join(existing)})" if existing else ""
        raise StageError(
            f"{name} needs the split of run {run_paths.name!r}, which does not exist{known}: "
            f"run notebooks/{FIRST}.ipynb first, or name another run (--name; RUN in a notebook)"
        )
    record.refuse_changed_files(run, order[: order.index(name)], run_paths.root)
    size_px = run["stages"][FIRST].get("settings", {}).get("image_size_px")
    if size_px and run_paths.split_csv.is_file():
        split = split_of(run_paths)
        if "digest" not in split:  # the user's own split.csv
            return
        if changed := images_of(run_paths, split, size_px).changed_images(split):
            raise StageError(
                f"{len(changed)} image(s) of run {run_paths.name!r} have changed since notebook "
                f"01, e.g. {changed[0]!r}: run 01 again (`python -m helpers.run` without --from "
                "and --only)"
            )


def stage_key(stage: str, resolved: Any, run: Mapping[str, Any]) -> str:
    """Return a digest of a stage's settings and inputs.

    Raises:
        SettingsError: a file or folder that the settings name does not exist.
    """
    check_places(resolved)
    order = list(settings.STAGES)
    before = order[: order.index(stage)]
    content: dict[str, Any] = {"settings": settings.decisive(resolved)}
    content |= {"earlier": _earlier(run, before), "named": _named_files(resolved)}
    if stage in (ANALYSIS, DECISION):
        # all predictions, a user's own too, except the ensembles made from them
        tables = sorted(paths.RunPaths(run["run"]).predictions_root.glob("*.csv"))
        models = {p.stem: files.file_digest(p) for p in tables if p.stem not in ENSEMBLES}
        content["models"] = models
    if stage == ANALYSIS:  # which draws them
        shown = sorted(paths.published_scores().glob("*/*.csv"))
        content["published"] = [[p.parent.name, p.name, files.file_digest(p)] for p in shown]
    if other_run := getattr(resolved, "compare_run", ""):
        other = paths.RunPaths(other_run)
        read = [other.run_json, other.split_csv, *sorted(other.predictions_root.glob("*.csv"))]
        content["compared"] = {p.name: files.file_digest(p) for p in read if p.is_file()}
    if not before:
        table = datasets.load(resolved).table
        labels = table.drop(columns="path").astype(str).to_numpy()
        content["images"] = [cache.source_key(table), files.fingerprint(labels)]
    return files.fingerprint(content)


def check_places(resolved: Any) -> None:
    """Check that the files and folders which a stage's settings name exist.

    Raises:
        SettingsError: one does not exist.
    """
    for name in PLACES:
        given = getattr(resolved, name, "")
        kind, exists = ("folder", os.path.isdir) if name == "folder" else ("file", os.path.isfile)
        if given and (name, given) != ("weights", RANDOM) and not exists(os.path.expanduser(given)):
            raise SettingsError(f"{name.upper()}={given!r} is not a {kind}")


def _named_files(resolved: Any) -> dict[str, str]:
    """Return the digests of the files that settings name, and of the images in FOLDER."""
    named = [getattr(resolved, name, "") for name in PLACES]
    named += [cell for cell in getattr(resolved, "genotypes", ()) if cell.endswith(".json")]
    given = [Path(place).expanduser() for place in named if place]
    given += [image for folder in given if folder.is_dir() for image in image_files(folder)]
    return {str(file): files.file_digest(file) for file in given if file.is_file()}


def _earlier(run: Mapping[str, Any], before: list[str]) -> dict[str, Any]:
    """Return the settings and outputs of earlier stages, without pictures and texts.

    If a stage runs again and makes the same files, later stages are not repeated.
    """
    given: dict[str, Any] = {}
    made: dict[str, str] = {}
    for name in before:
        stage = run.get("stages", {}).get(name, {})
        values = stage.get("settings", {})
        given[name] = {k: v for k, v in values.items() if k not in settings.STEERING}
        made |= stage.get("outputs", {})
    for step in run.get("steps", {}).values():
        if step["stage"] in before:
            made |= step["outputs"]
    return {
        "settings": given,
        "files": {name: digest for name, digest in made.items() if name.startswith(DATA)},
    }
