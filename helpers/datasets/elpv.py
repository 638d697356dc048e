"""ELPV: 2,624 solar cells from 44 modules in electroluminescence images, from the PyPI package.

Buerhop-Lutz et al. 2018 (doi 10.4229/35thEUPVSEC20182018-5CV.3.15), Deitsch et al. 2021
(doi 10.1007/s00138-021-01191-9), Deitsch et al. 2019 (doi 10.1016/j.solener.2019.02.067);
images CC BY-NC-SA 4.0.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.datasets import DataError, Source

if TYPE_CHECKING:
    from helpers.datasets.settings import SplitSettings

BAD_FROM = 0.5  # defect probabilities are 0, 1/3, 2/3 and 1; this maps 2/3 and 1 to bad


def load(place: Path | None, settings: SplitSettings) -> Source:
    """Load the whole set; `place` may name a folder that holds `labels.csv` and `images/`.

    Columns of its own: `probability` (of a defect) and `cell_type` ("mono" or "poly").
    """
    root = place or _package_folder()
    labels = root / "labels.csv"
    if not labels.is_file():
        raise DataError(f"{labels} is missing; `pip install elpv-dataset` brings the images")
    options = {"names": ["file", "probability", "cell_type"], "dtype": {"file": str}}
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a line with more columns
        try:
            table = pd.read_csv(labels, sep=r"\s+", index_col=False, **options)
            table = table.astype({"probability": float})
        except (ValueError, TypeError, OverflowError, OSError, pd.errors.ParserWarning) as error:
            raise DataError(f"{labels} cannot be read: {error}") from None
    if table.empty:
        raise DataError(f"{labels} lists no image; install elpv-dataset again")
    table["id"] = table.file.map(lambda file: Path(file).stem, na_action="ignore")
    incomplete = table.isna().any(axis=1) | ~table.probability.between(0, 1)
    for wrong, problem in (
        (incomplete, "a file, a probability from 0 to 1 and a cell type are expected"),
        (table.id.duplicated(), "{} has a line already"),
    ):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            text = problem.format(table.id[row])
            raise DataError(f"{labels}, line {row + 1}: {text}; install elpv-dataset again")
    table["path"] = table.file.map(lambda name: (root / name).as_posix())
    table["label"] = (table.probability >= BAD_FROM).astype("Int64")
    table["official_split"] = ""
    table["probability"] = table.probability.round(4)
    return Source(
        name="elpv",
        table=table[["id", "path", "label", "official_split", "probability", "cell_type"]],
        label_mapping="bad = defect probability >= 0.5",
        stratify=("probability", "cell_type"),
        groups=("cell_type",),
        attribution=(
            "Images: ELPV data set, Buerhop-Lutz et al. 2018, Deitsch et al. 2019 and 2021, "
            "CC BY-NC-SA 4.0"
        ),
        caveats=(
            "ELPV names no module, so cells of one module can lie on both sides of the split "
            "and scores may be somewhat too good."
        ),
    )


def _package_folder() -> Path:
    # The package's own reader decodes all images into memory; its folder is all that is needed.
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("the package elpv-dataset is not installed: `pip install elpv-dataset`")
    return Path(next(iter(spec.submodule_search_locations))) / "data"
