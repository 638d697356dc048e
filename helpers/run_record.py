"""run.json, the record of a run: settings, seconds, and digests of what each part has written."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import artifacts, integrity, locks, paths
from helpers.writing import writing


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
    return record


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
                "seconds": stage["seconds"],
                "reused (s)": stage.get("reused_seconds", 0.0),
                "peak memory (MB)": stage["peak_memory_mb"],
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
    with locks.exclusive(run_paths.root / ".run.json.lock"):
        run = load_run(run_paths)
        yield run
        artifacts.save_json(run_paths.run_json, run)


@contextmanager
def lock(run_paths: paths.RunPaths) -> Iterator[None]:
    """Hold the run for this process; the lock goes with the process, however it ends."""
    with writing(run_paths.root):
        run_paths.root.mkdir(parents=True, exist_ok=True)
        handle = (run_paths.root / ".lock").open("w")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"another process works on run {run_paths.name!r}; wait for it, or give this one "
                "another --name"
            ) from None
        yield
