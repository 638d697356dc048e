"""README's numbers are those of the published tables in `notebooks/results/`."""

import re

import pandas as pd

from helpers.core import paths
from helpers.core.style import percent_up, told_apart
from helpers.models.names import display_name
from helpers.results.comparison import holm
from helpers.results.two_splits import repeated_differences

README = (paths.project_root() / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(README.split())
RESULTS = paths.project_root() / "notebooks" / "results"
RUNS = {"random": "full-random", "groups": "full-groups"}
TRIED = "elpv-quick"  # the run of "Try it": metrics/results.csv of its notebook 03
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
    return pd.read_csv(RESULTS / run / f"{name}.csv").set_index("model")


def with_interval(row, column):
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    return f"{100 * row[column]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def test_the_table_shows_each_model_on_both_splits():
    shown = [line.strip("| ").split(" | ") for line in README.splitlines() if " [" in line]
    shown = [cells for cells in shown if len(cells) == 4]
    both = {kind: table(run) for kind, run in RUNS.items()}
    for name, random, groups, parameters in shown:
        rows = {kind: found.loc[ROWS[name]] for kind, found in both.items()}
        assert random == with_interval(rows["random"], "test_auc"), name
        assert groups == with_interval(rows["groups"], "test_auc"), name
        counts = dict.fromkeys(row.parameters for row in rows.values() if row.parameters > 0)
        assert parameters == (" / ".join(f"{n:,.0f}" for n in counts) or "-"), name
    assert sorted(cells[0] for cells in shown) == sorted(ROWS)
    aucs = [float(cells[1].split()[0]) for cells in shown]
    assert aucs == sorted(aucs, reverse=True)


def test_the_submitted_model_is_the_best_on_validation():
    found = table(RUNS["random"]).drop("majority")
    best = found.val_auc.idxmax()
    number = with_interval(found.loc[best], "test_auc")
    assert f"{display_name(best)}, which validation chose: {number} on the random split." in TEXT


def test_the_network_with_a_teacher_is_that_of_the_run():
    found = table(RUNS["random"])
    number = with_interval(found.loc["darts_imagenet_distilled"], "test_auc")
    without = f"{100 * found.test_auc['darts_imagenet']:.1f}"
    assert f"With FBP as teacher the published cell has {number} there ({without} without)." in TEXT


def test_every_row_is_lower_on_unseen_modules():
    both = [table(run).test_auc[list(ROWS.values())] for run in RUNS.values()]
    assert (both[1] < both[0]).all() == ("On unseen modules every row is lower" in TEXT)


def test_the_sentences_about_unseen_modules_are_those_of_the_tables():
    compared = table(RUNS["random"], "06_two_splits")
    fbp = compared.loc["fbp"]
    includes = fbp.groups_auc_low <= fbp.groups_val_auc <= fbp.groups_auc_high
    promised = (
        f"Validation promised FBP {100 * fbp.random_val_auc:.1f} on the random split (test "
        f"{100 * fbp.random_auc:.1f}) and {100 * fbp.groups_val_auc:.1f} on held-out modules (test "
        f"{100 * fbp.groups_auc:.1f}, whose interval {'includes' if includes else 'excludes'} it)"
    )
    assert promised in TEXT
    losses = [
        f"{-100 * row.difference:.1f} points [{-100 * row.difference_high:.1f}, "
        f"{-100 * row.difference_low:.1f}]"
        for row in (fbp, compared.loc["darts_imagenet"])
    ]
    assert f"FBP loses {losses[0]}, the published cell {losses[1].replace(' points', '')}" in TEXT
    assert ("by Holm none significantly" in TEXT) == (holm(compared.p_value).min() >= 0.05)


def test_the_repeated_splits_are_those_of_their_table():
    found = pd.read_csv(RESULTS / RUNS["random"] / "02_repeated_splits.csv")
    lines = repeated_differences(found[found.model == "LDA"]).set_index("column")
    row = lines.loc["auc"]
    means = [f"{100 * row[f'{kind}_mean']:.1f} ± {100 * row[f'{kind}_std']:.1f}" for kind in RUNS]
    assert (
        f"LDA has {means[0]} and {means[1]} (mean ± standard deviation; difference "
        f"{100 * row.difference:.1f} ± {100 * row.error:.1f}, standard error)"
    ) in TEXT
    assert (found.groupby(["model", "split"]).size() == 5).all() and "Over five splits" in TEXT


def test_the_score_of_the_first_try_is_that_of_its_run():
    found = table(TRIED, "03_results")
    assert (found.run == TRIED).all() and (found.preset == "quick").all()
    assert f"(FBP has {with_interval(found.loc['fbp'], 'test_auc')} with `quick`)" in TEXT


def test_what_fbp_lets_through_and_rejects_is_that_of_the_operating_points():
    rates = {}
    for kind, run in RUNS.items():
        points = table(run, "06_operating_points")
        own = points[points.rule == "expected"].loc["fbp"]
        low, high = (100 * own[f"test_escape_rate_{end}"] for end in ("low", "high"))
        rates[kind] = [f"{100 * own.test_overkill_rate:.0f} %"]
        rates[kind].append(f"{100 * own.test_escape_rate:.1f} % [{low:.1f}, {high:.1f}]")
    assert (
        f"rejects {rates['random'][0]} of the good ones on seen modules ({rates['random'][1]} of "
        f"the bad ones pass), {rates['groups'][0]} on unseen ones ({rates['groups'][1]})"
    ) in TEXT


def test_the_thresholds_of_the_example_are_those_of_the_run():
    points = table(RUNS["random"], "06_operating_points")
    own = points[points.rule == "expected"].loc["fbp"]
    pass_below, reject_from = told_apart(own.threshold, own.reject_threshold)
    assert f"FBP, 5 folds averaged: pass below {pass_below}, reject from {reject_from}; " in TEXT
    assert f"On average at most {percent_up(own.promised)} % ..." in TEXT


def test_the_numbers_of_test_images_follow_from_the_counts_of_both_classes():
    counts = []
    for run in RUNS.values():
        row = table(run, "06_operating_points").iloc[0]
        counts.append(f"{row.test_bad + row.test_good:.0f}")
    assert f"; {' and '.join(counts)} test images." in TEXT


def test_every_number_with_an_interval_is_checked_above():
    intervals = re.findall(r"\[-?[\d.]+, -?[\d.]+\]", TEXT)
    assert len(intervals) == 2 * len(ROWS) + 7
