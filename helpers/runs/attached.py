"""Continue, on Kaggle, a run that an attached notebook's output holds.

The output of a notebook is mounted read-only under `/kaggle/input`, one to three folders deep, so
the run is copied to where it can be written.
"""

from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path

from helpers.core import files, paths

DEPTHS = (1, 2, 3)  # /kaggle/input/<slug>, and .../notebooks/<owner>/<slug>


def adopt(run_paths: paths.RunPaths) -> bool:
    """Copy a run from Kaggle's inputs, with its submission, unless one of that name is here.

    If several inputs hold the run, the one whose latest stage began last is copied. The run
    appears whole under its name, or not at all.

    Returns:
        True if a run was copied; a line says so.

    Raises:
        ArtifactError: an attached run.json is damaged.
    """
    here = run_paths.root
    if here.exists() and any(entry.name != ".lock" for entry in here.iterdir()):
        return False
    # run.json is the last file that a run needs
    pattern = f"data/runs/{glob.escape(run_paths.name)}/run.json"
    found = [f for depth in DEPTHS for f in paths.KAGGLE_INPUT.glob("*/" * depth + pattern)]
    if not found:
        return False
    source = max(sorted(found), key=_last_start).parent
    submission = source.parents[2] / "submissions" / run_paths.submission.name
    if submission.is_file() and not run_paths.submission.exists():
        files.write_bytes(run_paths.submission, submission.read_bytes())
    _copy_whole(source, here)
    print(f"continuing run {run_paths.name!r} from {source}", flush=True)
    return True


def _last_start(run_json: Path) -> str:
    """Return when the latest stage began, as sortable text; a mounted file's own time is new."""
    stages = files.load_json(run_json).get("stages", {})
    return max((stage.get("started", "") for stage in stages.values()), default="")


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a folder's files, but not the read-only modes that Kaggle gives them."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        for file in sorted(p for p in source.rglob("*") if p.is_file() and p.name != ".lock"):
            copy = temporary / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        shutil.rmtree(target, ignore_errors=True)  # holds nothing but a lock file
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
