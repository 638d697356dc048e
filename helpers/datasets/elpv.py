"""ELPV: 2,624 solar cells from 44 modules in electroluminescence images, from the PyPI package.

Buerhop-Lutz et al. 2018 (doi 10.4229/35thEUPVSEC20182018-5CV.3.15), Deitsch et al. 2021
(doi 10.1007/s00138-021-01191-9), Deitsch et al. 2019 (doi 10.1016/j.solener.2019.02.067);
images CC BY-NC-SA 4.0.

The package does not name the modules. `MODULE_SIZES` infers them from the order of the files;
data/README.md says how, and how sure that is.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.datasets import DataError, Source
from helpers.datasets.settings import SplitSettings

BAD_FROM = 0.5  # defect probabilities are 0, 1/3, 2/3 and 1; this maps 2/3 and 1 to bad
# Images of each module in the order of the files. The cell type changes after 60, 360, 540, 900,
# 1614, 2144, 2216, 2396 and 2444 files; the runs between are whole modules of 60 (one of 72, one of
# 48), but 6 files are missing in the 21st module and 10 in the 30th.
MODULE_SIZES = (*[60] * 20, 54, *[60] * 8, 50, *[60] * 6, 72, *[60] * 3, 48, *[60] * 3)
# The fold of each module in `data/elpv_groups.csv`, by which others can repeat a cross-validation.
MODULE_FOLDS = "40420023123042124121104443331003234212031304"


def folder() -> Path:
    """Return the folder of the package that holds `labels.csv` and `images`."""
    # The package's own reader decodes all images into memory; its folder is all that is needed.
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("the package elpv-dataset is not installed: `pip install elpv-dataset`")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def load(place: Path | None, settings: SplitSettings) -> Source:
    """Load the whole set from the package; `place` is None.

    Columns of its own: `probability` (of a defect), `cell_type` ("mono" or "poly"), `group` (the
    inferred solar module), and `official_fold` (of the published cross-validation by modules).
    """
    root = folder()
    names = ["file", "probability", "cell_type"]
    labels = pd.read_csv(root / "labels.csv", sep=r"\s+", names=names)
    columns = {
        "id": labels.file.map(lambda name: Path(name).stem),
        "path": labels.file.map(lambda name: (root / name).as_posix()),
        "label": (labels.probability >= BAD_FROM).astype("Int64"),
        "official_split": "",
        "official_fold": np.repeat([*map(int, MODULE_FOLDS)], MODULE_SIZES),
        "probability": labels.probability.round(4),
        "cell_type": labels.cell_type,
        "group": np.repeat([f"module{n + 1:02d}" for n in range(44)], MODULE_SIZES),
    }
    return Source(
        name="elpv",
        table=pd.DataFrame(columns),
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
            "in test, so scores are too good for a new module."
        ),
    )
