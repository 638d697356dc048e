"""The images of a run and their split, as notebook 01 has recorded them."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import pandas as pd

from helpers.core import paths
from helpers.datasets import DataError, sources
from helpers.datasets.cache import ImageCache, open_cache
from helpers.datasets.settings import SplitSettings
from helpers.datasets.split_file import read_split
from helpers.runs import settings
from helpers.runs.record import load_run


def source_of(run_paths: paths.RunPaths) -> dict[str, Any]:
    """Return what notebook 01 has recorded of the data; empty if it has not been run."""
    return load_run(run_paths).get("stages", {}).get(settings.FIRST, {})


def split_of(run_paths: paths.RunPaths) -> pd.DataFrame:
    """Return the split of a run, with the paths that its images have on this machine."""
    split = read_split(run_paths.split_csv)
    if split.empty or os.path.exists(split.path.iloc[0]):
        return split
    # the images have moved, as with a new Python: look them up by id in the data set
    known = {field.name for field in dataclasses.fields(SplitSettings)} - {"labels_csv", "mask"}
    recorded = source_of(run_paths).get("settings", {})
    try:
        given = {name: value for name, value in recorded.items() if name in known}
        here = sources.load(SplitSettings(**given)).table.set_index("id").path
    except DataError:  # decoded images may be in the cache
        return split
    return split.assign(path=here.reindex(split.id).fillna(split.set_index("id").path).to_numpy())


def images_of(run_paths: paths.RunPaths, split: pd.DataFrame, size_px: int) -> ImageCache:
    """Return the decoded images of a run at one size; decode them if they are not cached."""
    recorded = source_of(run_paths)
    how = recorded.get("fit", "squash"), recorded.get("mask", "")
    return open_cache(split, size_px, paths.cache_root(), True, *how)
