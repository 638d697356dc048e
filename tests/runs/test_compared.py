"""Two runs are compared if they differ in nothing but the kind of their folds."""

import numpy as np
import pytest

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.datasets.split_file import read_split
from helpers.results import out_of_fold
from helpers.runs.scores import out_of_fold_scores
from tests import planted


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
    found = out_of_fold_scores(run.paths, other)
    table = out_of_fold.three_columns(found).set_index("model")
    assert sorted(table.index) == ["fbp", "module_prior"] and table.difference["fbp"] > 0
    for kind, one in two_runs.items():
        assert found.folds[kind].tolist() == one.split.fold.tolist()
        mean = found.scores[kind]["fbp"][["seed0", "seed1"]].mean(axis=1)
        np.testing.assert_allclose(mean, one.models()["fbp"].val.defect_score)
    alone = out_of_fold_scores(run.paths)
    assert [*alone.scores] == [own] and alone.folds[other].isna().all()


def test_a_run_that_says_nothing_beside_this_one_is_refused(two_runs):
    random, path = two_runs["random"].paths, RunPaths("groups").split_csv
    planted.make_run(name="tested")
    for other, message in (
        ("nowhere", "'nowhere' has no split"),
        ("random", "SPLIT=groups"),
        ("tested", "'tested' has a test set or no folds.*TEST_FRACTION=0"),
    ):
        with pytest.raises(SettingsError, match=message):
            out_of_fold_scores(random, other)
    split = read_split(path)
    for changed in (split.assign(label=1 - split.label), split[1:]):
        files.save_csv(path, changed)
        planted.plant(RunPaths("groups"), "fbp", 1.0, 0)
        with pytest.raises(SettingsError, match="other images or labels"):
            out_of_fold_scores(random, "groups")


def test_runs_may_have_other_cells_but_not_other_trainings_of_the_same(two_runs):
    def note(run, backbone="resnet18", **settings):
        stages = {"05_genotype_retraining": {"settings": settings}}
        stages["03_finetuning"] = {"settings": {"seed": 3}, "backbone": backbone}
        files.save_json(run.paths.run_json, run.record | {"stages": stages})

    random, groups = two_runs["random"], two_runs["groups"]
    note(random, retrain_epochs=9, random_cells=1, halving_epochs=5)
    note(groups, retrain_epochs=9, random_cells=2, halving_epochs=0)
    out_of_fold_scores(random.paths, "groups")
    for changed, message in (
        ({"retrain_epochs": 9, "halving_epochs": 4}, r"05 HALVING_EPOCHS \(here 5, there 4\)"),
        ({"retrain_epochs": 12}, r"05 RETRAIN_EPOCHS \(here 9, there 12\)"),
        ({"backbone": "vgg11"}, r"03 BACKBONE \(here 'resnet18', there 'vgg11'\)"),
    ):
        note(groups, **changed)
        with pytest.raises(SettingsError, match=message):
            out_of_fold_scores(random.paths, "groups")


def test_runs_of_other_pixels_or_groups_are_refused(two_runs):
    random, groups = two_runs["random"], two_runs["groups"]
    same = {"digest": "d0", "group": random.split.group}
    for run in (random, groups):
        files.save_csv(run.paths.split_csv, run.split.assign(**same))
    out_of_fold_scores(random.paths, "groups")
    others = {"pixels": {"digest": "d1"}, "groups": {"group": "x" + same["group"]}}
    for words, changed in others.items():
        files.save_csv(groups.paths.split_csv, groups.split.assign(**same | changed))
        with pytest.raises(SettingsError, match=f"has other {words}"):
            out_of_fold_scores(random.paths, "groups")
