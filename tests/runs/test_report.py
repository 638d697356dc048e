"""The files behind the tables: models of a run and of another one, ensembles, submission, lists."""

import dataclasses
import errno
import os
from unittest.mock import Mock

import numpy as np
import pytest

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.datasets.split_file import read_split
from helpers.decisions import decision, label_audit
from helpers.decisions.settings import DecisionSettings
from helpers.models.record import Model
from helpers.results import out_of_fold, predictions, results_table
from helpers.results.settings import AnalysisSettings
from helpers.runs import memo, report, stages
from tests import planted


@pytest.fixture
def run(home):
    """Three models with independent errors: joining them is worth it."""
    return planted.decision_stage(planted.run_of({"svm": 1.5, "cnn": 1.4, "fbp": 1.3}))


def record(run, **changed):
    files.save_json(run.paths.run_json, stages.load_run(run.paths) | changed)


def test_a_notebook_run_again_shows_no_model_of_a_later_one_but_the_user_s_own(run):
    split = read_split(run.paths.split_csv)
    scores = predictions.predictions_frame(split, np.linspace(0, 1, len(split)))
    run.add_model(Model("darts_v2", number=4), scores, seconds=7.0, parameters=9)
    planted.plant(run.paths, "mine", 1.0, 5)
    early = planted.decision_stage(run.paths)
    early.name = "03_finetuning"
    table = results_table.results_table(early.models(), early.split)
    assert table.model.tolist() == ["svm", "cnn", "fbp", "mine", "majority"]
    table, scored = report.whole_results(run)
    assert scored["darts_v2_4"].model == Model("darts_v2", number=4)
    row = table.set_index("model").loc["darts_v2_4"]
    assert (row.title, row.seconds, row.parameters) == ("DARTS_V2 4", 7.0, 9)


def test_an_ensemble_is_a_model_that_is_not_joined_again_and_goes_if_it_is_not_kept_any_more(run):
    stacked = report.write_ensemble(run)
    table, _ = report.whole_results(run)
    assert stacked.kept and results_table.best_model(table) == "stacking"
    again = report.write_ensemble(run)
    assert again.predictions.equals(stacked.predictions)
    assert "stacking" not in again.joined
    planted.plant(run.paths, "perfect", np.inf, seed=8)
    assert not report.write_ensemble(run).kept
    assert not run.paths.predictions("stacking").exists()


def test_a_user_s_file_with_the_ensemble_s_name_is_refused_and_left_alone(run):
    planted.plant(run.paths, "stacking", 1, seed=4)
    before = run.paths.predictions("stacking").read_bytes()
    with pytest.raises(files.ArtifactError, match=r"stacking\.csv has the name of an ensemble"):
        report.write_ensemble(run)
    assert run.paths.predictions("stacking").read_bytes() == before


def test_shuffled_test_labels_change_no_threshold_temperature_ensemble_or_choice(run):
    def chosen():
        report.write_ensemble(run)
        own = planted.decision_stage(run.paths)  # which reads the split again
        table, scored = report.whole_results(own)
        points = decision.operating_table(scored, DecisionSettings(), 0.3)
        temperatures = decision.calibration_table(scored, 0.3).temperature
        choices = [*points.threshold, *temperatures, *table.threshold[:-1]]
        return choices, results_table.best_model(table), table.test_auc[0]

    *before, test_auc = chosen()
    split = read_split(run.paths.split_csv)
    test = split.split == "test"
    split.loc[test, "label"] = np.random.default_rng(5).permutation(split.label[test])
    files.save_csv(run.paths.split_csv, split)
    *after, shuffled = chosen()
    assert after == before
    assert shuffled < test_auc - 0.1  # the leak detector has teeth


@pytest.fixture
def two_runs(home):
    """Random folds and folds of groups of the same 600 images without a test set."""
    runs = {}
    for kind, separation in (("random", 3.0), ("groups", 1.0)):
        run_paths = planted.make_run_without_test(kind, kind == "groups")
        planted.plant(run_paths, "fbp", separation, 0, 1)
        runs[kind] = planted.decision_stage(run_paths)
    return runs


