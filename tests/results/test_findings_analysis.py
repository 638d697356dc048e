"""Sentences of notebook 06 say what planted tables hold, and nothing if there is nothing."""

import numpy as np
import pandas as pd
import pytest

from helpers.core.style import headline
from helpers.results import findings_analysis as findings
from helpers.results.operating_point import Line

TABLE = pd.DataFrame(
    {
        "model": ["fbp", "svm", "cnn", "majority"],
        "n_val": 900,
        "val_auc": [0.951, 0.9, 0.8, 0.5],
        "test_auc": [0.95, 0.94, 0.8, 0.5],
        "test_auc_low": [0.93, 0.9, 0.7, np.nan],
        "test_auc_high": [0.97, 0.96, 0.9, np.nan],
        "test_within_auc": [0.9, 0.8, 0.7, np.nan],
        "test_within_auc_low": [0.85, 0.7, 0.6, np.nan],
        "test_within_auc_high": [0.95, 0.9, 0.8, np.nan],
    }
)
COMPARED = pd.DataFrame(
    {
        "model": ["svm", "cnn"],
        "difference": [-0.01, -0.15],
        "low": [-0.03, -0.2],
        "high": [0.01, -0.1],
        "p_holm": [0.32, 0.0001],
    }
)


def test_the_submitted_row_is_compared_with_the_next_and_with_all():
    assert list(findings.submitted(TABLE, COMPARED, "fbp", "test")) == [
        "Submitted: FBP, the best of 3 models by validation AUC (95.1); its test AUC is "
        "95.0 [93.0, 97.0].",
        "The best other row on test, SVM, is behind by 1.0 points (difference -1.0 [-3.0, +1.0], "
        "p = .320 after Holm's correction): not a significant difference.",
        "1 of the 2 other rows is significantly worse; not told apart: SVM.",
    ]


def test_a_cross_fitted_row_is_the_best_of_the_cross_fitted_ones_alone():
    table = TABLE.assign(n_val=[900, 900, 300, 900], val_auc=[0.951, 0.9, 0.97, 0.5])
    said = findings.submitted(table, COMPARED, "fbp", "test")
    assert said.best.startswith("Submitted: FBP, the best of 2 models validated on as many images")


def test_the_brightness_counts_as_a_model_only_if_it_is_the_best():
    table = TABLE.replace({"model": {"cnn": "lr_on_brightness"}})
    said = findings.submitted(table, COMPARED[:0], "fbp", "val")
    assert said.best == "Submitted: FBP, the best of 2 models by validation AUC (95.1)."
    table = table.assign(val_auc=[0.9, 0.9, 0.96, 0.5])
    said = findings.submitted(table, COMPARED[:0], "lr_on_brightness", "val")
    assert (
        said.best == "Submitted: Brightness alone, the best of 3 models by validation AUC (96.0)."
    )


def test_models_that_are_as_good_on_validation_are_named():
    table = TABLE.assign(val_auc=[0.951, 0.951, 0.9, 0.5])
    said = findings.submitted(table, COMPARED[:0], "fbp", "val")
    assert said.best.endswith("by validation AUC (95.1), as good there as SVM.")


def test_a_row_that_is_better_on_test_is_said_to_be_ahead():
    ahead = COMPARED.assign(difference=[0.02, -0.15], low=[0.01, -0.2], high=[0.03, -0.1])
    ahead["p_holm"] = [0.002, 0.0001]
    said = findings.submitted(TABLE, ahead, "fbp", "test")
    assert "SVM, is ahead by 2.0 points (difference +2.0 [+1.0, +3.0], p = .002" in said.rival
    assert said.rival.endswith(": a significant difference.")
    assert said.others == "1 of the 2 other rows is significantly worse."


def test_hidden_test_labels_leave_the_validation_auc_and_one_model_nothing_to_compare():
    said = findings.submitted(TABLE, COMPARED[:0], "fbp", "val")
    assert said == ("Submitted: FBP, the best of 3 models by validation AUC (95.1).", "", "")


