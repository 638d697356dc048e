"""README's numbers are those of the published tables in `notebooks/results/`."""

import re

import pandas as pd

from helpers.core import paths
from helpers.core.style import percent_up, told_apart
from helpers.core.tables import fill
from helpers.results.out_of_fold import read_folder, three_columns

README = (paths.project_root() / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(README.split())
RESULTS = paths.project_root() / "notebooks" / "results"
RANDOM, GROUPS, TRIED = "full-random", "full-groups", "elpv-quick"
INTERVAL = re.compile(r"\[-?[\d.]+, -?[\d.]+\]")
# README's name of a row, and its model: those of a test set, and those out of fold
ROWS = {
    "fine-tuned, all layers (FBP)": "fbp",
    "published DARTS cell": "darts_imagenet",
    "random DARTS cell": "random_cell_0",
    "searched DARTS cell": "darts_searched",
    "two-layer CNN": "cnn",
}
FOLDED = {
    "fine-tuned (FBP)": "fbp",
    "linear probe, last layer (LL)": "ll",
    "LDA, pretrained features": "lda",
    "PatchCore, good parts only": "patchcore",
    "brightness alone": "lr_on_brightness",
    "module prior, no pixel": "module_prior",
}
OUT_OF_FOLD = three_columns(read_folder(RESULTS / "out_of_fold")).set_index("model")


def table(run, name="06_results"):
    return pd.read_csv(RESULTS / run / f"{name}.csv").set_index("model", drop=False)


def intervals(read, column):
    """The interval of each row of a table, as README writes it."""
    ends = read[[f"{column}_low", f"{column}_high"]].to_numpy()
    return {f"[{100 * a:.1f}, {100 * b:.1f}]" for a, b in ends}


def rows_of(names):
    """The cells of README's rows with these names: {name: the other cells}."""
    lines = [line.strip("| ").split(" | ") for line in README.splitlines()]
    return {name: cells for name, *cells in lines if name in names}


def test_the_table_shows_each_model_on_both_splits_the_best_first():
    rows = rows_of(ROWS)
    assert [*rows] == [*ROWS]
    random, groups = table(RANDOM), table(GROUPS)
    for name, (*numbers, parameters) in rows.items():
        both = [read.loc[ROWS[name]] for read in (random, groups)]
        assert numbers == [fill("{test_auc:%[]}", row) for row in both], name
        counts = dict.fromkeys(row.parameters for row in both)
        assert parameters == " / ".join(f"{n:,.0f}" for n in counts), name
    aucs = [float(numbers[0].split()[0]) for numbers in rows.values()]
    assert aucs == sorted(aucs, reverse=True)


def test_the_table_out_of_fold_is_computed_from_the_published_scores():
    rows = rows_of(FOLDED)
    assert [*rows] == [*FOLDED]
    for name, cells in rows.items():
        row = OUT_OF_FOLD.loc[FOLDED[name]]
        columns = ("seen_auc", "unseen_auc", "inside_auc")
        assert cells == [fill(f"{{{column}:%[]}}", row) for column in columns], name
    lost = OUT_OF_FOLD.loc["ll"]
    assert f"LL loses {100 * lost.difference:.1f} points [" in TEXT
    assert f"(Holm: p = {lost.p_holm:.3f}".replace("0.", ".", 1) in TEXT


def test_every_interval_is_that_of_a_published_table_or_of_published_scores():
    known = {interval for run in (RANDOM, GROUPS) for interval in intervals(table(run), "test_auc")}
    known |= intervals(table(TRIED), "test_auc")
    for folds in RESULTS.glob("*/folds.csv"):  # scores from which tables are computed again
        columns = three_columns(read_folder(folds.parent))
        for column in ("seen_auc", "unseen_auc", "inside_auc", "difference"):
            known |= intervals(columns, column)
    assert set(INTERVAL.findall(TEXT)) <= known


def test_what_fbp_rejects_is_that_of_the_operating_points():
    seen, unseen = (
        table(run, "07_operating_points").loc["fbp"].iloc[0] for run in (RANDOM, GROUPS)
    )
    rejected = [f"{100 * row.test_overkill_rate:.0f} %" for row in (seen, unseen)]
    assert f"rejects {rejected[0]} of the good ones on seen modules, {rejected[1]} on" in TEXT
    pass_below, reject_from = told_apart(seen.threshold, seen.reject_threshold)
    title = seen.get("title", "FBP, 5 folds averaged")  # older tables have none
    assert f"{title}: pass below {pass_below}, reject from {reject_from}; " in TEXT
    assert f"On average at most {percent_up(seen.promised)} % ..." in TEXT
    counts = [f"{row.test_bad + row.test_good:.0f}" for row in (seen, unseen)]
    assert f"on one test set a side ({' and '.join(counts)} images)" in TEXT
