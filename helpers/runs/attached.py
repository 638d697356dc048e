"""Go on, on Kaggle, with a run that an attached notebook's output holds.

The output of a notebook is mounted read-only under `/kaggle/input`, one to three folders deep, so
the run is copied to where it can be written.
"""

from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path

from helpers.core import files as artifacts
from helpers.core import paths

DEPTHS = (1, 2, 3)  # /kaggle/input/<slug>, and .../notebooks/<owner>/<slug>


def adopt(run_paths: paths.RunPaths) -> bool:
    """Copy a run from Kaggle's inputs, with its submission, unless one of that name is here.

    Of several attached ones it is the one whose latest stage began last. The run appears whole
    under its name, or not at all. Returns True when a run was copied, which is said in one line.

    Raises:
        ArtifactError: an attached run.json is damaged.
    """
    if not paths.KAGGLE_INPUT.is_dir() or _has_begun(run_paths.root):
        return False
    found = _attached(run_paths.name)
    if not found:
        return False
    source = max(found, key=_last_start)
    submission = source.parents[2] / "submissions" / run_paths.submission.name
    if submission.is_file() and not run_paths.submission.exists():
        artifacts.write_bytes(run_paths.submission, submission.read_bytes())
    _copy_whole(source, run_paths.root)
    print(f"going on with run {run_paths.name!r} from {source}", flush=True)
    return True


def _has_begun(root: Path) -> bool:
    return root.exists() and any(entry.name != ".lock" for entry in root.iterdir())


def _attached(name: str) -> list[Path]:
    """The folders of all runs of that name, sorted; run.json is the last file that a run needs."""
    pattern = f"data/runs/{glob.escape(name)}/run.json"
    files = [f for depth in DEPTHS for f in paths.KAGGLE_INPUT.glob("*/" * depth + pattern)]
    return sorted(file.parent for file in files)


def _last_start(source: Path) -> str:
    """When the latest stage began, as sortable text: a mounted file's own time says nothing."""
    stages = artifacts.load_json(source / "run.json").get("stages", {})
    return max((stage.get("started", "") for stage in stages.values()), default="")


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a folder's files, but not the read-only modes that Kaggle gives them."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for file in sorted(p for p in source.rglob("*") if p.is_file() and p.name != ".lock"):
            copy = temporary / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        shutil.rmtree(target, ignore_errors=True)  # holds nothing but a lock file
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
