"""The sentences of notebooks 02 and 03, on models and tables whose finding was planted."""

import numpy as np
import pandas as pd
import pytest

from helpers.results import comparison, findings, results_table, two_splits
from helpers.runs.run_models import read_all_predictions
from tests import planted


@pytest.fixture
def run(home):
    run_paths = planted.make_run()
    for seed, (name, quality) in enumerate(
        [("lda", 1.0), ("svm", 2.5), ("lda_on_fbp", 3.5), ("svm_on_fbp", 2.5), ("fbp", 6)]
    ):
        planted.plant(run_paths, name, quality, seed)
    return run_paths


def _read(run_paths):
    return results_table.results_table(run_paths), read_all_predictions(run_paths)


def test_the_best_classical_model_is_the_best_on_validation_and_its_lead_is_tested(run):
    table, scored = _read(run)
    row = table.set_index("model").loc["svm"]
    text = findings.classical(table, scored)
    assert text.startswith(
        "SVM has the best validation AUC of the classical models, and is clearly"
    )
    assert " ahead of LDA: 9" in text
    assert f": {100 * row.val_auc:.1f} on" in text and f" {100 * row.test_auc:.1f} [" in text
    assert "; the difference on validation is +" in text and text.endswith("points (p < .001).")
    planted.plant(run, "lda", 2.5, 9)
    assert "but is not clearly ahead of" in findings.classical(*_read(run))
    assert findings.classical(table[table.model == "fbp"], scored) == ""
    alone = findings.classical(table[table.model == "svm"], scored)
    assert "ahead" not in alone and alone.endswith(" on test.")


def test_the_auc_within_groups_is_said_beside_that_over_all_images():
    columns = [
        "model",
        "test_auc",
        "test_within_auc",
        "test_within_auc_low",
        "test_within_auc_high",
    ]
    rows = [("fbp", 0.94, 0.87, 0.8, 0.92), ("ll", 0.9, 0.78, 0.7, 0.85), ("cnn", 0.8, 0.9, 0.8, 1)]
    table = pd.DataFrame(rows, columns=columns)
    text = findings.within_groups(table, ["ll", "fbp"])
    assert text.startswith("Test AUC is lower inside the groups, where ")
    assert text.endswith(
        "LL 78.0 [70.0, 85.0] (90.0 over all images), FBP 87.0 [80.0, 92.0] (94.0 over all images)."
    )
    assert findings.within_groups(table, ["cnn"]).startswith("Test AUC inside the groups: ")
    assert findings.within_groups(table, ["svm"]) == ""
    assert findings.within_groups(table[["model", "test_auc"]], ["fbp"]) == ""


def test_the_best_of_all_models_may_be_the_submitted_one(run):
    table, _ = _read(run)
    assert findings.best(table, "is submitted").startswith("FBP is submitted: 100.0")


def test_a_gain_has_its_interval_and_p_value_and_a_chance_difference_is_not_called_one(run):
    _, scored = _read(run)
    text = findings.gain(scored, "fbp", "lda", "Fine-tuning", "the probe")
    assert text.startswith("Fine-tuning gains ") and "test AUC over the probe: 100.0" in text
    assert "p < .001)" in text and "(difference +" in text
    assert findings.gain(scored, "lda", "fbp").startswith("LDA is ")
    assert " points of test AUC behind FBP: " in findings.gain(scored, "lda", "fbp")
    same = findings.gain(scored, "svm", "svm_on_fbp")
    assert same.startswith("SVM is not shown to differ in test AUC from SVM on FBP features: ")
    assert findings.gain(scored, "fbp", "ll") == ""


def test_hidden_test_labels_leave_validation_to_be_told(run):
    planted.hide_test_labels(run)
    table, scored = _read(run)
    assert findings.classical(table, scored).count("test") == 0
    assert "points of validation AUC" in findings.gain(scored, "fbp", "lda")


