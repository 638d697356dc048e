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
    folds = range(out_of_fold.FOLDS)
    return pd.concat([out_of_fold.classical("LR", sides(table, fold), 0) for fold in folds])


def main() -> int:
    """Print a row for each variant: unseen and inside, of LR and of FBP; return the exit code."""
    print(sensitivity(out_of_fold.protocol("groups")).to_string(index=False))
    return 0


def sensitivity(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each variant of a table's modules: AUC on unseen modules and inside these.

    FBP has no numbers until its scores of all folds are there.
    """
    path = out_of_fold.folder() / "groups" / "fbp.csv"
    stored = pd.read_csv(path, dtype={"id": str}) if path.exists() else table[["id"]]
    fbp = stored.set_index("id").reindex(columns=["seed0"]).seed0
    models = {"LR": logistic_regression} | ({"FBP": lambda _: fbp} if fbp.notna().all() else {})
    rows = []
    for name, variant in variants(table):
        row = {"modules": name, "images": len(variant)}
        for model, score in models.items():
            labels = variant.label.astype(int).to_numpy()
            values = score(variant)[variant.id].to_numpy()
            inside = metrics.within_group_auc(labels, values, variant.group.to_numpy())
            row[f"{model} unseen"] = 100 * metrics.roc_auc(labels, values)
            row[f"{model} inside"] = 100 * inside.estimate
        rows.append(row)
    return pd.DataFrame(rows).round(1)


if __name__ == "__main__":
    sys.exit(main())