@pytest.mark.parametrize("own", ["random", "groups"])
def test_either_run_finds_the_other_and_knows_which_is_which(two_runs, own):
    run, other = two_runs[own], {"random": "groups", "groups": "random"}[own]
    planted.plant(run.paths, "mine", 1.0, 0, once=True)  # scores of one fold alone
    found = report.out_of_fold_scores(run.paths, other)
    table = out_of_fold.three_columns(found).set_index("model")
    assert sorted(table.index) == ["fbp", "module_prior"] and table.difference["fbp"] > 0
    for kind, one in two_runs.items():
        split, scored = read_split(one.paths.split_csv), memo.read_all_predictions(one.paths)["fbp"]
        assert found.folds[kind].tolist() == split.fold.tolist()
        mean = found.scores[kind]["fbp"][["seed0", "seed1"]].mean(axis=1)
        np.testing.assert_allclose(mean, scored.val.defect_score)
    alone = report.out_of_fold_scores(run.paths)
    assert [*alone.scores] == [own] and alone.folds[other].isna().all()


def test_a_run_that_says_nothing_beside_this_one_is_refused(two_runs):
    random, path = two_runs["random"].paths, RunPaths("groups").split_csv
    planted.make_run(name="tested")
    for other, message in (
        ("nowhere", "'nowhere' has no split"),
        ("random", "SPLIT=groups"),
        ("tested", "'tested' has a test set.*TEST_FRACTION=0"),
    ):
        with pytest.raises(SettingsError, match=message):
            report.refuse_unlike(random, other)
    split = read_split(path)
    for changed in (split.assign(label=1 - split.label), split[1:]):
        files.save_csv(path, changed)
        planted.plant(RunPaths("groups"), "fbp", 1.0, 0)
        with pytest.raises(SettingsError, match="other images or labels"):
            report.refuse_unlike(random, "groups")


def with_cells(run, **settings):
    entry = {"status": "done", "settings": {"retrain_epochs": 9} | settings}
    record(run, stages={"05_genotype_retraining": entry})


def test_runs_may_have_other_cells_but_not_other_trainings_of_the_same(two_runs):
    random, groups = two_runs["random"], two_runs["groups"]
    with_cells(random, random_cells=1, halving_epochs=5)
    with_cells(groups, random_cells=2, halving_epochs=0)
    report.refuse_unlike(random.paths, "groups")
    with_cells(groups, halving_epochs=4)
    with pytest.raises(SettingsError, match=r"05 HALVING_EPOCHS \(here 5, there 4\)"):
        report.refuse_unlike(random.paths, "groups")
    with_cells(groups, retrain_epochs=12)
    with pytest.raises(SettingsError, match=r"05 RETRAIN_EPOCHS \(here 9, there 12\)"):
        report.refuse_unlike(random.paths, "groups")


def recorded(run, backbone="resnet18", **columns):
    """The run with facts of its stages in run.json, and columns of its split."""
    stage = {"status": "done", "settings": {"seed": 3}, "backbone": backbone}
    record(run, stages={"02_features_baselines": stage, "03_finetuning": stage})
    files.save_csv(run.paths.split_csv, read_split(run.paths.split_csv).assign(**columns))


def test_runs_of_other_pixels_groups_or_backbones_are_refused(two_runs):
    random, groups = two_runs["random"], two_runs["groups"]
    recorded(random, digest="d0")
    recorded(groups, "efficientnet_lite0", digest="d0")
    with pytest.raises(SettingsError, match=r"03 BACKBONE \(here 'resnet18', there 'effic"):
        report.refuse_unlike(random.paths, "groups")
    recorded(groups)
    report.refuse_unlike(random.paths, "groups")
    stage = stages.load_run(groups.paths)["stages"]["03_finetuning"]
    record(groups, stages={"03_finetuning": stage | {"settings": {"seed": 4}}})
    with pytest.raises(SettingsError, match=r"03 SEED \(here 3, there 4\)"):
        report.refuse_unlike(random.paths, "groups")
    lots = read_split(groups.paths.split_csv).group
    for column, changed in (("pixels", {"digest": "d1"}), ("groups", {"group": "x" + lots})):
        recorded(groups, **{"digest": "d0", "group": lots} | changed)
        with pytest.raises(SettingsError, match=f"has other {column} than run random"):
            report.refuse_unlike(random.paths, "groups")