def test_ensembles_say_their_gain_with_its_standard_error():
    columns = ["ensemble", "best", "gain", "error", "kept"]
    rows = [("rank_average", "fbp", 0.004, 0.001, True), ("stacking", "fbp", 0.001, 0.002, False)]
    joined = pd.DataFrame(rows, columns=columns)
    kept, dropped = findings.ensembles(joined)
    assert "Rank average changes the validation AUC by +0.40 ± 0.10 points" in kept
    assert kept.endswith("FBP: more than one standard error, so it is kept.")
    assert dropped.endswith("not more than one standard error, so it is dropped.")
    assert findings.ensembles(joined[:0]) == []


def test_kinds_are_compared_with_a_standard_error():
    columns = ["model", "group", "kind", "auc", "low", "high"]
    rows = [
        ("fbp", "cell_type", "mono", 0.97, 0.95, 0.99),
        ("fbp", "cell_type", "poly", 0.9, 0.86, 0.94),
    ]
    table = pd.DataFrame(rows, columns=columns)
    (said,) = findings.kinds(table, "fbp", "test")
    assert said == (
        "FBP has test AUC 97.0 on mono and 90.0 on poly parts, 7.0 ± 2.3 points less (p = .002)."
    )
    (said,) = findings.kinds(table.assign(auc=1.0, low=1.0, high=1.0), "fbp", "test")
    assert said == "FBP has test AUC 100.0 on all 2 kinds of parts (mono, poly)."
    assert findings.kinds(table[:1], "fbp", "test") == []
    assert findings.kinds(table, "svm", "test") == []


def test_groups_name_the_mean_inside_and_the_lowest():
    table = pd.DataFrame(
        {"group": ["a", "b", "c"], "auc": [0.9, 0.7, np.nan], "low": 0.6, "high": 0.94}
    )
    said = findings.groups(table, TABLE.iloc[0], "test")
    assert said == (
        "Inside the 2 groups with at least two parts of each class the AUC is 90.0 [85.0, 95.0] on "
        "average, 95.0 [93.0, 97.0] over all parts together; the lowest is 70.0 [60.0, 94.0] in b."
    )
    wide = findings.groups(table.assign(high=0.99), TABLE.iloc[0], "test")
    assert wide.endswith("over all parts together.")
    assert findings.groups(table[:0], TABLE.iloc[0], "test") == ""


def test_mistakes_are_counted_with_exact_intervals_and_doubts_against_the_rest():
    found = pd.DataFrame({"id": ["1", "2", "3"], "kind": ["escape", "escape", "false alarm"]})
    said = findings.mistakes(found, n_good=50, n_bad=20)
    assert said == (
        "2 of 20 bad parts are called good (10.0 % [1.2, 31.7]) and 1 of 50 good parts are called "
        "bad (2.0 % [0.1, 10.6])."
    )
    judged = pd.DataFrame({"id": [str(i) for i in range(70)], "probability": 0.0})
    judged.loc[:4, "probability"] = 1 / 3
    said = findings.doubted_mistakes(found, judged)
    assert said.startswith("The annotators doubted 100.0 % [29.2, 100.0] of these 3 parts")
    assert "3.0 % [0.4, 10.4] of the parts that are called rightly" in said
    assert findings.doubted_mistakes(found, judged[["id"]]) == ""


@pytest.mark.parametrize(("wrong", "word"), [([8, 0, 0, 0], "gather"), ([2, 2, 2, 2], "spread")])
def test_mistakes_that_gather_in_a_group_are_told_from_those_that_are_spread(wrong, word):
    table = pd.DataFrame({"group": list("abcd"), "n_good": 10, "n_bad": 10, "false_alarms": 0})
    said = findings.mistakes_by_group(table.assign(escapes=wrong), "fbp")
    assert word in said and "(p " in said
    assert (": 8 of 8 are in a (8 of 20)." in said) == (word == "gather")
    assert findings.mistakes_by_group(table.assign(escapes=0), "fbp") == ""


