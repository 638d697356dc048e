"""How much depends on the inferred modules of ELPV: `python -m tests.benchmarks.modules`.

Borders between modules are moved, cells near them left out, and modules joined or divided. Logistic
regression on frozen features is then fitted and scored again by groups; the scores of FBP are those
of `out_of_fold`, and only what is made of them changes. Prints AUC in per cent.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd

from helpers.core import metrics
from helpers.core.members import sides
from tests.benchmarks import out_of_fold

MOVED = 3  # files


def variants(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the table of ELPV with other modules: the group and the fold of each image."""
    number = pd.factorize(table.group)[0]  # the files are in the order of the modules
    yield "as published", table
    for moved in (-MOVED, MOVED):
        rows = np.clip(np.arange(len(table)) - moved, 0, len(table) - 1)
        side = "later" if moved > 0 else "earlier"
        yield f"each border {MOVED} files {side}", with_modules(table, number[rows])
    border = np.flatnonzero(np.diff(number)) + 0.5
    far = np.abs(np.arange(len(table))[:, None] - border).min(axis=1) > MOVED
    yield f"without {MOVED} cells on each side of a border", table[far]
    sizes = np.bincount(number)
    smallest, largest = int(sizes[:-1].argmin()), int(sizes.argmax())
    joined = np.where(number == smallest + 1, smallest, number)
    yield "43 modules: the smallest and the next are one", with_modules(table, joined)
    rows = np.flatnonzero(number == largest)
    divided = number.copy()
    divided[rows[len(rows) // 2 :]] = sizes.size
    yield "45 modules: the largest is two", with_modules(table, divided)


def with_modules(table: pd.DataFrame, number: np.ndarray) -> pd.DataFrame:
    """Return the table with other modules (N,); each has the fold of most of its images."""
    fold = table.fold.groupby(number).agg(lambda folds: folds.mode()[0])
    return table.assign(group=number.astype(str), fold=fold[number].to_numpy())


def logistic_regression(table: pd.DataFrame) -> pd.Series:
    """Return scores out of fold by id."""
    folds = [out_of_fold.classical("LR", sides(table, fold), 0) for fold in range(5)]
    return pd.concat(folds)


def main() -> int:
    """Print a row for each variant: unseen and inside, of LR and of FBP; return the exit code."""
    table = out_of_fold.protocol("groups")
    stored = pd.read_csv(out_of_fold.folder() / "groups" / "fbp.csv", dtype={"id": str})
    fbp = stored.set_index("id").seed0.dropna()
    rows = []
    for name, variant in variants(table):
        row = {"modules": name, "images": len(variant)}
        for model, scores in {"LR": logistic_regression(variant), "FBP": fbp}.items():
            judged = variant[variant.id.isin(scores.index)]
            labels, values = judged.label.astype(int), scores[judged.id]
            inside = metrics.within_group_auc(labels, values, judged.group)
            row[f"{model} unseen"] = 100 * metrics.roc_auc(labels, values)
            row[f"{model} inside"] = 100 * inside.auc.estimate if inside else np.nan
        rows.append(row)
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.1f}".format))
    return 0


if __name__ == "__main__":
    sys.exit(main())
