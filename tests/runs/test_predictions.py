"""Predictions files are read back as they were written, or refused with file, line and way out."""

import numpy as np
import pandas as pd
import pytest

from helpers.core import files
from helpers.runs import predictions
from helpers.runs.members import Member
from tests import planted


@pytest.fixture
def run(home):
    run_paths = planted.make_run(n=40)
    planted.plant(run_paths, "svm", 1.0, 0)
    planted.plant(run_paths, "fbp", 1.0, 7, 3)
    return run_paths


def _refusal(run_paths, name, damage):
    path = run_paths.predictions(name)
    files.save_csv(path, damage(files.load_csv(path, ("id",))))
    with pytest.raises(files.ArtifactError) as error:
        predictions.read_all_predictions(run_paths)
    assert str(error.value).startswith(str(path))
    return str(error.value)


def test_the_scores_of_several_seeds_are_read_by_seed_and_averaged(run):
    split = predictions.read_split(run)
    model = predictions.read_predictions(run.predictions("fbp"), split)
    assert [one.member for one in model.members] == [Member(3), Member(7)]
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


def test_one_seed_is_written_and_read_as_a_model_without_seeds(run):
    split = predictions.read_split(run)
    scores = np.linspace(0, 1, len(split))
    predictions.save_predictions(run.predictions("cnn"), split, scores)
    plain = run.predictions("cnn").read_bytes()
    assert plain.startswith(b"id,split,defect_score\n")
    predictions.save_predictions(run.predictions("cnn"), split, {Member(5): scores})
    assert run.predictions("cnn").read_bytes() == plain
    model = predictions.read_predictions(run.predictions("cnn"), split)
    assert (model.members, model.member, model.title) == ((), None, "two-layer CNN")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.assign(defect_score=f.defect_score + 1), ", line 2: defect_score 1."),
        (lambda f: pd.concat([f, f.tail(1)]), ", line 82: id '0119' occurs twice; keep one row"),
        (
            lambda f: f.iloc[:-1],
            " lacks 1 test id(s), e.g. '0119'; write a row for each validation and test image",
        ),
        (
            lambda f: f.assign(id=f.id.where(f.id != "0119", "zzz")),
            ", line 81: 'zzz' is not a test id of this split; make the predictions again",
        ),
        (lambda f: f.assign(id=f.id.where(f.id != "0119")), ", line 81: the id is missing; write"),
        (lambda f: f.drop(columns="split"), " lacks the column(s) split"),
    ],
)
def test_a_predictions_file_that_does_not_fit_is_refused_with_its_name(run, damage, message):
    assert message in _refusal(run, "svm", damage)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.iloc[:-1], " lacks 1 test id(s) of seed 3, e.g. '0119'"),
        (lambda f: pd.concat([f, f.tail(1)]), ", line 162: id '0119' occurs twice; keep one row"),
        (lambda f: f.assign(seed=f.seed.replace(3, 0.5)), ", line 82: the seed is not a whole"),
        (lambda f: f.assign(seed=f.seed.replace(3, -1)), ", line 82: the seed is not a whole"),
        (lambda f: f.assign(seed=f.seed.replace(3, np.nan)), ", line 82: the seed is not a whole"),
    ],
)
def test_every_seed_must_have_every_image_once(run, damage, message):
    assert message in _refusal(run, "fbp", damage)


def test_the_baselines_name_is_refused_for_a_predictions_file(run):
    planted.plant(run, "majority", 1.0, 9)
    with pytest.raises(files.ArtifactError, match="give the file another name"):
        predictions.read_all_predictions(run)


def test_hidden_test_labels_leave_validation_to_judge_on(run):
    planted.hide_test_labels(run)
    model = predictions.read_all_predictions(run)["fbp"]
    assert model.judged_on == "val" and model.members[0].judged_on == "val"
    assert len(model.labels_scores()[0]) == 40 and len(model.labels_scores("test")[0]) == 0


@pytest.mark.parametrize("label", ["bad", "0.5", "2", "-"])
def test_a_label_of_the_split_other_than_0_and_1_is_named_with_its_line(run, label):
    frame = files.load_csv(run.split_csv, ("id",), text=["label"])
    frame.loc[3, "label"] = label
    files.save_csv(run.split_csv, frame)
    message = rf"split\.csv, line 5: label '{label}' is not 0, 1 or empty; run notebook 01"
    with pytest.raises(files.ArtifactError, match=message):
        predictions.read_split(run)