def test_more_training_images_help_or_harm_only_if_the_last_gain_is_not_chance():
    table = pd.DataFrame({"images": [500, 1000, 2000], "auc": [0.85, 0.88, 0.9]})
    table = table.assign(gain=[np.nan, 0.03, 0.02], gain_low=[np.nan, 0.02, 0.01], gain_high=0.04)
    said = findings.training_size(table, "test")
    assert (
        "85.0 with 500, 88.0 with 1,000, 90.0 with 2,000 images of training and validation" in said
    )
    assert said.endswith("+2.0 [+1.0, +4.0] points, so more images would probably help further.")
    chance = table.assign(gain_low=-0.01)
    assert findings.training_size(chance, "test").endswith("points, which may be chance.")
    worse = findings.training_size(table.assign(gain_low=-0.05, gain_high=-0.01), "test")
    assert worse.endswith("-1.0] points, so the added images made it worse.")
    assert findings.training_size(table[:0], "test") == ""


def test_two_splits_say_what_the_submitted_model_and_all_others_lose():
    row = {"groups_auc": 0.87, "groups_auc_low": 0.8, "groups_auc_high": 0.92}
    row |= {"random_val_auc": 0.96, "groups_val_auc": 0.88}
    row |= {"random_auc": 0.95, "random_auc_low": 0.93, "random_auc_high": 0.97}
    row |= {"difference": -0.08, "difference_low": -0.12, "difference_high": -0.03}
    other = row | {"model": "svm", "difference": -0.02, "difference_high": 0.01}
    table = pd.DataFrame([row | {"model": "fbp"}, other]).assign(p_value=[0.001, 0.4])
    every, own = findings.two_splits(table, "fbp")
    assert own == (
        "FBP has test AUC 95.0 [93.0, 97.0] on the random split and 87.0 [80.0, 92.0] on unseen "
        "groups: a difference of -8.0 [-12.0, -3.0] points; its validation AUC was 96.0 and 88.0."
    )
    assert every == (
        "All 2 models have a lower test AUC on unseen groups, by 2.0 to 8.0 points, and by Holm's "
        "correction 1 of these losses is significant."
    )
    fallback = findings.two_splits(table.assign(random_val_auc=[0.9, 0.91]), "stacking")[1]
    assert fallback.startswith(
        "SVM (the best single model by the mean of both validation AUCs; Stacking is in one run "
        "alone) has"
    )
    unclear = findings.two_splits(table.assign(p_value=0.4, difference=[-0.08, 0.01]), "fbp")[0]
    assert unclear.startswith("1 of 2 models has a lower test AUC on unseen groups, by 8.0 points")
    assert "no single loss is significant" in unclear
    assert findings.two_splits(table[:1], "fbp") == [own]
    assert headline(own).endswith(" and 87.0 [80.0, 92.0] on unseen groups")  # the picture's title
    better = findings.two_splits(table.assign(difference=0.01), "fbp")[0]
    assert better == "None of 2 models has a lower test AUC on unseen groups."


def test_calibration_names_both_brier_scores_and_the_base_rate():
    table = pd.DataFrame(
        {
            "model": ["fbp", "base rate"],
            "temperature": [1.3, np.nan],
            "brier": [0.08, 0.21],
            "brier_low": [0.07, np.nan],
            "brier_high": [0.09, np.nan],
            "brier_scaled": [0.075, np.nan],
        }
    )
    assert findings.calibration(table, "fbp") == (
        "The scores of FBP have a Brier score of 0.080 [0.070, 0.090], against 0.210 for the base "
        "rate alone, and a temperature of 1.30 (the model was too sure) changes it to 0.075, "
        "inside this interval."
    )
    said = findings.calibration(table.assign(temperature=0.98), "fbp")
    assert said.endswith(", and a temperature of 0.98 leaves the scores as they are.")


def _points(**changed):
    row = {"model": "fbp", "rule": "expected", "asked": 0.01, "promised": 0.0097, "is_kept": True}
    row |= {"val_bad": 600, "test_escapes": 2, "test_bad": 200}
    for name, value in (("passed", 0.6), ("reviewed", 0.1), ("overkill_rate", 0.12)):
        row |= {f"test_{name}": value, f"test_{name}_low": value - 0.02}
        row |= {f"test_{name}_high": value + 0.02}
    row |= {"test_escape_rate": 0.01, "test_escape_rate_low": 0.001, "test_escape_rate_high": 0.03}
    sure = row | {"rule": "confident", "test_passed": 0.5}
    return pd.DataFrame([row | changed, sure | changed | {"rule": "confident"}])


