"""Continue a run that was started elsewhere, such as one that an attached notebook's output holds.

Kaggle mounts the output of a notebook read-only under `/kaggle/input`, one to three folders deep,
so the run is copied to where it can be written.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import datasets
from helpers.core import files, paths
from helpers.datasets.settings import SplitSettings

DEPTHS = (1, 2, 3)  # /kaggle/input/<slug>, and .../notebooks/<owner>/<slug>
_OF_A_PROCESS = (".lock", ".tmp")  # files that an ended process leaves; nothing else needs them


def adopt(run_paths: paths.RunPaths) -> bool:
    """Copy a run from Kaggle's inputs, with its submission, unless one of that name is here.

    All folders of the run are copied: checkpoints and interrupted trainings too, which continue
    here. If several inputs hold the run, the one whose latest stage began last is copied. The run
    appears whole under its name, or not at all.

    Returns:
        True if a run was copied; a line says so.

    Raises:
        ArtifactError: an attached run.json is damaged.
    """
    here = run_paths.root
    if any(not entry.name.endswith(_OF_A_PROCESS) for entry in here.glob("*")):
        return False
    # run.json is the last file that a run needs
    pattern = f"data/runs/{glob.escape(run_paths.name)}/run.json"
    found = [f for depth in DEPTHS for f in paths.KAGGLE_INPUT.glob("*/" * depth + pattern)]
    if not found:
        return False

    def last_start(run_json: Path) -> str:  # the time of a mounted file is that of the mount
        stages = files.load_json(run_json).get("stages", {})
        return max((stage.get("started", "") for stage in stages.values()), default="")

    source = max(sorted(found), key=last_start).parent
    submission = source.parents[2] / "submissions" / run_paths.submission.name
    if submission.is_file() and not run_paths.submission.exists():
        files.write_bytes(run_paths.submission, submission.read_bytes())
    with files.atomic_folder(here) as temporary:
        for file in source.rglob("*"):
            if file.is_file() and not file.name.endswith(_OF_A_PROCESS):
                copy = temporary / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)  # without the mode, which is read-only on Kaggle
        shutil.rmtree(here, ignore_errors=True)
    print(f"continuing run {run_paths.name!r} from {source}", flush=True)
    return True


def located(split: pd.DataFrame, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Return a run's split with the paths that the images have on this machine.

    They differ on a machine with another Python, whose packages are elsewhere, or another place of
    inputs. The images are then looked up by their ids in the data set.

    Args:
        split: `id` and `path` of each image.
        settings: of notebook 01, as run.json holds them.
    """
    if split.empty or os.path.exists(split.path.iloc[0]):
        return split
    names = {field.name for field in fields(SplitSettings)} - {"labels_csv"}
    given = {name: value for name, value in settings.items() if name in names}
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    try:
        here = datasets.load(SplitSettings(**given | lists)).table.set_index("id").path
    except datasets.DataError:  # decoded images may be in the cache
        return split
    return split.assign(path=here.reindex(split.id).fillna(split.set_index("id").path).to_numpy())
