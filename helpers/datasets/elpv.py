"""ELPV: 2,624 solar cells from 44 modules in electroluminescence images, from the PyPI package.

Buerhop-Lutz et al. 2018 (doi 10.4229/35thEUPVSEC20182018-5CV.3.15), Deitsch et al. 2021
(doi 10.1007/s00138-021-01191-9), Deitsch et al. 2019 (doi 10.1016/j.solener.2019.02.067);
images CC BY-NC-SA 4.0.

The package does not name the modules. `group_table` infers them from the order of the files;
data/README.md says how, and how sure that is.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from helpers.core import files
from helpers.datasets import DataError, Source
from helpers.datasets.settings import SplitSettings

BAD_FROM = 0.5  # defect probabilities are 0, 1/3, 2/3 and 1; this maps 2/3 and 1 to bad
# Images of each module in the order of the files. The cell type changes after 60, 360, 540, 900,
# 1614, 2144, 2216, 2396 and 2444 files; the runs between are whole modules of 60 (one of 72, one of
# 48), but 6 files are missing in the 21st module and 10 in the 30th.
MODULE_SIZES = (*[60] * 20, 54, *[60] * 8, 50, *[60] * 6, 72, *[60] * 3, 48, *[60] * 3)
# The 30th module was photographed twice: cell1735-cell1784 are the cells cell2277-cell2326.
TWICE = (1735, 1784, 2277 - 1735)  # first, last, distance of the second picture
FOLDS = 5  # of the published table


def load(place: Path | None, settings: SplitSettings) -> Source:
    """Load the whole set from the package; `place` is None.

    Columns of its own: `probability` (of a defect), `cell_type` ("mono" or "poly"), and `group`
    (the inferred solar module).
    """
    root, columns = _package_folder(), ["file", "probability", "cell_type"]
    table = pd.read_csv(root / "labels.csv", sep=r"\s+", names=columns)
    table["id"] = table.file.map(lambda name: Path(name).stem)
    table["path"] = table.file.map(lambda name: (root / name).as_posix())
    table["label"] = (table.probability >= BAD_FROM).astype("Int64")
    table["official_split"] = ""
    table["probability"] = table.probability.round(4)
    table["group"] = table.id.map(group_table().set_index("id").group)
    columns = ["id", "path", "label", "official_split", "probability", "cell_type", "group"]
    return Source(
        name="elpv",
        table=table[columns],
        label_mapping="bad = defect probability >= 0.5",
        stratify=("probability", "cell_type"),
        kinds=("cell_type",),
        attribution=(
            "Images: ELPV data set, Buerhop-Lutz et al. 2018, Deitsch et al. 2019 and 2021, "
            "CC BY-NC-SA 4.0"
        ),
        caveats=(
            "ELPV does not say which solar module an image belongs to; modules are inferred from "
            "the order of the files. With SPLIT='random' images of one module are in training and "
            "in test, so scores are too good for a new module; SPLIT='groups' keeps each module in "
            "one set."
        ),
    )


def group_table() -> pd.DataFrame:
    """Return the inferred module of each of the 2,624 images, and its duplicate if it has one.

    Returns:
        `id, group, duplicate_of`; `duplicate_of` is the id of the other picture of the same solar
        cell, or missing.
    """
    number = np.arange(1, sum(MODULE_SIZES) + 1)
    module = np.repeat(np.arange(1, len(MODULE_SIZES) + 1), MODULE_SIZES)
    first, last, distance = TWICE
    pictures = np.arange(first, last + 1)
    other = pd.Series(pictures + distance, pictures)
    other = pd.concat([other, pd.Series(other.index, other)])
    return pd.DataFrame(
        {
            "id": [f"cell{n:04d}" for n in number],
            "group": [f"module{n:02d}" for n in module],
            "duplicate_of": [f"cell{other[n]:04d}" if n in other else pd.NA for n in number],
        }
    )


def write_group_table(path: Path) -> None:
    """Write `group_table` with a column `fold` (0 to 4), for other work on ELPV to use.

    No module is in two folds, nor the module that was photographed twice; the folds have about the
    same share of bad images (scikit-learn's StratifiedGroupKFold, shuffled with seed 0).
    """
    table = load(None, SplitSettings()).table.merge(group_table().drop(columns="group"), on="id")
    first, _, distance = TWICE
    twice = table.group[[first - 1, first - 1 + distance]].tolist()
    groups = table.group.replace(twice[1], twice[0])
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for number, (_, rows) in enumerate(folds.split(table, table.label.astype(int), groups)):
        table.loc[rows, "fold"] = number
    files.save_csv(path, table[["id", "group", "duplicate_of", "fold"]].astype({"fold": int}))


def _package_folder() -> Path:
    # The package's own reader decodes all images into memory; its folder is all that is needed.
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("the package elpv-dataset is not installed: `pip install elpv-dataset`")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m helpers.datasets.elpv FILE")
    write_group_table(Path(sys.argv[1]))
