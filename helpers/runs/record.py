"""run.json, the record of a run: settings, seconds, and digests of what each part has written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pandas as pd

from helpers.core import files as artifacts
from helpers.core import locks, paths
from helpers.runs import integrity, settings

_OPEN: dict[Path, IO[str]] = {}  # the lock files of the stages that this process has open


class RunError(RuntimeError):
    """The series stopped; the message says where, why, and how to go on."""


def load_run(run_paths: paths.RunPaths) -> dict[str, Any]:
    """run.json, or an empty record when the run has not begun.

    Raises:
        ArtifactError: not JSON, or not the record of a run.
    """
    if not run_paths.run_json.exists():
        return {}
    record = artifacts.load_json(run_paths.run_json)
    if problem := integrity.problem_of(record):
        raise artifacts.damaged(run_paths.run_json, problem)
    return record | {"run": run_paths.name}  # whatever the folder was called when it was begun


def time_table(run_paths: paths.RunPaths) -> pd.DataFrame:
    """Where the time went: a row for each finished stage, with its parts' images per second."""
    rows = []
    for name, stage in sorted(load_run(run_paths).get("stages", {}).items()):
        if stage.get("status") != "done":
            continue
        rates = stage.get("images_per_s", {})
        rows.append(
            {
                "stage": name,
                "seconds": stage.get("seconds"),
                "reused (s)": stage.get("reused_seconds", 0.0),
                "peak memory (MB)": stage.get("peak_memory_mb"),
                "images/s": ", ".join(f"{work} {rate:,.0f}" for work, rate in rates.items()),
                "reused": ", ".join(stage.get("reused", [])),
                "device": stage.get("device", ""),
            }
        )
    return pd.DataFrame(rows)


def outputs_are_intact(run_paths: paths.RunPaths, digests: Mapping[str, str]) -> bool:
    """True when every recorded file exists with the bytes it had."""
    files = {absolute_path(run_paths, name): digest for name, digest in digests.items()}
    return all(p.is_file() and artifacts.file_digest(p) == d for p, d in files.items())


def absolute_path(run_paths: paths.RunPaths, name: str) -> Path:
    """The file that run.json calls `name`."""
    return paths.home() / name if name.startswith("submissions/") else run_paths.root / name


def digests_of(run_paths: paths.RunPaths, files: list[Path]) -> dict[str, str]:
    """Digests of files by their names in run.json: relative to the run, or to home."""
    digests = {}
    for path in files:
        base = run_paths.root if path.is_relative_to(run_paths.root) else paths.home()
        digests[path.relative_to(base).as_posix()] = artifacts.file_digest(path)
    return digests


@contextmanager
def edit_run(run_paths: paths.RunPaths) -> Iterator[dict[str, Any]]:
    """Give run.json to be changed; it is written when the block succeeds.

    Held against other processes, which may be other notebooks of the run: none of them must write
    what it has read before.
    """
    with locks.held(run_paths.root / ".run.json.lock"):
        run = load_run(run_paths)
        yield run
        artifacts.save_json(run_paths.run_json, run)


@contextmanager
def lock(run_paths: paths.RunPaths) -> Iterator[None]:
    """Hold the run for this process; the lock goes with the process, however it ends."""
    path = run_paths.root / ".lock"
    try:
        handle = locks.acquire(path, wait=False)
    except locks.LockedError:
        raise RunError(
            f"another process works on run {run_paths.name!r}; wait for it, or give this one "
            "another --name"
        ) from None
    try:
        yield
    finally:
        locks.release(path, handle)


def open_lock(run_paths: paths.RunPaths, stage: str) -> None:
    """Hold a stage of the run for this process until `close_lock` or the process's end.

    The same process may take it again, as a notebook does whose first cells are run twice.

    Raises:
        RunError: another process holds it: two notebooks would overwrite each other's files.
    """
    path = _stage_lock(run_paths, stage)
    if path in _OPEN and locks.is_file_of(_OPEN[path], path):
        return
    try:
        _OPEN[path] = locks.acquire(path, wait=False)
    except locks.LockedError:
        raise RunError(
            f"another process works on {stage} of run {run_paths.name!r}; wait for it (an open "
            "notebook that has stopped: restart its kernel), or give this one another RUN"
        ) from None


def close_lock(run_paths: paths.RunPaths, stage: str) -> None:
    """Free what `open_lock` holds; nothing where this process does not hold it."""
    path = _stage_lock(run_paths, stage)
    if path in _OPEN:
        locks.release(path, _OPEN.pop(path))


@contextmanager
def stage_lock(run_paths: paths.RunPaths, stage: str) -> Iterator[None]:
    """Hold a stage for a block; see `open_lock`."""
    open_lock(run_paths, stage)
    try:
        yield
    finally:
        close_lock(run_paths, stage)


def _stage_lock(run_paths: paths.RunPaths, stage: str) -> Path:
    return run_paths.root / f".{stage}.lock"


@contextmanager
def naming_maker(run_paths: paths.RunPaths, path: Path) -> Iterator[None]:
    """Read a file of the run; where it is damaged or missing, say which notebook makes it."""
    try:
        yield
    except artifacts.ArtifactError as error:
        maker = integrity.maker_of(load_run(run_paths), path.relative_to(run_paths.root).as_posix())
        if not maker:
            raise
        raise artifacts.ArtifactError(f"{error}: notebooks/{maker}.ipynb makes it") from None


def model_files(run_paths: paths.RunPaths) -> dict[str, str]:
    """Digests of all predictions, a user's own too; not of the ensembles, which follow from them"""
    files = sorted(run_paths.predictions_root.glob("*.csv"))
    return {p.stem: artifacts.file_digest(p) for p in files if p.stem not in settings.ENSEMBLES}


def models_after(run_paths: paths.RunPaths, stage: str) -> set[str]:
    """The models whose predictions a later stage than this one has written."""
    order, record = list(settings.STAGES), load_run(run_paths).get("stages", {})
    later = [record.get(name, {}) for name in order[order.index(stage) + 1 :]]
    files = [Path(file) for one in later for file in one.get("outputs", {})]
    return {file.stem for file in files if file.parent.name == run_paths.predictions_root.name}
