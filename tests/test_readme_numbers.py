"""README's numbers are those of the published tables and scores in `notebooks/results/`."""

import re

import numpy as np
import pandas as pd

from helpers.core import paths
from helpers.core.metrics import rate_interval
from helpers.core.style import fill, percent
from helpers.decisions.operating_point import threshold_for_escape_rate
from helpers.results.order_and_rate import decomposition
from helpers.results.out_of_fold import AUCS, PROTOCOLS, read_folder, three_columns, without

README = (paths.project_root() / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(README.split())
RESULTS = paths.project_root() / "notebooks" / "results"
# README's name of a row, and its model
ROWS = {
    "fine-tuned (FBP)": "fbp",
    "last layer (LL)": "ll",
    "published DARTS_V2, from scratch": "darts_v2",
    "brightness alone": "lr_on_brightness",
    "module prior, no pixel": "module_prior",
}
SCORES = read_folder(RESULTS / "out_of_fold")
OUT_OF_FOLD = three_columns(SCORES).set_index("model")
FBP = OUT_OF_FOLD.loc["fbp"]
REBUILT = decomposition(SCORES).set_index("model")
WITHOUT = three_columns(without(SCORES, "module37")).set_index("model").loc["fbp"]
QUICK = {
    name: pd.read_csv(RESULTS / "elpv-quick" / f"{name}.csv").set_index("model", drop=False)
    for name in ("05_retraining", "07_operating_points")
}
SIDES = ("val", "test")


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
    assert FBP.random_seeds == FBP.groups_seeds == 3
    once = fill("{unseen_auc_mean:%} ± {unseen_auc_std:%}", FBP)
    assert f"A single training has {once} (SD) on unseen ones." in TEXT
    tested = (f".{1000 * p:03.0f}" for p in (FBP.p_value, FBP.p_holm))
    lost = "the average loses {} (p = {} for this row alone, {} by Holm's correction"
    assert lost.format(points(FBP, "difference"), *tested) in TEXT
    known = fill("{unseen_auc:%[]}", WITHOUT)
    assert f"FBP has {known} and loses {points(WITHOUT, 'difference')}." in TEXT
    more = REBUILT.unexplained[["lda", "lr", "svm"]]
    assert f"have {100 * more.min():.1f} to {100 * more.max():.1f} points more than" in TEXT
    gain = REBUILT.loc["fbp"]
    assert f"FBP is {points(gain, 'inside_gain')} better." in TEXT
    assert f"and {100 * gain.rebuilt:.1f} is back" in TEXT
    assert f"training has seen the same model has {100 * FBP.unseen_auc:.1f}." in TEXT
    assert f"An AUC of {100 * FBP.seen_auc:.0f} looks great" in TEXT


def test_no_other_auc_with_an_interval_stands_in_the_readme():
    known = {fill(f"{{{column}:%[]}}", row) for column in AUCS for _, row in OUT_OF_FOLD.iterrows()}
    known |= {fill("{unseen_auc:%[]}", WITHOUT)}
    assert len(found := INTERVAL.findall(TEXT)) > 10 and {*found} <= known


def test_what_passes_untouched_is_that_of_the_scores_out_of_fold_and_of_the_operating_points():
    scores = read_folder(RESULTS / "out_of_fold")
    labels, said, limits = scores.folds.label.to_numpy(), [], []
    for protocol in PROTOCOLS[1:]:
        folds, trainings = scores.folds[protocol], scores.scores[protocol]["fbp"]
        shares, by_fold, escapes = [], [], []
        for fbp in trainings.to_numpy().T:
            passed = np.zeros(len(labels), dtype=bool)
            for fold in range(5):
                held_out, here = (folds != fold).to_numpy(), (folds == fold).to_numpy()
                promise = threshold_for_escape_rate(labels[held_out], fbp[held_out], 0.01)
                passed[here] = fbp[here] < promise.threshold
                by_fold.append(passed[here & (labels == 0)].mean())
            shares.append(passed[labels == 0].mean())
            escaped = rate_interval(passed[labels == 1], scores.folds.group[labels == 1])
            escapes.append(escaped.estimate)
            limits.append(escaped.high)
        spans = [f"{100 * min(s):.0f} to {100 * max(s):.0f} %" for s in (shares, by_fold)]
        bad = " to ".join(percent(end) for end in (min(escapes), max(escapes)))
        said.append("{} ({}) | ".format(*spans) + f"{bad} %".replace("0.", "."))
    count = f"{labels.sum() * 4 / 5:.0f}"
    limit = f"intervals to {percent(max(limits))} %"
    unseen = f"| all unseen modules (single folds) | {count} of other folds | {said[0]}, {limit} |"
    assert unseen in TEXT
    points = QUICK["07_operating_points"].loc["fbp"]
    val, quick = (points[(points.rule == "expected") & (points.side == s)].iloc[0] for s in SIDES)
    passed = f"{100 * quick.good_passed:.0f} % ({100 * quick.overkill_rate:.0f} % are rejected)"
    escaped = f"{quick.escapes:.0f} of {quick.bad:.0f}"
    assert f"(`quick`) | {val.bad:.0f} bad parts | {passed} | {escaped} |" in TEXT
    fbp = QUICK["05_retraining"].loc["fbp"]
    assert f"FBP takes {fbp.ms_single * fbp.test_views:.0f} ms for a part (CPU, four views)" in TEXT
    assert f"one fold of whole modules, {quick.bad + quick.good:.0f} images" in TEXT


def test_how_often_maps_hit_the_damage_is_that_of_the_published_table():
    hits = pd.read_csv(RESULTS / "bsdata" / "06_true_masks.csv").set_index("maps")
    ours, cam = hits.loc["PatchCore (good parts only), for bad"], hits.loc["FBP, for bad"]
    ends = [f"{100 * ours[f'hit{end}']:.0f}" for end in ("", "_low", "_high")]
    assert "damage of {} % [{}, {}] of the bad parts".format(*ends) in TEXT
    area = f"{100 * cam.area:.1f}".removeprefix("0")
    assert f"of Grad-CAM's (FBP) in {100 * cam.hit:.0f} % (chance {area} %)" in TEXT
    near = f"near it in {100 * ours.near:.0f} and {100 * cam.near:.0f} %"
    assert f"{near} (chance {100 * cam.near_area:.0f} %)." in TEXT
