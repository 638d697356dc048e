"""How well the label audit finds flipped labels: `python -m tests.benchmarks.label_audit`.

40 ELPV labels are flipped; the audit sees out-of-fold scores of a model that was trained
on these labels. The model is LDA on frozen EfficientNet-Lite0 features, five folds. Any other model
is judged in a run:

    python -m tests.benchmarks.label_audit --run elpv-full --flip flipped.csv
    python -m helpers.run --preset full --name flipped --only 01 -p LABELS_CSV=flipped.csv
    python -m helpers.run --name flipped --only 02  # and so on
    python -m tests.benchmarks.label_audit --run flipped --model fbp

The first rows that are not flipped may be wrong too: the annotators doubted some of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split

from helpers import datasets
from helpers.core import files, paths
from helpers.core.metrics import roc_auc
from helpers.datasets.cache import open_cache
from helpers.datasets.settings import SplitSettings
from helpers.datasets.split_file import read_split
from helpers.models import backbones, weights
from helpers.models.record import Model
from helpers.results import label_audit, predictions, results_table
from helpers.results.predictions import Scored
from helpers.training import baselines
from helpers.training.features import embed

FLIPPED = 40
TARGET = 0.6  # of the first 50 rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the audit of frozen features, or of a run; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.label_audit")
    add = parser.add_argument
    add("--repeats", type=int, default=5, help="draws of the flipped labels and of the folds")
    add("--size-px", type=int, default=192)
    add("--run", default="", help="judge this run on ELPV instead of frozen features")
    add("--model", default="", help="of the run; default: the best on validation")
    add("--flip", type=Path, help="with --run: write its labels, 40 flipped, as a LABELS_CSV")
    given = parser.parse_args(arguments)
    truth = datasets.load(SplitSettings()).table
    if given.flip:
        split = read_split(paths.RunPaths(given.run))
        known = split[split.split.isin(["train", "val"])]
        table = known.assign(label=flip(known.label.to_numpy(np.int64), seed=0))
        files.save_csv(given.flip, table[["id", "path", "label"]])
        print(f"{given.flip}: {len(table)} labels, {(table.label != known.label).sum()} flipped")
        return 0
    if given.run:
        run_paths = paths.RunPaths(given.run)
        model = results_table.chosen_model(results_table.results_table(run_paths), given.model)
        split = read_split(run_paths.split_csv)
        scored = predictions.read_predictions(run_paths.predictions(model), split)
        print(row(judge(scored, split, truth)))
        return 0
    found = pd.DataFrame(frozen(truth, given.size_px, given.repeats))
    mean, spread = found.mean(), found.std(ddof=0)
    print(f"flipped labels among the first {label_audit.FIRST} rows: {mean.flipped:.1f} ± ", end="")
    print(f"{spread.flipped:.1f}; with the doubted ones {mean.flipped + mean.doubted:.1f}")
    reached = mean.flipped >= TARGET * label_audit.FIRST
    print(f"target of {TARGET:.0%}: {'reached' if reached else 'missed'}")
    return 0


def flip(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return labels (N,) of which `FLIPPED` are the other class."""
    flipped, rows = labels.copy(), np.random.default_rng(seed).permutation(len(labels))[:FLIPPED]
    flipped[rows] = 1 - flipped[rows]
    return flipped


def frozen(truth: pd.DataFrame, size_px: int, repeats: int) -> list[dict[str, float]]:
    """Judge LDA on frozen features, on three quarters of the images."""
    strata = truth.probability.astype(str) + truth.cell_type
    table, _ = train_test_split(truth, test_size=0.25, stratify=strata, random_state=0)
    cache = open_cache(truth, size_px, paths.cache_root())
    model = backbones.pretrained(weights.find_weights("efficientnet_lite0"), 2, size_px)
    features = embed(model, cache, table).embeddings
    print(f"{len(table)} images, EfficientNet-Lite0 at {size_px} px, {FLIPPED} labels flipped")
    rows = []
    for seed in range(repeats):
        labels = flip(table.label.to_numpy(np.int64), seed)
        pipeline, _ = baselines.pipeline_and_grid("LDA", 0, seed)
        pipeline.set_params(model__shrinkage=0.5)
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        scores = cross_val_predict(pipeline, features, labels, cv=folds, method="predict_proba")
        val = pd.DataFrame({"id": table.id, "label": labels, "defect_score": scores[:, 1]})
        val = val.astype({"label": "Int64"})
        rows.append(judge(Scored(Model("lda"), val, val[:0]), table.assign(label=labels), truth))
        print(f"draw {seed}: {row(rows[-1])}", flush=True)
    return rows


def judge(scored: Scored, split: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """Return what is among the first rows of the audit; `truth` has the labels before flipping."""
    audited = label_audit.audit(scored, split)
    true = truth.set_index("id").loc[audited.id].reset_index()
    flipped = audited.label != true.label
    doubted = true.probability.between(0, 1, inclusive="neither") & ~flipped
    first = audited["rank"] <= label_audit.FIRST
    return {
        "flipped": int(flipped[first].sum()),
        "doubted": int(doubted[first].sum()),
        "all_flipped": int(flipped.sum()),
        "suspect": int(audited.is_suspect.sum()),
        "flipped_suspect": int(flipped[audited.is_suspect].sum()),
        "auc": roc_auc(true.label.astype(int), audited.defect_score),
    }


def row(found: dict[str, float]) -> str:
    """Return the numbers of one draw in words."""
    n = label_audit.FIRST
    return (
        f"first {n} rows: {found['flipped']} flipped ({found['flipped'] / n:.0%}) of "
        f"{found['all_flipped']}, {found['doubted']} others that the annotators doubted; "
        f"{found['suspect']} suspect labels hold {found['flipped_suspect']} of the flipped; "
        f"AUC {found['auc']:.3f}"
    )


if __name__ == "__main__":
    sys.exit(main())
