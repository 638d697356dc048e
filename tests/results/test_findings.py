"""Sentences say what planted scores and tables hold, and nothing if there is nothing to say."""

import numpy as np
import pandas as pd
import pytest

from helpers.datasets.split_file import read_split
from helpers.models.record import Model
from helpers.results import comparison, findings, results_table
from helpers.runs.scores import read_models
from tests import planted

LDA_ON_FBP, SVM_ON_FBP = (Model(base, features="fbp") for base in ("lda", "svm"))


@pytest.fixture
def run(home):
    return planted.run_of({"lda": 1.0, "svm": 2.5, LDA_ON_FBP: 3.5, SVM_ON_FBP: 2.5, "fbp": 6})


@pytest.fixture
def scored(run):
    return read_models(run)


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
    hidden = read_models(run)
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
