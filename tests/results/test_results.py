"""The results table reads predictions files and nothing else."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.results import table as results_table
from helpers.results import table2
from helpers.runs import predictions, settings
from helpers.runs.names import order
from tests import planted


@pytest.fixture
def run(home) -> RunPaths:
    rng = np.random.default_rng(0)
    n = 120
    split = pd.DataFrame(
        {
            "id": [f"{i:04d}" for i in range(n)],
            "path": "x.png",
            "label": rng.integers(0, 2, n),
            "split": np.repeat(["train", "val", "test"], n // 3),
        }
    )
    run_paths = RunPaths("toy")
    files.save_csv(run_paths.split_csv, split)
    return run_paths


def _plant(run, name, quality, seed=1):
    split = predictions.read_split(run)
    noise = np.random.default_rng(seed).random(len(split))
    scores = quality * split.label.astype(float) + (1 - quality) * noise
    predictions.save_predictions(run.predictions(name), split, scores.to_numpy())


def test_the_numbers_of_a_row_are_those_of_scikit_learn(run):
    _plant(run, "svm", 0.3)
    row = results_table.results_table(run).iloc[0]
    frame = files.load_csv(run.predictions("svm"), ("id",)).merge(
        predictions.read_split(run)[["id", "label"]], on="id"
    )
    test = frame[frame.split == "test"]
    called = test.defect_score >= row.threshold
    assert row.test_auc == pytest.approx(roc_auc_score(test.label, test.defect_score))
    assert row.test_accuracy == pytest.approx(accuracy_score(test.label, called))
    assert row.test_f1 == pytest.approx(f1_score(test.label, called))
    assert row.test_auc_low <= row.test_auc <= row.test_auc_high


def test_rows_come_in_the_order_of_the_report_with_the_majority_last(run):
    for name in ("fbp", "my_model", "svm", "lda", "svm_finetuned"):
        _plant(run, name, 0.5)
    names = results_table.results_table(run).model.tolist()
    assert names == ["lda", "svm", "svm_finetuned", "fbp", "my_model", "majority"]


def test_the_paper_table_puts_finetuned_features_in_parentheses(run):
    _plant(run, "svm", 0.1)
    _plant(run, "svm_finetuned", 1.0)
    shape = table2.paper_table(results_table.results_table(run)).set_index("Model")
    assert shape.index.tolist() == ["SVM", "majority"]
    assert shape.loc["SVM", "Test AUC"].endswith("(100.0 [100.0, 100.0])")


def test_the_best_model_is_chosen_by_validation_and_not_by_test(run):
    split = predictions.read_split(run)
    label = split.label.astype(float).to_numpy()
    right_on_val = np.where(split.split == "val", label, 1 - label)
    predictions.save_predictions(run.predictions("a_val"), split, right_on_val)
    predictions.save_predictions(run.predictions("b_test"), split, 1 - right_on_val)
    assert results_table.best_model(results_table.results_table(run)) == "a_val"


def test_a_model_can_be_asked_for_by_name_and_a_wrong_name_is_refused(run):
    _plant(run, "svm", 0.1)
    _plant(run, "fbp", 0.9)
    table = results_table.results_table(run)
    assert results_table.chosen_model(table) == "fbp"
    assert results_table.chosen_model(table, "svm") == "svm"
    assert results_table.chosen_model(table, "FBP") == "fbp"
    with pytest.raises(settings.SettingsError, match="MODEL='lda' has no predictions: svm, fbp"):
        results_table.chosen_model(table, "lda")


def test_hidden_test_labels_leave_the_test_columns_out(run):
    split = predictions.read_split(run)
    split.loc[split.split == "test", "label"] = pd.NA
    files.save_csv(run.split_csv, split)
    predictions.save_predictions(run.predictions("svm"), split, np.linspace(0, 1, len(split)))
    table = results_table.results_table(run)
    assert "test_auc" not in table
    assert table2.paper_table(table)["Test AUC"].tolist() == ["-", "-"]


def test_the_rate_of_bad_parts_counts_those_that_a_balanced_validation_set_took_from_training():
    sides = ["train"] * 90 + ["val"] * 10 + ["test"] * 10
    labels = [1] * 20 + [0] * 70 + [1] * 5 + [0] * 5 + [1] * 10
    assert results_table.training_bad_rate(pd.DataFrame({"split": sides, "label": labels})) == 0.25


def test_of_several_seeds_the_first_is_chosen_or_not_as_its_file_is_what_would_be_submitted(run):
    for name, separation in (("net", 0.5), ("net_seed1", 9.0), ("net_seed2", 9.0), ("one", 1.5)):
        planted.plant(run, name, separation, seed=3)
    table = results_table.results_table(run)
    aucs = table.set_index("model").val_auc
    assert aucs["net"] > aucs["one"]  # by the mean
    assert results_table.best_model(table) == "one"


def test_the_submission_has_one_row_for_each_test_image(run):
    _plant(run, "svm", 0.3)
    path = results_table.write_submission(run, "svm")
    frame = pd.read_csv(path, dtype={"id": str})
    split = predictions.read_split(run)
    assert frame.columns.tolist() == ["id", "defect_score"]
    assert frame.id.tolist() == split.id[split.split == "test"].tolist()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.assign(defect_score=f.defect_score + 1), "line 2: defect_score"),
        (lambda f: pd.concat([f, f.tail(1)]), "line 82: id '0119' occurs twice"),
        (lambda f: f.iloc[:-1], "lacks 1 test id(s), e.g. '0119'"),
        (lambda f: f.assign(id=f.id.where(f.id != "0119", "zzz")), "line 81: 'zzz' is no test id"),
        (lambda f: f.drop(columns="split"), "lacks the column(s) split"),
    ],
)
def test_a_predictions_file_that_does_not_fit_is_refused_with_its_name(run, damage, message):
    _plant(run, "svm", 0.3)
    path = run.predictions("svm")
    files.save_csv(path, damage(files.load_csv(path, ("id",))))
    with pytest.raises(files.ArtifactError) as error:
        predictions.read_all_predictions(run)
    assert message in str(error.value) and "svm.csv" in str(error.value)


@pytest.mark.parametrize("label", ["bad", "0.5", "2", "-"])
def test_a_label_of_the_split_that_is_none_is_named_with_its_line(run, label):
    frame = files.load_csv(run.split_csv, ("id",), dtype=str)
    frame.loc[3, "label"] = label
    files.save_csv(run.split_csv, frame)
    with pytest.raises(files.ArtifactError, match=r"split\.csv, line 5, has a label other"):
        predictions.read_split(run)


def test_several_seeds_of_one_model_are_a_row_of_mean_and_standard_deviation(run):
    split = predictions.read_split(run)
    label = split.label.astype(float)
    for name, wrong in (("net", 0.0), ("net_seed1", 0.25), ("net_seed2", 0.5)):
        # all tied but a share of the good ones, which lie above: the AUC is 1 - that share
        good = (label == 0) & (split.split == "test")
        flipped = good & (good.groupby(good).cumcount() < round(wrong * good.sum()))
        scores = np.where(flipped, 0.9, 0.1 + 0.4 * label)
        predictions.save_predictions(run.predictions(name), split, scores)
    _plant(run, "alone_seed1", 0.5)  # no model of that name: a row of its own
    table = results_table.results_table(run).set_index("model")
    assert table.index.tolist() == ["alone_seed1", "net", "majority"]
    n = int((split[split.split == "test"].label == 0).sum())
    aucs = [1.0, 1 - round(0.25 * n) / n, 1 - round(0.5 * n) / n]
    assert table.loc["net"].test_auc == pytest.approx(np.mean(aucs))
    deviation = np.sqrt(sum((a - np.mean(aucs)) ** 2 for a in aucs) / 2)
    assert table.loc["net"].test_auc_std == pytest.approx(deviation)
    assert table.loc["net"].seeds == 3 and pd.isna(table.loc["alone_seed1"].seeds)


def test_seeds_and_averages_stand_beside_their_model_and_only_once_in_pictures():
    names = ["random_cell_0", "fbp_seed1", "fbp_averaged", "darts_searched_seed1", "fbp"]
    assert sorted(names, key=order)[:3] == ["fbp", "fbp_averaged", "fbp_seed1"]
    assert sorted(names, key=order)[3:] == ["darts_searched_seed1", "random_cell_0"]
    scored = dict.fromkeys(["fbp", "fbp_averaged", "fbp_seed1", "mine_seed1"])
    assert list(results_table.without_further_seeds(scored)) == [
        "fbp",
        "fbp_averaged",
        "mine_seed1",
    ]
