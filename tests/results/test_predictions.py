"""Predictions files are read back as they were written, or refused with file, line and way out."""

import numpy as np
import pandas as pd
import pytest

from helpers.core import files
from helpers.core.members import Member
from helpers.datasets.split_file import read_split
from helpers.results import predictions
from helpers.runs.record import read_models
from tests import planted


@pytest.fixture
def run(home):
    run_paths = planted.make_run(n=40)
    planted.plant(run_paths, "svm", 1.0, 0)
    planted.plant(run_paths, "fbp", 1.0, 7, 3)
    return run_paths


def test_the_scores_of_several_seeds_are_read_by_seed_and_averaged(run):
    split = read_split(run.split_csv)
    model = predictions.read_predictions(run.predictions("fbp"), split)
    assert [one.model.members for one in model.members] == [(Member(3),), (Member(7),)]
    assert model.title == "FBP, 2 seeds averaged"
    frame = pd.read_csv(run.predictions("fbp"), dtype={"id": str})
    assert frame.columns.tolist() == ["id", "split", "defect_score", "seed"] and len(frame) == 160
    for side in ("val", "test"):
        rows = frame[frame.split == side]
        mean, three = rows.groupby("id").defect_score.mean(), rows[rows.seed == 3]
        read, own = getattr(model, side), getattr(model.members[0], side)
        assert read.id.tolist() == split.id[split.split == side].tolist()
        np.testing.assert_allclose(read.set_index("id").defect_score, mean[read.id], rtol=1e-12)
        assert own.defect_score.tolist() == three.defect_score.tolist()
    files.save_csv(run.predictions("fbp"), frame.sample(frac=1, random_state=0))
    again = predictions.read_predictions(run.predictions("fbp"), split)
    pd.testing.assert_frame_equal(again.test, model.test)  # rows in another order
    alone = predictions.read_predictions(run.predictions("svm"), split)  # of one training
    assert (alone.members, alone.model.members, alone.title) == ((), (), "SVM")
    assert run.predictions("svm").read_bytes().startswith(b"id,split,defect_score\n")


@pytest.fixture
def folded(run):
    """A cross-fitted FBP, and an SVM that was trained once, on a split with four folds."""
    planted.add_folds(run, 4)
    planted.plant(run, "fbp", 1.0, 7)
    return run


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("svm", lambda f: f.assign(defect_score=f.defect_score + 1), ", line 2: defect_score 1."),
        ("svm", lambda f: pd.concat([f, f.tail(1)]), ", line 82: id '0119' occurs twice"),
        ("svm", lambda f: f.iloc[:-1], " lacks 1 id(s), e.g. '0119' (test)"),
        ("svm", lambda f: f.assign(id=f.id.replace("0119", "zzz")), ", line 81: 'zzz' is not a"),
        ("seeds", lambda f: f.iloc[:-1], " lacks 1 id(s), e.g. '0119' (test, seed 3)"),
        ("seeds", lambda f: f.assign(seed=f.seed.replace(3, 0.5)), ", line 82: the seed is not a"),
        # a score by a training that has seen the image
        ("fbp", lambda f: f.assign(fold=f.fold.replace({1: 2, 2: 1})), "is not a val id of fold 2"),
        ("fbp", lambda f: f[f.fold != 3], " (val, fold 3)"),
        ("fbp", lambda f: f.assign(fold=f.fold.replace(3, 9)), "id of fold 9; make the"),
        ("fbp", lambda f: f.drop(columns="fold"), "occurs twice; keep one row for each"),
        ("majority", lambda f: f, "give the file another name"),
    ],
)
def test_a_block_must_hold_exactly_the_images_that_its_training_has_not_seen(
    folded, name, damage, message
):
    planted.plant(folded, "seeds", 1.0, 7, 3, once=True)
    planted.plant(folded, "majority", 1.0, 9)
    path = folded.predictions(name)
    files.save_csv(path, damage(files.load_csv(path, ("id",))))
    with pytest.raises(files.ArtifactError) as error:
        predictions.read_predictions(path, read_split(folded.split_csv))
    assert str(error.value).startswith(str(path)) and message in str(error.value)


@pytest.mark.parametrize(("column", "value"), [("label", "0.5"), ("fold", "1.5")])
def test_a_label_or_a_fold_of_the_split_that_is_none_is_named(folded, column, value):
    message = f", line 5: label '{value}' is not 0, 1" if column == "label" else " is damaged"
    frame = files.load_csv(folded.split_csv, ("id",), text=["label", "fold"])
    frame.loc[3, column] = value
    files.save_csv(folded.split_csv, frame)
    with pytest.raises(files.ArtifactError, match=rf"split\.csv{message}"):
        read_split(folded.split_csv)


def test_each_image_is_scored_by_the_trainings_of_other_folds_and_in_use_by_those_without_fold_0(
    folded,
):
    planted.plant(folded, "fbp", 1.0, 7, 3)
    split = read_split(folded.split_csv)
    frame = pd.read_csv(folded.predictions("fbp"), dtype={"id": str})
    assert frame.columns.tolist() == ["id", "split", "defect_score", "seed", "fold"]
    model = predictions.read_predictions(folded.predictions("fbp"), split)
    assert model.title == "FBP, 2 seeds x 4 folds averaged" and len(model.members) == 8
    assert model.val.id.tolist() == split.id[split.split != "test"].tolist()
    for member in model.members:
        own = split.id[split.fold == member.model.members[0].fold]
        assert member.val.id.tolist() == own.tolist() and len(member.test) == 40
    deployed = model.deployed
    assert (deployed.title, deployed.calibration_fold) == ("FBP, 2 seeds averaged", 0)
    assert deployed.val.id.tolist() == split.id[split.fold == 0].tolist()
    for own, rows in ((model, frame), (deployed, frame[frame.fold == 0])):
        mean = rows.groupby("id").defect_score.mean()
        for side in (own.val, own.test):
            np.testing.assert_allclose(side.defect_score, mean[side.id], rtol=1e-12)
    assert deployed.deployed.model == deployed.model and len(deployed.members) == 2
    once = read_models(folded)["svm"]
    assert once.deployed is once and once.calibration_fold is None


def test_the_groups_of_a_split_come_with_labels_and_scores(folded):
    split = read_split(folded.split_csv)
    assert read_models(folded)["fbp"].groups("val") is None
    group = pd.Series(np.arange(len(split)) // 10).map("{:03d}".format)
    files.save_csv(folded.split_csv, split.assign(group=group.where(split.index > 0)))
    model = read_models(folded)["fbp"]
    assert model.groups("test").tolist() == group[split.split == "test"].tolist()
    assert len(model.groups("val")) == len(model.labels_scores("val")[0]) == 80
    assert pd.isna(model.groups("val")[0]) and model.groups("val")[1] == "000"
    assert model.groups().tolist() == model.groups("test").tolist()
