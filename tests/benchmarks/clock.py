"""Compare the models of runs with a clock: `python -m tests.benchmarks.clock RANDOM GROUPS`.

    given="--dataset bsdata:PATH --preset full -p IMAGE_SIZE_PX=288 -p NEAR_DUPLICATE_BITS=0"
    python -m helpers.run $given -p SEEDS=1 --name bs-groups
    python -m helpers.run $given -p SEEDS=1 --name bs-random -p SPLIT=random
    python -m tests.benchmarks.clock bs-random bs-groups

Both runs judge all images out of fold, one by random folds, one by whole places. Parts that wear
are good at first and bad at the end, so the time of an image alone, without a pixel, has a high
AUC; inside a window of time it has not. The scores go to `notebooks/results/bsdata/`, and the
table, with the number of pairs of a good and a bad image of one window, to `clock.csv` beside them.
"""

import argparse

import pandas as pd

from helpers.core import files, metrics, paths
from helpers.datasets.split_file import keeps_groups_apart, read_split
from helpers.results.comparison import with_ends
from helpers.results.out_of_fold import PROTOCOLS, SEEN
from helpers.runs.record import read_models
from tests.benchmarks import windows

PLACE = paths.published_scores().with_name("bsdata")
DAYS = (2, 1, 0.5)
CLOCK = "time alone, no pixel"
ROWS = ("fbp", "ll", "lr", "rf", "patchcore", "module_prior", "lr_on_brightness")


def table(split, scores):
    """Return a row for each model: AUC over all images, inside places, and inside windows."""
    labels, groups = split.label.astype(int), split.group
    clock = pd.to_datetime(split.time).astype("int64").astype(float)
    scores = {CLOCK: clock, **scores}
    rows = [
        {"model": name}
        | with_ends("all", metrics.auc_interval(labels, values, groups))
        | with_ends("places", metrics.within_group_auc(labels, values, groups))
        for name, values in scores.items()
    ]
    whole = pd.DataFrame(rows).set_index("model")
    for days in DAYS:
        inside = windows.window_aucs(labels, scores, split.time, days, groups, split.fold, CLOCK)
        whole = whole.join(inside.set_index("model").add_suffix(f"_{days}d"))
    return whole.reset_index()


def published(name, protocol):
    """Write the scores of a run by this protocol; return its images and the scores by model."""
    run = paths.RunPaths(name)
    split, scored = read_split(run.split_csv), read_models(run)
    if "time" not in split or keeps_groups_apart(split) == (protocol == SEEN):
        raise SystemExit(f"{name}: not a run of BSData by {protocol} folds")
    split = split[split.fold.notna()].reset_index(drop=True)
    own = [name for name in ROWS if name in scored]
    scores = {}
    for name in own:
        values = scored[name].labelled("val").set_index("id").defect_score.reindex(split.id)
        column = pd.DataFrame({"id": split.id, "seed0": [f"{value:.5g}" for value in values]})
        files.save_csv(PLACE / protocol / f"{name}.csv", column)
        scores[name] = column.seed0.astype(float).to_numpy()  # as anyone can read them
    columns = ["id", "label", "group", "time", "fold"]
    files.save_csv(PLACE / f"folds_{protocol}.csv", split[columns])
    return split, scores


def main(arguments=None):
    """Write scores and table of the two runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.clock")
    for protocol in PROTOCOLS:
        parser.add_argument(protocol, help=f"a run of BSData by {protocol} folds")
    given = vars(parser.parse_args(arguments))
    found = pd.concat(
        [table(*published(given[p], p)).assign(folds=p) for p in PROTOCOLS], ignore_index=True
    )
    files.save_csv(PLACE / "clock.csv", found.round(4))
    print(found.round(3).T.to_string())


if __name__ == "__main__":
    main()
