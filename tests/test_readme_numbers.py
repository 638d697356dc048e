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
# README's name of a row, and its model
ROWS = {
    "fine-tuned, all layers (FBP)": "fbp",
    "linear probe, last layer (LL)": "ll",
    "LDA, pretrained features": "lda",
    "DARTS cell published by its authors": "darts_imagenet",
    "DARTS cell drawn at random": "random_cell_0",
    "DARTS cell searched here": "darts_searched",
    "PatchCore, good parts only": "patchcore",
    "two-layer CNN": "cnn",
}


def table(run, name="06_results"):
    return pd.read_csv(RESULTS / run / f"{name}.csv").set_index("model", drop=False)


def intervals(read, column, sign=1):
    """The interval of each row of a table, as README writes it."""
    low, high = f"{column}_low", f"{column}_high"
    ends = read[[low, high]] if sign > 0 else -read[[high, low]]
    return {f"[{100 * a:.1f}, {100 * b:.1f}]" for a, b in ends.to_numpy()}


def test_the_table_shows_each_model_on_both_splits_the_best_first():
    rows = [line.strip("| ").split(" | ") for line in README.splitlines() if INTERVAL.search(line)]
    rows = [cells for cells in rows if len(cells) == 4]
    random, groups = table(RANDOM), table(GROUPS)
    for name, *numbers, parameters in rows:
        both = [own.loc[ROWS[name]] for own in (random, groups)]
        assert numbers == [fill("{test_auc:%[]}", own) for own in both], name
        counts = dict.fromkeys(own.parameters for own in both if own.parameters > 0)
        assert parameters == (" / ".join(f"{n:,.0f}" for n in counts) or "-"), name
    assert sorted(name for name, *_ in rows) == sorted(ROWS)
    aucs = [float(numbers[1].split()[0]) for numbers in rows]
    assert aucs == sorted(aucs, reverse=True)


def test_every_interval_is_that_of_a_published_table_or_of_published_scores():
    known = {interval for run in (RANDOM, GROUPS) for interval in intervals(table(run), "test_auc")}
    known |= intervals(table(TRIED, "03_results"), "test_auc")
    known |= intervals(table(RANDOM, "06_two_splits"), "difference", -1)
    for run in (RANDOM, GROUPS):
        known |= intervals(table(run, "06_operating_points"), "test_escape_rate")
    for folds in RESULTS.glob("*/folds.csv"):  # scores from which tables are computed again
        columns = three_columns(read_folder(folds.parent))
        for column in ("seen_auc", "unseen_auc", "inside_auc", "difference"):
            known |= intervals(columns, column)
    assert set(INTERVAL.findall(TEXT)) <= known


def test_the_claims_are_made_and_hold():
    unseen, seen = (table(run).test_auc[[*ROWS.values()]] for run in (GROUPS, RANDOM))
    assert "On unseen modules every row is lower" in TEXT and (unseen < seen).all()
    p_values = table(RANDOM, "06_two_splits").p_value
    assert "by Holm none significantly" in TEXT and p_values.min() * len(p_values) >= 0.05
    assert "The submission is Stacking" in TEXT and table(RANDOM).val_auc.idxmax() == "stacking"


def test_what_fbp_lets_through_and_rejects_is_that_of_the_operating_points():
    seen, unseen = (
        table(run, "06_operating_points").loc["fbp"].iloc[0] for run in (RANDOM, GROUPS)
    )
    texts = [
        fill("{test_escape_rate:%} % [{test_escape_rate_low:%}, {test_escape_rate_high:%}]", row)
        for row in (seen, unseen)
    ]
    rejected = [f"{100 * row.test_overkill_rate:.0f} %" for row in (seen, unseen)]
    assert f"rejects {rejected[0]} of the good ones on seen modules ({texts[0]} of the" in TEXT
    assert f"{rejected[1]} on unseen ones ({texts[1]})" in TEXT
    pass_below, reject_from = told_apart(seen.threshold, seen.reject_threshold)
    title = seen.get("title", "FBP, 5 folds averaged")  # older tables have none
    assert f"{title}: pass below {pass_below}, reject from {reject_from}; " in TEXT
    assert f"On average at most {percent_up(seen.promised)} % ..." in TEXT
    counts = [f"{row.test_bad + row.test_good:.0f}" for row in (seen, unseen)]
    assert f"; {' and '.join(counts)} test images." in TEXT
