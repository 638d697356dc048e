"""Compare the models of runs with a clock: `python -m tests.benchmarks.clock RANDOM GROUPS`.

    given="--dataset bsdata:PATH --preset full -p IMAGE_SIZE_PX=288 -p NEAR_DUPLICATE_BITS=0"
    python -m helpers.run $given --name bs-groups
    python -m helpers.run $given --name bs-random -p SPLIT=random

Both runs judge all images out of fold, one by random folds, one by whole places. Parts that wear
are good at first and bad at the end, so the time of an image alone, without a pixel, has a high
AUC; inside a window of time it has not. The scores go to `notebooks/results/bsdata/`, and the
table, with the number of pairs of a good and a bad image of one window, to `clock.csv` beside them.
"""

import argparse

import pandas as pd

from helpers.core import files, metrics, paths
from helpers.datasets.split_file import read_split
from helpers.results import windows
from helpers.results.out_of_fold import PROTOCOLS
from helpers.runs.record import read_models

DAYS = (2, 1, 0.5)
CLOCK = "time alone, no pixel"
ROWS = ("fbp", "ll", "lr", "rf", "patchcore", "module_prior", "lr_on_brightness")


def table(split, scores):
    """Return a row for each model: AUC over all images, inside places, and inside windows."""
    labels, groups = split.label.astype(int), split.group
    clock = pd.to_datetime(split.time).astype("int64").astype(float)
    scores = {CLOCK: clock, **scores}
    rows = []
    for name, values in scores.items():
        row = {"model": name}
        for column, measure in {
            "all": metrics.auc_interval,
            "places": metrics.within_group_auc,
        }.items():
            found = measure(labels, values, groups)
            row |= dict(zip((column, f"{column}_low", f"{column}_high"), found, strict=True))
        rows.append(row)
    whole = pd.DataFrame(rows).set_index("model")
    for days in DAYS:
        inside = windows.window_aucs(labels, scores, split.time, days, groups, CLOCK).set_index(
            "model"
        )
        whole = whole.join(inside.add_suffix(f"_{days}d"))
    return whole.reset_index()


def main(arguments=None):
    """Write scores and table of the two runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.clock")
    parser.add_argument("random"), parser.add_argument("groups")
    given, place, tables = (
        parser.parse_args(arguments),
        paths.published_scores().with_name("bsdata"),
        [],
    )
    for protocol in PROTOCOLS:
        run = paths.RunPaths(getattr(given, protocol))
        split, scored = read_split(run.split_csv), read_models(run)
        split = split[split.fold.notna()].reset_index(drop=True)
        scores = {}
        for name in (name for name in ROWS if name in scored):
            one = scored[name].labelled("val").set_index("id").defect_score
            scores[name] = one.reindex(split.id).to_numpy()
            column = pd.DataFrame(
                {"id": split.id, "seed0": [f"{value:.5g}" for value in scores[name]]}
            )
            files.save_csv(place / protocol / f"{name}.csv", column)
        files.save_csv(
            place / f"folds_{protocol}.csv", split[["id", "label", "group", "time", "fold"]]
        )
        tables.append(table(split, scores).assign(folds=protocol))
    found = pd.concat(tables, ignore_index=True)
    files.save_csv(place / "clock.csv", found.round(4))
    print(found.round(3).T.to_string())


if __name__ == "__main__":
    main()
