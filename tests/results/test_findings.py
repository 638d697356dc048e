"""Sentences say what planted scores and tables hold, and nothing if there is nothing to say."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from helpers.datasets.split_file import read_split
from helpers.models.record import Model
from helpers.results import comparison, decision, findings, results_table
from helpers.results.settings import DecisionSettings
from helpers.runs.memo import read_all_predictions
from tests import planted
from tests.results.test_decision import scored as toy

LDA_ON_FBP, SVM_ON_FBP = (Model(base, features="fbp") for base in ("lda", "svm"))


@pytest.fixture
def run(home):
    return planted.run_of({"lda": 1.0, "svm": 2.5, LDA_ON_FBP: 3.5, SVM_ON_FBP: 2.5, "fbp": 6})


@pytest.fixture
def scored(run):
    return read_all_predictions(run)


def test_the_best_model_is_named_with_its_aucs_and_how_many_it_is_the_best_of(run, scored):
    table = results_table.results_table(scored, read_split(run.split_csv))
    row = table.set_index("model").loc["fbp"]
    said = findings.best(table)
    assert said.startswith(f"FBP has the best validation AUC of 5 models: {100 * row.val_auc:.1f}")
    assert said.endswith(" on test.")
    folds = table.assign(judged_by="out-of-fold")
    assert "best out-of-fold AUC of 5 models" in findings.best(folds)


def test_a_gain_has_its_interval_and_p_value_and_a_chance_difference_is_not_called_one(run, scored):
    text = findings.gain(scored, "fbp", "lda", "Fine-tuning", "the probe")
    assert text.startswith("Fine-tuning gains ") and "over the probe: test AUC 100.0" in text
    assert " points behind FBP: " in findings.gain(scored, "lda", "fbp")
    aucs = [results_table.evaluate(scored[name], 0.5)["test_auc"] for name in ("svm", "svm_on_fbp")]
    verb = "does not clearly beat" if aucs[0] > aucs[1] else "is not clearly behind"
    assert f"{verb} SVM on FBP features: " in findings.gain(scored, "svm", "svm_on_fbp")
    assert findings.gain(scored, "fbp", "ll") == findings.gain(scored, "fbp", "fbp") == ""
    planted.hide_test_labels(run)
    hidden = read_all_predictions(run)
    assert "over LDA: validation AUC" in findings.gain(hidden, "fbp", "lda")
    table = results_table.results_table(hidden, read_split(run.split_csv))
    assert "test" not in findings.best(table)


def test_pairs_are_corrected_together_and_only_significant_ones_are_claimed(scored):
    verbs, rivals = ("help", "harm", "help nobody"), {"lda": "lda_on_fbp", "svm": "svm_on_fbp"}
    text = findings.pairs(scored, rivals, "Features", verbs)
    difference = comparison.paired(scored["lda_on_fbp"], scored["lda"])[0].difference
    assert text.startswith(f"Features help LDA: {100 * difference:+.1f} [")
    swapped = {"lda_on_fbp": "lda"}
    assert findings.pairs(scored, swapped, "Features", verbs).startswith("Features harm LDA on FBP")
    assert "help nobody" in findings.pairs(scored, {"svm": "svm_on_fbp"}, "Features", verbs)
    assert findings.pairs(scored, {"ll": "fbp"}, "Features", verbs) == ""


def test_the_next_model_is_named_with_what_is_significant(scored):
    compared = comparison.compare_with(scored, "fbp")
    said = findings.next_best(compared, "test")
    worse = int(((compared.p_holm < 0.05) & (compared.difference < 0)).sum())
    start = f"{worse} of 4 other models are significantly worse. The next best, "
    assert said.startswith(f"{start}LDA on FBP features, is too: -")
    unclear = findings.next_best(compared.assign(p_holm=0.2), "test")
    assert unclear.startswith("None of 4 other models is") and " is not: -" in unclear
    better = compared.assign(difference=0.1)
    assert " is significantly better: +" in findings.next_best(better, "test")
    references = compared.assign(p_holm=np.nan)
    assert findings.next_best(references, "test") == ""


def test_the_share_of_groups_and_brightness_in_the_best_auc_is_said_if_known():
    row = {"model": "fbp", "title": "FBP", "kind": "fine-tuned", "n_val": 30, "val_auc": 0.9}
    row |= {"test_auc": 0.915, "test_within_auc": 0.823, "judged_by": "test", "groups_are": "seen"}
    row |= {"test_within_auc_low": 0.733, "test_within_auc_high": 0.888}
    prior = row | {"model": "module_prior", "kind": "reference", "test_auc": 0.864}
    table = pd.DataFrame([row, prior, prior | {"model": "lr_on_brightness", "test_auc": 0.744}])
    assert findings.shares(table, "module") == (
        "FBP has AUC 91.5, the module alone, without a pixel, has 86.4 and brightness has 74.4; "
        "inside seen modules FBP has 82.3 [73.3, 88.8]."
    )
    without = table.drop(columns=["test_within_auc"])[[True, False, True]]
    assert findings.shares(without) == "FBP has AUC 91.5, brightness has 74.4."
    assert findings.shares(table[:1]) == ""


def test_mistakes_are_counted_with_intervals_by_groups_if_they_are_known():
    wrong = pd.DataFrame({"id": ["0", "30"], "kind": ["escape", "false alarm"]})
    judged = pd.DataFrame({"id": map(str, range(70)), "label": [1] * 20 + [0] * 50})
    said = findings.mistakes(wrong, judged)
    assert said == (
        "1 of 20 bad parts is called good (5.0 % [0.1, 24.9]) and 1 of 50 good parts is called "
        "bad (2.0 % [0.1, 10.6])."
    )
    few = findings.mistakes(wrong, judged.assign(group=np.arange(70) // 10))
    assert few.startswith("1 of 20 bad parts is called good (5.0 %; too few groups for an interval")
    many = findings.mistakes(wrong, judged.assign(group=np.arange(70) // 2))
    assert many.startswith("1 of 20 bad parts is called good (5.0 % [0.") and many != said


def test_a_promise_says_what_escaped_what_it_cost_and_what_leaves_the_line():
    def promise(scored):
        settings = DecisionSettings(max_escape_rate=0.1, review_share=0.3, review_cost=0)
        points = decision.operating_table({"m": scored}, settings, 0.05)
        return findings.promise(points, scored, 0.05)

    passed, leaving, looks = promise(toy())
    assert passed == (
        "m promises 9.1 % escapes on average; 1 of 2 bad test parts escaped (50.0 [1.3, 98.7] %). "
        "33.3 [0.8, 90.6] % of the good parts pass without a look, 33.3 % after one, 33.3 % are "
        "rejected."
    )
    ppm = 1e6 * 0.05 / 11 / (0.05 / 11 + 0.95 * 2 / 3)  # a promise of 1 / 11
    assert f"is bad: {round(ppm, -2):,.0f} ppm with 5 %, " in leaving
    assert looks.startswith("1 of 5 test parts are looked at again, and none of them is bad. On a")
    found = toy(test=([0, 0, 0, 1, 1], [0.1, 0.25, 0.6, 0.31, 0.9]))
    groups = found.test.assign(group=[*"abcde"])
    passed, _, looks = promise(dataclasses.replace(found, test=groups))
    assert "none of 2 bad test parts escaped (95 % interval to 84.2 % if parts are" in passed
    assert "to 84.2 % if only their 2 groups are). 66.7 [" in passed
    assert "1 of them is bad. If the person misses it, the escapes are 1 of 2. On" in looks


def test_one_part_that_sets_the_threshold_is_named_with_the_next_one():
    said = findings.one_part(toy(), 0.29)
    assert said == (
        "One part sets the threshold: 10, labelled bad, has the lowest score of the 10 bad ones "
        "held out; at the next one 66.7 % of the good parts would pass instead of 33.3 %, and 1 of "
        "2 bad parts would escape."
    )
    assert findings.one_part(toy(), 0.31) == ""  # a bad part is below
    assert findings.one_part(toy(), 0.34) == ""


def test_good_parts_alone_say_how_many_bad_ones_are_held_out_and_in_all_and_count_no_others():
    labels = [0] * 10 + [1] * 10
    apart = dataclasses.replace(toy(val=(labels, [0.1] * 20)), groups_apart=True)
    apart = dataclasses.replace(apart, val=apart.val.assign(group=np.arange(20) // 4))
    sides = ["train"] * 5 + ["val"] * 14 + ["excluded"]  # a bad part is left out
    split = pd.DataFrame({"label": labels, "split": sides})

    def said(scored, asked):
        point = decision.good_alone(scored, DecisionSettings(max_escape_rate=asked)).iloc[0]
        return " ".join(findings.good_alone(point, split))

    text = said(apart, 0.1)
    assert text.startswith("10 good parts, 9 bad ones: PatchCore alone. On average at most 9.1 %")
    assert "from 3 groups: nothing is promised for a new group." in text
    assert text.endswith("needs 9 different bad parts held out (CROSS_FIT=5: about 45 in all).")
    one = said(toy(val=(labels, [0.1] * 20)), 0.5)
    assert one.endswith("needs 1 different bad part held out (CROSS_FIT=5: about 10 in all).")
    assert "group" not in one
    assert said(apart, 0.0).endswith("no number of bad parts can promise 0 %.")


def test_a_promise_that_is_broken_on_test_is_named_whatever_model_made_it():
    settings = DecisionSettings(max_escape_rate=0.1)
    labels = [0] * 9 + [1] * 9
    tests = {name: (labels, [0.1] * 9 + [score] * 9) for name, score in (("m", 0.9), ("n", 0.2))}
    models = {name: toy(name, test=test) for name, test in tests.items()}
    points = decision.operating_table(models, settings, 0.3)
    said = findings.broken_promises(points)
    assert said.startswith("1 of 2 promises was broken on test: n (promised 9.1 %, escaped 100.0 [")
    assert findings.broken_promises(points[points.model == "m"]) == ""
    barely = {"promised": 0.01, "test_escapes": 4, "test_bad": 100, "test_escape_rate_low": 0.011}
    barely["val_bad"] = 9999  # a rate that is known: p = .018
    one = points[points.rule == "expected"].iloc[[0]].assign(**barely)
    assert findings.broken_promises(one).startswith("1 of 1 promise was broken")
    assert findings.broken_promises(one.assign(val_bad=99)) == ""  # k = 0: p = .06
    kept = [one.assign(test_escapes=0, test_escape_rate_low=0.0)]
    assert findings.broken_promises(pd.concat([one, *kept])) == ""  # by chance, among two
    assert findings.broken_promises(points.filter(regex="^(?!test)")) == ""


def test_the_check_without_a_test_set_says_whether_it_contradicts_the_promise():
    judged = pd.DataFrame({"escaped": np.arange(100) < 3, "group": None, "half": 1})

    def said(n, **others):  # by none of n bad parts
        return findings.checked(judged.assign(promised=1 / (n + 1), held_out=n, **others))

    assert said(49).startswith("The promise is not contradicted in a check")
    broken = said(499)
    assert broken.startswith("The promise was broken in a check: half of each fold promised 0.2 %")
    assert said(499, group=np.arange(100) // 3) != broken
    assert "not contradicted" in said(199)  # though a rate of .5 % would be: p = .014
    assert findings.checked(judged[:0]) == ""


def test_three_columns_say_what_a_model_loses_how_many_lose_and_what_groups_tell_alone():
    row = {"model": "fbp", "title": "FBP", "kind": "fine-tuned"}
    row |= {"seen_auc": 0.95, "unseen_auc": 0.88, "inside_auc": 0.86, "standard_error": 0.01}
    row |= {"difference": 0.07, "difference_low": 0.05, "difference_high": 0.09, "p_holm": 0.002}
    other = row | {"title": "SVM", "model": "svm", "difference": 0.02, "p_holm": 0.4}
    prior = row | {"title": "Prior", "model": "module_prior", "kind": "reference"}
    prior |= {"seen_auc": 0.84, "seen_auc_low": 0.8, "seen_auc_high": 0.88, "unseen_auc": 0.5}
    table = pd.DataFrame([row, other, prior])
    said = findings.three_columns(table, "fbp")
    assert said == [
        "FBP has AUC 95.0 on seen groups, 88.0 on unseen ones, and 86.0 inside these",
        "It loses 7.0 [5.0, 9.0] points (standard error 1.0, p = .002 by Holm) on unseen groups. "
        "Of 2 models 2 lose AUC, 1 significantly.",
        "Prior has AUC 84.0 [80.0, 88.0] on seen groups, 50.0 on unseen ones.",
    ]
    assert findings.three_columns(table, "stacking") == said  # in one run alone
    assert findings.three_columns(table[2:], "fbp") == said[2:]


def test_suspect_labels_are_set_against_the_base_rate_of_doubts():
    audited = pd.DataFrame({"is_suspect": [True] * 10 + [False] * 90, "probability": 0.0})
    audited.loc[[0, 1, 2, 3, 50], "probability"] = [1 / 3, 2 / 3, 1 / 3, 2 / 3, 1 / 3]
    assert findings.label_audit(audited) == (
        "10 of 100 labels are suspect (10.0 %); the annotators doubted 40.0 % [12.2, 73.8] of "
        "them, against 5.0 % of all labels."
    )
    grouped = findings.label_audit(audited.assign(group=np.arange(100) // 4))  # four in one group
    assert "doubted 4 of them: too few to say whether that differs from the 5.0 % of" in grouped
    assert findings.label_audit(audited.drop(columns="probability")).endswith("(10.0 %).")
