"""Show how the time of each computation grows with the number of images.

    python -m tests.benchmarks.growth [--n 30000] [NAME ...]

The seconds are CPU time at n and at 4n made-up images. The exponent is 1 if the time grows in
proportion, 2 if it grows with the square. Networks are left out: they see each image once per
epoch. The exit code is 1 if an exponent is above 1.5 and the time is not negligible.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import special

from helpers import datasets
from helpers.commands.score import listing, parts
from helpers.core import files, paths
from helpers.datasets import Source, cache, figures, splits
from helpers.datasets.settings import SplitSettings
from helpers.explain import selection, subject, tsne
from helpers.results import (
    calibration,
    comparison,
    curves,
    decision,
    ensembles,
    label_mappings,
    metrics,
    operating_point,
    results_table,
    submission,
)
from helpers.runs import predictions
from helpers.runs.settings import AnalysisSettings
from helpers.training import baselines, memory_bank
from helpers.training.batches import epoch_order
from helpers.training.features import Features
from tests import planted

WARM_UP = 400  # images of a first call, which imports and compiles
NEGLIGIBLE_S, MOST = 0.5, 1.5
DIMENSIONS = 32
MODELS = ("fbp", "cnn", "svm")
TEMPLATE = "{:<34}{:>12}{:>12}{:>10}"


def computations(n: int, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return functions by name that work on n images, whose files are written into `folder`."""
    rng = np.random.default_rng(0)
    labels = (np.arange(n) % 10 == 0).astype(np.int64)
    first, other, third = (special.expit(rng.normal(size=n) + 2 * labels) for _ in MODELS)
    x = (rng.normal(size=(n, DIMENSIONS)) + labels[:, None]).astype(np.float32)

    # images in class folders; empty, because nothing here reads their content
    root = folder / "images"
    kinds = pd.Series(labels).map({0: "good", 1: "bad"})
    ids = pd.Series([f"p{i:07d}" for i in range(n)])
    table = pd.DataFrame({"id": ids, "path": f"{root}/" + kinds + "/" + ids + ".png"})
    table = table.assign(label=pd.array(labels, dtype="Int64"), official_split="")
    contest = folder / "contest"
    for place in (root / "good", root / "bad", contest / "train/good_0", contest / "train/bad_1"):
        place.mkdir(parents=True)
    (contest / "test").mkdir()
    for path, name, label in zip(table.path, ids, labels, strict=True):
        Path(path).touch()
        (contest / ("train/good_0", "train/bad_1")[label] / f"{name}.png").touch()
        (contest / "test" / f"t{name}.png").touch()
    samples = pd.DataFrame({"id": "t" + ids[::-1], "defect_score": 0.5})
    files.save_csv(contest / "sample_submission.csv", samples)
    source, settings = Source("made up", table, ""), SplitSettings(val_per_class=10)
    copies = ids.where(np.arange(n) % 3 > 0, ids.shift(1).fillna("x"))  # a third are copies
    given = table.assign(split=np.array(["train", "val", "test"])[np.arange(n) // 20 % 3])
    by = {"id": given.id, "path": given.path.str.removeprefix(f"{folder}/images/")}
    for name, column in by.items():
        pd.DataFrame({name: column, "split": given.split}).to_csv(folder / f"{name}.csv")
    split_by = {name: SplitSettings(split_csv=str(folder / f"{name}.csv")) for name in by}

    # a run with three models, one of them with three seeds
    os.environ[paths.HOME_VARIABLE] = str(folder)
    run_paths = planted.make_run(n // 3)
    for seed, name in enumerate(MODELS):
        planted.plant(run_paths, name, 2.0, seed, *[seed + 10, seed + 20] * (name == "fbp"))
    split = predictions.read_split(run_paths).assign(probability=0.0, kind="a")
    scored = predictions.read_all_predictions(run_paths)
    model = scored["fbp"]
    by_model = dict(zip(MODELS, (first, other, third), strict=True))
    analysis = AnalysisSettings(escape_cost=50, false_alarm_cost=1)
    listed = listing.open_list(str(root))
    rows = [parts.Row(f"{i}.png", i, f"{s:.9g}", "") for i, s in zip(ids, first, strict=True)]
    cut = range(0, n, listing.PART_IMAGES)
    job = parts.Job(parts.Settings("i", "m", "no", 1, 8), n, ["d"] * len(cut))
    part_files = parts.PartFiles(folder / "scores.csv", job)
    cached = cache.ImageCache(np.zeros((n, 1, 1, 1), np.uint8), table[["id"]], "")
    facts = dict.fromkeys(("width_px", "height_px"), 8) | {"mean": 255 * first, "std": 255 * other}
    described = cache.ImageCache(cached.pixels, table[["id"]].assign(digest="", **facts), "")
    judged = subject.judged(pd.DataFrame({"id": ids, "label": labels, "defect_score": first}), 0.5)

    def score_files() -> None:
        for number, start in enumerate(cut):
            some = rows[start : start + listing.PART_IMAGES]
            part_files.write(parts.Part(number, some, "d"))
        part_files.check()
        part_files.join()

    def submit() -> None:
        path = submission.write_submission(run_paths, "fbp")
        submission.validate_submission(path, model.test.id.tolist())

    def curve_figures() -> None:
        curves.roc_and_pr(scored).savefig(io.BytesIO())
        points = decision.operating_table(scored, analysis, 0.3)
        curves.overkill_against_escapes(scored, points, 0.01).savefig(io.BytesIO())

    def split_figures() -> None:
        divided = split_of(source, ids, settings).table
        figures.class_counts(divided).savefig(io.BytesIO())
        figures.brightness_and_size(divided, described).savefig(io.BytesIO())

    split_of = splits.make_split
    return {
        "folder:PATH": partial(datasets.load, SplitSettings(dataset=f"folder:{root}")),
        "nexperia:PATH": partial(datasets.load, SplitSettings(dataset=f"nexperia:{contest}")),
        "cache key": partial(cache.source_key, table),
        "subsample": partial(splits.subsample_source, source, n // 2, 0),
        "keep_readable": partial(splits.keep_readable, source, ids[::2]),
        "split": partial(split_of, source, ids, settings),
        "split with copies": partial(split_of, source, copies, settings),
        "SPLIT_CSV by id": partial(split_of, source, ids, split_by["id"]),
        "SPLIT_CSV by path": partial(split_of, source, ids, split_by["path"]),
        "figures of 01": split_figures,
        "write and read a CSV": lambda: (
            files.save_csv(folder / "a.csv", table),
            files.load_csv(folder / "a.csv", ("id",)),
        ),
        "cache rows of ids": lambda: cached.rows(ids[::-1]),
        "features of ids": lambda: Features(ids.to_numpy(dtype=str), x).of(ids[::-1]),
        "order of an epoch": partial(epoch_order, n, 0, 0),
        "core set of PatchCore": partial(memory_bank.core_set, x, 200, 0),
        "sample of the classical models": partial(baselines._sample, labels, n // 2, 5, 0),
        "predictions files": partial(predictions.read_all_predictions, run_paths),
        "submission": submit,
        "AUC": partial(metrics.roc_auc, labels, first),
        "DeLong's interval": partial(metrics.delong_interval, labels, first),
        "DeLong's test": partial(metrics.delong_test, labels, first, other),
        "bootstrap of an AUC": partial(metrics.bootstrap_interval, labels, first),
        "bootstrap of accuracy": partial(
            metrics.bootstrap_interval, labels, first, metrics.accuracy, 200
        ),
        "paired bootstrap": partial(metrics.paired_bootstrap, labels, first, other, 200),
        "threshold sweep": partial(operating_point.overkill_curve, labels, first),
        "threshold by escapes": partial(
            operating_point.threshold_for_escape_rate, labels, first, 0.01
        ),
        "cheapest thresholds": partial(
            operating_point.cheapest_bins, labels, first, operating_point.Line(0.1, 50, 1)
        ),
        "temperature": partial(calibration.temperature_scale, labels, first, 0.1),
        "calibration bins": partial(calibration.calibration_bins, labels, first),
        "calibration table": partial(decision.calibration_table, scored, 0.3),
        "ensembles": partial(
            ensembles.build_ensembles, by_model, labels, by_model, np.arange(n) // 10 % 5
        ),
        "row of the results table": partial(results_table.evaluate_model, model, 0.3),
        "comparison": partial(comparison.compare_with, scored, "fbp"),
        "subgroups": partial(comparison.subgroup_table, scored, split, ["kind"]),
        "label mappings": partial(label_mappings.weighted_auc, labels, 1 - labels, first),
        "curves of 06": curve_figures,
        "t-SNE's measures": partial(tsne.separation, x, labels),
        "browser's orders": lambda: [selection.in_order(judged, None, o) for o in selection.ORDERS],
        "gallery": partial(selection.gallery_parts, judged, 8),
        "list of images to score": lambda: sum(1 for _ in listed.entries()),
        "left out of the list": listed.left_out,
        "part files, joined": score_files,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per computation; return 1 if the time of one grows too fast."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.growth", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of names; default: all")
    parser.add_argument("--n", type=int, default=30_000, help="default: %(default)s")
    given = parser.parse_args(arguments)
    too_fast = False
    with tempfile.TemporaryDirectory() as place:
        folders = {n: Path(place, str(n)) for n in (WARM_UP, given.n, 4 * given.n)}
        made = {n: computations(n, folder) for n, folder in folders.items()}
        print(TEMPLATE.format("", f"{given.n:,}", f"{4 * given.n:,}", "exponent"))
        for name in made[WARM_UP]:
            if given.names and not any(part in name for part in given.names):
                continue
            seconds = []
            for n, folder in folders.items():
                os.environ[paths.HOME_VARIABLE] = str(folder)
                started = time.process_time()  # other programs do not count
                made[n][name]()
                seconds.append(time.process_time() - started)
                plt.close("all")
            exponent = math.log(seconds[2] / seconds[1], 4)
            too_fast |= exponent > MOST and seconds[2] > NEGLIGIBLE_S
            shown = (*(f"{own:.3f} s" for own in seconds[1:]), f"{exponent:.2f}")
            print(TEMPLATE.format(name, *shown), flush=True)
    return int(too_fast)


if __name__ == "__main__":
    sys.exit(main())
