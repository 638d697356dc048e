"""Models of a run: what a notebook sees of them, and the submission."""

import errno
import os
from unittest.mock import Mock

import numpy as np
import pytest

from helpers.core import files
from helpers.models.record import Model
from helpers.results import predictions, results_table
from tests import planted


@pytest.fixture
def run(home):
    """Three models with independent errors."""
    return planted.decision_stage(planted.run_of({"svm": 1.5, "cnn": 1.4, "fbp": 1.3}))


@pytest.fixture
def scores(run):
    return predictions.predictions_frame(run.split, np.linspace(0, 1, len(run.split)))


def test_a_notebook_run_again_shows_no_model_of_a_later_one_but_the_user_s_own(run, scores):
    run.add(Model("darts_v2", number=4), scores, seconds=7.0, parameters=9)
    planted.plant(run.paths, "mine", 1.0, 5)
    early = planted.decision_stage(run.paths)
    early.name = "03_finetuning"
    assert [*early.models()] == ["svm", "cnn", "fbp", "mine"]
    scored = run.models()
    costs = {name: about.get("costs", {}) for name, about in run.record["models"].items()}
    table = results_table.results_table(scored, run.split)
    table = results_table.with_tests(table, scored, costs)
    assert scored["darts_v2_4"].model == Model("darts_v2", number=4)
    row = table.set_index("model").loc["darts_v2_4"]
    assert (row.title, row.seconds, row.parameters) == ("DARTS_V2 4", 7.0, 9)


def test_a_user_s_file_with_the_name_of_a_model_is_refused_and_left_alone(run, scores):
    planted.plant(run.paths, "stacking", 1, seed=4)
    before = run.paths.predictions("stacking").read_bytes()
    with pytest.raises(files.ArtifactError, match=r"stacking\.csv has the name of a model"):
        run.add(Model("stacking"), scores)
    assert run.paths.predictions("stacking").read_bytes() == before
    run.paths.predictions("stacking").unlink()
    run.add(Model("stacking"), scores)
    run.add(Model("stacking"), scores.assign(defect_score=0.5))  # its own may change


def test_a_submission_has_one_row_for_each_test_image_and_is_written_whole_or_not(run, monkeypatch):
    scored = run.models()
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
    left_out = {"stages": {"01_data_split": {"test_left_out": 20}}}
    files.save_json(run.paths.run_json, run.record | left_out)
    assert run.write_submission(scored["fbp"]).name == "toy.incomplete.csv"