def test_finetuned_features_help_those_that_gain_significantly(run):
    _, scored = _read(run)
    text = findings.finetuned_features(scored)
    found = comparison.paired(scored["lda_on_fbp"], scored["lda"])[0]
    difference, low, high = (f"{100 * value:+.1f}" for value in found[:3])
    assert text.startswith(
        f"Fine-tuned features help LDA: {difference} [{low}, {high}] over LDA (p < .001), +"
    )
    swapped = scored | {"lda": scored["lda_on_fbp"], "lda_on_fbp": scored["lda"]}
    assert findings.finetuned_features(swapped).startswith("Fine-tuned features harm LDA: -")
    twice = scored | {"lda": scored["svm"], "lda_on_fbp": scored["svm_on_fbp"]}
    text = findings.finetuned_features(twice)  # p = .69 of one alone
    assert text.startswith("Fine-tuned features are not shown to help a classical model: +")
    assert text.count("(p = 1.000)") == 2
    assert findings.finetuned_features({"fbp": scored["fbp"]}) == ""


def _curves(model, aucs, fold=None):
    rows = {"model": model, "seed": 0, "fold": fold, "epoch": np.arange(len(aucs)) + 1}
    return pd.DataFrame(rows | {"val_auc": aucs})


def test_a_training_improves_at_the_end_if_its_gain_is_twice_its_standard_error():
    rising = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94]
    flat = [0.5, 0.7, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]
    folds = [_curves("fbp", np.array(rising) + 0.01 * k, k) for k in range(5)]
    folds += [_curves("ll", np.array([*flat[:-1], 0.8 + (-1) ** k * 0.01]), k) for k in range(5)]
    text = findings.last_epochs(pd.concat([*folds, _curves("cnn", flat)]))
    assert text.startswith("FBP still improved at the end: FBP +4.0 ± 0.0, LL +0.2 ± 0.5 points of")
    assert text.endswith("; on validation the best epochs are Two-layer CNN 3 of 8.")
    assert findings.last_epochs(pd.concat(folds[5:])).startswith("No training is shown to improve")
    both = findings.last_epochs(pd.concat([*folds[5:], _curves("cnn", rising)]))
    assert both.startswith("Two-layer CNN was best at its last epoch, so more epochs may help: LL ")
    single = findings.last_epochs(pd.concat([_curves("cnn", flat), _curves("fbp", rising)]))
    assert single == (
        "FBP was best at its last epoch, so more epochs may help: on validation the best epochs "
        "are Two-layer CNN 3 of 8, FBP 8 of 8."
    )
    assert findings.last_epochs(_curves("ll", flat)).startswith("Every training was best before")
    said = findings.last_epochs(_curves("pdarts", flat), training="training of a cell")
    assert said.startswith("Every training of a cell was best before its last epoch: on validation")
    assert findings.last_epochs(_curves("cnn", [0.5])) == ""


def _repeated(groups, within=0.75):
    rows = [("random", k, auc, within) for k, auc in enumerate([0.90, 0.91, 0.92, 0.91, 0.90])]
    rows += [("groups", k, auc, within - 0.02) for k, auc in enumerate(groups)]
    table = pd.DataFrame(rows, columns=["split", "repetition", "auc", "within_auc"])
    return table.assign(model="LDA", n_groups=10)


def test_the_cost_of_unseen_groups_has_its_standard_error_and_may_be_unclear():
    text = findings.unseen_groups(_repeated([0.80, 0.81, 0.82, 0.81, 0.80]))
    assert text.startswith("Groups that no training has seen cost AUC: LDA -10.0 ± 0.9 points")
    assert "5 splits of each kind" in text
    assert "Inside the groups the difference of LDA is -2.0 ± 0.0; there it reaches 75.0 ±" in text
    assert "on random splits, and 90.8 ± 0.8 over all groups together" in text
    unclear = findings.unseen_groups(_repeated([0.80, 0.99, 0.82, 0.99, 0.80], np.nan))
    assert "is not clear from so few splits: LDA -2.8" in unclear and "Inside" not in unclear
    assert findings.unseen_groups(pd.DataFrame()) == ""


def test_kinds_of_split_that_spread_differently_need_a_larger_difference():
    table = _repeated([0.76, 0.79, 0.82, 0.85, 0.88])
    row = two_splits.repeated_differences(table).iloc[0]
    assert 2.31 < -row.difference / row.error < 2.7  # t with 8 and with about 4 degrees of freedom
    assert findings.unseen_groups(table).startswith("The cost of unseen groups is not clear")
