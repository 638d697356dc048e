"""run.json, the record of a run: settings, times, and digests of the files of each stage and step.

    run_paths = paths.RunPaths("elpv-quick")
    with record.edit_run(run_paths) as run:
        run["note"] = "written when the block succeeds"

The locks of a run and of its stages are here too, and the checks of files that a later stage reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
from pydantic import BaseModel, ValidationError

from helpers.core import files, locks, paths
from helpers.runs import settings

# Later stages read these files as they are; other files belong to a step, which checks its own.
_READ_AS_IT_IS = ("split.csv", "predictions/", "genotypes/")
_OPEN: dict[Path, filelock.AcquireReturnProxy] = {}  # the stages that this process has open


class RunError(RuntimeError):
    """The series stopped; the message says where, why, and how to continue."""


# --- run.json --------------------------------------------------------------------------------


class _Stage(BaseModel, strict=True):
    status: str = ""
    started: str = ""
    device: str = ""
    seconds: float = 0
    reused_seconds: float = 0
    peak_memory_mb: float = 0
    images_per_s: dict[str, float] = {}
    reused: list[str] = []
    outputs: dict[str, str] = {}


class _Step(BaseModel, strict=True):
    key: str
    stage: str
    outputs: dict[str, str]
    seconds: float = 0


class _Run(BaseModel, strict=True):
    """What readers of run.json rely on; it may hold more."""

    preset: str = ""
    dataset: str = ""
    split: str = ""
    stages: dict[str, _Stage] = {}
    steps: dict[str, _Step] = {}


def load_run(run_paths: paths.RunPaths) -> dict[str, Any]:
    """Return run.json, or an empty record if the run has not started.

    Raises:
        ArtifactError: the file is not JSON, or not the record of a run.
    """
    if not run_paths.run_json.exists():
        return {}
    record = files.load_json(run_paths.run_json)
    try:
        _Run.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        raise files.damaged(run_paths.run_json, f"{place}: {first['msg']}") from None
    return record | {"run": run_paths.name}  # the folder may have been renamed


@contextmanager
def edit_run(run_paths: paths.RunPaths) -> Iterator[dict[str, Any]]:
    """Yield run.json to be changed, and write it if the block succeeds.

    Other processes, such as other notebooks of the run, wait meanwhile.
    """
    with locks.held(run_paths.root / ".run.json.lock"):
        run = load_run(run_paths)
        yield run
        files.save_json(run_paths.run_json, run)


def time_table(run_paths: paths.RunPaths) -> pd.DataFrame:
    """Return a row for each finished stage: seconds, memory, and images per second of its parts."""
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


# --- locks -----------------------------------------------------------------------------------


def lock(run_paths: paths.RunPaths) -> filelock.AcquireReturnProxy:
    """Hold the run for a `with` block.

    Raises:
        RunError: another process holds it.
    """
    what = f"run {run_paths.name!r}; wait for it, or give this one another --name"
    return _held(run_paths.root / ".lock", what)


def open_lock(run_paths: paths.RunPaths, stage: str) -> None:
    """Hold a stage of the run until `close_lock`, or until this process ends.

    The same process may call it again, as a notebook does whose first cells are run twice.

    Raises:
        RunError: another process holds it; two notebooks would overwrite each other's files.
    """
    path = _stage_lock(run_paths, stage)
    if path not in _OPEN or not path.exists():
        what = (
            f"{stage} of run {run_paths.name!r}; wait for it (if it is an open notebook that has "
            "stopped, restart its kernel), or give this one another RUN"
        )
        _OPEN[path] = _held(path, what)


def close_lock(run_paths: paths.RunPaths, stage: str) -> None:
    """Free the lock of `open_lock`, if this process holds it."""
    if held := _OPEN.pop(_stage_lock(run_paths, stage), None):
        held.lock.release()


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


def _held(path: Path, what: str) -> filelock.AcquireReturnProxy:
    try:
        return locks.held(path, wait=False)
    except locks.LockedError:
        raise RunError(f"another process works on {what}") from None


# --- written files ---------------------------------------------------------------------------


def digests_of(run_paths: paths.RunPaths, written: list[Path]) -> dict[str, str]:
    """Return digests of files by their names in run.json: relative to the run, or to home."""
    digests = {}
    for path in written:
        base = run_paths.root if path.is_relative_to(run_paths.root) else paths.home()
        digests[path.relative_to(base).as_posix()] = files.file_digest(path)
    return digests


def outputs_are_intact(run_paths: paths.RunPaths, digests: Mapping[str, str]) -> bool:
    """Return True if every recorded file still exists with the same bytes."""
    for name, digest in digests.items():
        base = paths.home() if name.startswith("submissions/") else run_paths.root
        if not (base / name).is_file() or files.file_digest(base / name) != digest:
            return False
    return True


def refuse_changed_files(record: Mapping[str, Any], earlier: list[str], root: Path) -> None:
    """Refuse to build on a file of the `earlier` stages whose bytes have changed.

    A stage that was started again and killed lists no outputs, so those of its finished steps count
    too. Checkpoints, features and caches carry digests of their own, and readers miss a missing
    file themselves.

    Raises:
        ArtifactError: the first such file, and what to do with it.
    """
    stages, steps = record.get("stages", {}), record.get("steps", {}).values()
    written: dict[str, str] = {}
    for step in steps:
        written |= step["outputs"] if step["stage"] in earlier else {}
    for stage in earlier:
        written |= stages.get(stage, {}).get("outputs", {})
    for step in steps:  # a step of a later stage may have written the file again
        written |= {name: digest for name, digest in step["outputs"].items() if name in written}
    for name, digest in written.items():
        file = root / name
        is_read = name.startswith(_READ_AS_IT_IS) and file.is_file()
        if is_read and files.file_digest(file) != digest:
            raise files.ArtifactError(
                f"{file} is not as it was written: damaged, or changed by hand. Keep it under "
                "another name if it is yours, delete it, and run the notebook that wrote it again "
                "(`python -m helpers.run` does)"
            )


@contextmanager
def naming_maker(run_paths: paths.RunPaths, path: Path) -> Iterator[None]:
    """Read a file of the run; if it is damaged or missing, say which notebook makes it."""
    try:
        yield
    except files.ArtifactError as error:
        name, record = path.relative_to(run_paths.root).as_posix(), load_run(run_paths)
        steps, stages = record.get("steps", {}).values(), record.get("stages", {}).items()
        makers = [step["stage"] for step in steps if name in step["outputs"]]
        makers += [stage for stage, entry in stages if name in entry.get("outputs", {})]
        if not makers:
            raise
        raise files.ArtifactError(f"{error}: notebooks/{makers[0]}.ipynb makes it") from None


def is_new_split(record: Mapping[str, Any], content: bytes) -> bool:
    """Return True if `content` is another split than the one that predictions were made for.

    The record decides, so a damaged split.csv that is made again takes nothing with it.
    """
    return record.get("split") not in (None, files.bytes_digest(content))


def made_for_a_split(run_paths: paths.RunPaths, record: Mapping[str, Any]) -> list[Path]:
    """Return predictions, tables and the submission that stages have written, not a user's own."""
    steps = record.get("steps", {}).values()
    written = [run_paths.root / name for step in steps for name in step["outputs"]]
    found = [p for p in written if p.parent == run_paths.predictions_root]
    found += [run_paths.table("results"), run_paths.table("table2"), run_paths.submission]
    for number in ("05", "06"):  # tables and figures of all models
        found += (run_paths.root / "metrics").glob(f"{number}_*.csv")
        found += (run_paths.root / "figures").glob(f"{number}_*.png")
    return found


def model_files(run_paths: paths.RunPaths) -> dict[str, str]:
    """Return digests of all predictions, a user's own too, except the ensembles made from them."""
    found = sorted(run_paths.predictions_root.glob("*.csv"))
    return {p.stem: files.file_digest(p) for p in found if p.stem not in settings.ENSEMBLES}


def models_after(run_paths: paths.RunPaths, stage: str) -> set[str]:
    """Return the models whose predictions a later stage has written."""
    order, record = list(settings.STAGES), load_run(run_paths).get("stages", {})
    later = [record.get(name, {}) for name in order[order.index(stage) + 1 :]]
    written = [Path(file) for one in later for file in one.get("outputs", {})]
    return {file.stem for file in written if file.parent.name == run_paths.predictions_root.name}