def test_a_submission_has_one_row_for_each_test_image_and_is_written_whole_or_not(run, monkeypatch):
    scored = memo.read_all_predictions(run.paths)
    path = run.write_submission(scored["fbp"])
    before, frame = path.read_bytes(), files.load_csv(path, ("id", "defect_score"))
    assert frame.id.tolist() == scored["fbp"].test.id.tolist()
    assert frame.defect_score.tolist() == scored["fbp"].test.defect_score.tolist()

    full_disk = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(files.ArtifactError, match=r"toy\.csv cannot be written"):
            run.write_submission(scored["svm"])
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]
    record(run, stages={"01_data_split": {"test_left_out": 20}})
    assert run.write_submission(scored["fbp"]).name == "toy.incomplete.csv"


def test_a_list_of_labels_that_a_person_may_have_edited_is_kept(run):
    scored = memo.read_all_predictions(run.paths)["fbp"]
    audited, path = label_audit.audit(scored, run.split), run.paths.labels_to_check
    assert f"LABELS_CSV={path}" in report.write_labels_to_check(run, audited)
    report.write_labels_to_check(run, audited[5:])
    edited = path.read_text().replace(",1,", ",0,", 1)
    assert f"\n{audited.id[0]}," not in edited  # the list of a run is written again
    path.write_text(edited)
    assert "is not as this run wrote it and is kept" in report.write_labels_to_check(run, audited)
    assert path.read_text() == edited
    path.unlink()
    record(run, stages={"01_data_split": {"settings": {"labels_csv": "lots.csv"}}})
    assert report.write_labels_to_check(run, audited).endswith("LABELS_CSV=lots.csv")


@pytest.fixture
def captioned(home):
    run_paths = planted.make_run()
    record = stages.load_run(run_paths)
    record["stages"]["01_data_split"] = {
        "label_mapping": "bad = broken",
        "images": {"test hidden": 200, "train 0": 1203, "train 1": 465, "val 0": 150, "val 1": 150},
        "settings": {"seed": 4, "split": "random", "split_csv": "", "cross_fit": 0},
        "caveats": "Drawn.",
    }
    stage = {"settings": {"seed": 2, "seeds": 3}, "backbone": "ResNet-18"}
    record["stages"]["03_finetuning"] = stage | {"device": "CPU, 2 threads", "precision": "bf16"}
    files.save_json(run_paths.run_json, record)
    return planted.decision_stage(run_paths)


def test_a_caption_says_what_a_table_rests_on(captioned, monkeypatch):
    said = report.caption(captioned)
    for fact in (
        *("Run toy;", "bad = broken", "1,203 good and 465 bad", "150 good and 150 bad"),
        *("test 200 unlabelled", "random split, seed 4", "ResNet-18", "seed 2, 3 in all"),
        *("CPU, 2 threads, bf16", "Drawn."),
    ):
        assert fact in said
    monkeypatch.setattr(report, "refuse_unlike", lambda paths, other: None)
    settings = AnalysisSettings(compare_run="other")
    compared = dataclasses.replace(captioned, settings=settings)
    assert report.caption(compared) == f"{said} Compared with run other."
    captioned.note(backbone="efficientnet_lite0")  # that of 02, while it runs
    assert "backbone EfficientNet-Lite0;" in report.caption(captioned)


def test_a_caption_says_how_the_images_were_split(captioned):
    record = stages.load_run(captioned.paths)
    for changed, words in (
        ({"split": "groups"}, "groups kept apart, seed 4"),
        ({"split_csv": "mine.csv"}, "split by SPLIT_CSV"),
    ):
        record["stages"]["01_data_split"]["settings"] |= changed
        files.save_json(captioned.paths.run_json, record)
        assert words in report.caption(captioned)
    del record["stages"]["01_data_split"]["images"]["test hidden"]
    files.save_json(captioned.paths.run_json, record)
    assert "images: training 1,203 good and 465 bad, valid" in report.caption(captioned)
    captioned.split["fold"] = captioned.split.index % 5
    said = report.caption(captioned)
    assert "images: 1,353 good and 615 bad, each judged out of fold" in said and "5 folds" in said
