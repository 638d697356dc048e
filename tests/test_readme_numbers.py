"""README's numbers are those of the published tables and scores in `notebooks/results/`."""

import re

import pandas as pd

from helpers.core import paths
from helpers.core.style import fill, percent_up
from helpers.results.order_and_rate import decomposition
from helpers.results.out_of_fold import AUCS, read_folder, three_columns

README = (paths.project_root() / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(README.split())
PROMISED = pd.read_csv(paths.project_root() / "tests/benchmarks/lots_promised.csv")
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


def test_what_passes_untouched_is_that_of_each_lot_judged_by_the_others():
    (row,) = PROMISED[(PROMISED.set == "elpv") & (PROMISED.asked == 0.05)].itertuples()
    said = f"{100 * row.good_passed:.0f} % of the good ones pass, and "
    said += f"{100 * row.escape:.1f} ± {100 * row.escape_se:.1f} % of a lot's bad ones"
    assert said in TEXT
    assert f"{row.lots} modules cannot promise less than {percent_up(1 / (row.lots + 1))} %" in TEXT


def test_how_often_maps_hit_the_damage_is_that_of_the_published_table():
    hits = pd.read_csv(RESULTS / "bsdata" / "06_true_masks.csv").set_index("maps")
    ours, cam = hits.loc["PatchCore (good parts only), for bad"], hits.loc["FBP, for bad"]
    ends = [f"{100 * ours[f'hit{end}']:.0f}" for end in ("", "_low", "_high")]
    assert "damage of {} % [{}, {}] of the bad parts".format(*ends) in TEXT
    area = f"{100 * cam.area:.1f}".removeprefix("0")
    assert f"of Grad-CAM's (FBP) in {100 * cam.hit:.0f} % (chance {area} %)" in TEXT