def test_the_promise_says_passes_second_looks_overkill_and_what_happened_on_test():
    said = findings.promise(_points(), "fbp", "test")
    assert said == [
        "FBP promises 0.97 % escapes, and 2 of 200 bad parts on test escape, 1.0 % [0.1, 3.0], not "
        "significantly more; judged on test, it passes 60.0 % [58.0, 62.0] of the line's parts "
        "automatically, leaves 10.0 % [8.0, 12.0] for a second look and rejects 12.0 % "
        "[10.0, 14.0] of the good parts (overkill).",
        "To promise 1 % at 95 % confidence, 50.0 % [58.0, 62.0] of the line's parts pass and "
        "12.0 % [10.0, 14.0] of the good parts are rejected.",
    ]
    assert headline(said[0]).endswith("escape, 1.0 % [0.1, 3.0], not significantly more")
    many = {"test_escapes": 12, "test_escape_rate": 0.06, "test_escape_rate_low": 0.03}
    broken = findings.promise(_points(**many), "fbp", "test")
    text = "[3.0, 3.0], significantly more; a promise holds on average over validation sets; judged"
    assert text in broken[0]


def test_the_cheapest_thresholds_are_set_against_one_answer_for_all_parts():
    points = _points(rule="cheapest", test_cost=412.3, val_cost=390.0)[:1]
    line = Line(0.3, escape_cost=20, false_alarm_cost=2)
    assert findings.costs(points, "fbp", "test", line) == (
        "If an escape costs 20, a rejected good part 2 and a look 0, the thresholds that are "
        "cheapest on validation cost 412.3 per 1,000 parts of the line, judged on test (390.0 on "
        "validation; 10 % of them are looked at again); letting all parts pass would cost 6,000.0, "
        "rejecting all would cost 1,400.0."
    )
    said = findings.costs(points, "fbp", "test", line._replace(review_cost=0.5))
    assert said.endswith("rejecting all would cost 1,400.0, looking at all again would cost 500.0.")
    assert findings.costs(points, "fbp", "test", Line(0.3)) == ""
    both = pd.concat([points, _points(test_cost=399.9)[:1]])
    assert findings.costs(both, "fbp", "test", line).endswith(
        'There the thresholds for "escapes <= 1 %, expected" cost less, 399.9.'
    )


def test_a_promise_that_cannot_be_made_is_said():
    said = findings.promise(_points(is_kept=False, promised=1 / 96, val_bad=95), "fbp", "test")
    assert said[0].startswith("FBP promises 1.1 % escapes, and 2 of 200")
    assert said[1] == "1 % was asked: 95 bad parts held out are too few for it."
    assert len(said) == 2


def test_suspect_labels_are_set_against_the_base_rate_of_doubts():
    audited = pd.DataFrame({"is_suspect": [True] * 10 + [False] * 90, "probability": 0.0})
    audited.loc[[0, 1, 2, 3, 50], "probability"] = [1 / 3, 2 / 3, 1 / 3, 2 / 3, 1 / 3]
    assert findings.label_audit(audited) == (
        "10 of 100 labels are suspect (10.0 %); the annotators doubted 40.0 % [12.2, 73.8] of "
        "them, against 5.0 % [1.6, 11.3] of all labels."
    )
    by_group = findings.label_audit(audited.assign(group=np.arange(100) // 4))  # four doubts in one
    assert "40.0 % [0.1, 99.8] of them" in by_group and "5.0 % [0.9, 23.7] of all" in by_group
    for nothing in (audited.drop(columns="probability"), audited.assign(probability=np.nan)):
        assert findings.label_audit(nothing) == "10 of 100 labels are suspect (10.0 %)."
    none = findings.label_audit(audited.assign(is_suspect=False))
    assert none == "0 of 100 labels are suspect (0.0 %)."


def test_mappings_name_their_extremes():
    mapped = pd.DataFrame({"mapping": ["a", "b"], "accuracy": [0.84, 0.93]})
    assert "84.0 % (a) to 93.0 % (b)" in findings.label_mappings(mapped)
