"""README's numbers are those of the published tables and scores in `notebooks/results/`."""

import re

import numpy as np
import pandas as pd

from helpers.core import paths
from helpers.core.metrics import rate_interval
from helpers.core.style import fill
from helpers.decisions.operating_point import threshold_for_escape_rate
from helpers.results.order_and_rate import decomposition
from helpers.results.out_of_fold import AUCS, read_folder, three_columns

README = (paths.project_root() / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(README.split())
RESULTS = paths.project_root() / "notebooks" / "results"
# README's name of a row, and its model
ROWS = {
    "fine-tuned (FBP)": "fbp",
    "DARTS_V2, from scratch": "darts_v2",
    "module prior, no pixel": "module_prior",
}
SCORES = read_folder(RESULTS / "out_of_fold")
OUT_OF_FOLD = three_columns(SCORES).set_index("model")
FBP = OUT_OF_FOLD.loc["fbp"]
REBUILT = decomposition(SCORES).set_index("model")


def points(row, column):
    """Return a difference in points with its interval, as README writes it."""
    value, low, high = (100 * row[f"{column}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.1f} points [{low:.1f}, {high:.1f}]"


INTERVAL = re.compile(r"[\d.]+ \[-?[\d.]+, -?[\d.]+\]")


def test_the_table_is_computed_from_the_published_scores():
    lines = [line.strip("| ").split(" | ") for line in README.splitlines()]
    rows = {name: cells for name, *cells in lines if name in ROWS}
    assert [*rows] == [*ROWS]
    for name, cells in rows.items():
        row, slug = OUT_OF_FOLD.loc[ROWS[name]], ROWS[name]
        aucs = [fill(f"{{{column}:%[]}}", row) for column in ("unseen_auc", "inside_auc")]
        rebuilt = fill("{rebuilt:%}", REBUILT.loc[slug]) if slug in REBUILT.index else "-"
        assert cells == [*aucs, rebuilt, fill("{seen_auc:%[]}", row)], name
    assert (FBP.groups_seeds, FBP.random_seeds) == (3, 3)
    assert f"FBP loses {points(FBP, 'difference')} on unseen modules." in TEXT
    assert f"and {100 * REBUILT.rebuilt.fbp:.1f} is back" in TEXT
    assert f"On unseen modules the same model, FBP, has {100 * FBP.unseen_auc:.1f}." in TEXT
    assert f"An AUC of {100 * FBP.seen_auc:.0f} looks great" in TEXT


def test_no_other_auc_with_an_interval_stands_in_the_readme():
    known = {fill(f"{{{column}:%[]}}", row) for column in AUCS for _, row in OUT_OF_FOLD.iterrows()}
    assert len(found := INTERVAL.findall(TEXT)) > 5 and {*found} <= known


def by_other_folds():
    """Return which parts pass FBP by a threshold of the other folds, labels, groups and folds."""
    labels, folds = SCORES.folds.label.to_numpy(), SCORES.folds.groups.to_numpy()
    fbp = SCORES.scores["groups"]["fbp"].mean(axis=1).to_numpy()
    passed = np.zeros(len(labels), dtype=bool)
    for fold in range(5):
        others, here = folds != fold, folds == fold
        promise = threshold_for_escape_rate(labels[others], fbp[others], 0.01)
        passed[here] = fbp[here] < promise.threshold
    return passed, labels, SCORES.folds.group.to_numpy(), folds


def test_what_passes_untouched_is_that_of_the_scores_out_of_fold():
    passed, labels, groups, folds = by_other_folds()
    good, bad = (
        [100 * x for x in rate_interval(passed[labels == label], groups[labels == label])]
        for label in (0, 1)
    )
    single = [100 * passed[(folds == fold) & (labels == 0)].mean() for fold in range(5)]
    said = "{:.0f} % [{:.0f}, {:.0f}] of the good ones pass".format(*good)
    said += f" (single folds: {min(single):.0f} to {max(single):.0f} %), and "
    assert said + "{:.1f} % [{:.1f}, {:.1f}] of the bad ones.".format(*bad) in TEXT


def test_how_often_maps_hit_the_damage_is_that_of_the_published_table():
    hits = pd.read_csv(RESULTS / "bsdata" / "06_true_masks.csv").set_index("maps")
    ours, cam = hits.loc["PatchCore (good parts only), for bad"], hits.loc["FBP, for bad"]
    ends = [f"{100 * ours[f'hit{end}']:.0f}" for end in ("", "_low", "_high")]
    assert "damage of {} % [{}, {}] of the bad parts".format(*ends) in TEXT
    area = f"{100 * cam.area:.1f}".removeprefix("0")
    assert f"of Grad-CAM's (FBP) in {100 * cam.hit:.0f} % (chance {area} %)" in TEXT
