"""The contest's CSV: each rule refused with the row named, and the file written whole or not."""

import errno
import os

import numpy as np
import pandas as pd
import pytest

from helpers.core import files
from helpers.core.files import ArtifactError
from helpers.datasets.split_file import read_split
from helpers.results.submission import validate_submission, write_submission
from helpers.runs.run_models import read_all_predictions
from tests import planted

IDS = ["007", "a", "NA", "z9"]  # ids that a careless reader turns into 7 and NaN


@pytest.fixture
def run(home):
    run_paths = planted.make_run(n=20)
    planted.plant(run_paths, "fbp", 1.0, 0, 1)
    return run_paths


def _test_ids(run_paths):
    split = read_split(run_paths.split_csv)
    return split.id[split.split == "test"].tolist()


def csv_file(tmp_path, text, name="x.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


GOOD = "id,defect_score\n007,0.25\na,0\nNA,1\nz9,1e-3\n"


def test_a_good_file_comes_back_as_text_ids_and_float_scores(tmp_path):
    frame = validate_submission(csv_file(tmp_path, GOOD), IDS)
    assert list(frame.columns) == ["id", "defect_score"]
    assert frame["id"].tolist() == IDS
    assert frame["defect_score"].tolist() == [0.25, 0.0, 1.0, 0.001]
    assert frame["defect_score"].dtype == np.float64
    marked = csv_file(tmp_path, "\ufeff" + GOOD, "with_bom.csv")  # as some spreadsheets write it
    assert validate_submission(marked, IDS)["id"].tolist() == IDS


def test_the_ids_are_read_from_the_sample_when_none_are_given(tmp_path):
    sample = csv_file(tmp_path, "id,defect_score\nb,0.5\na,0.5\n", "sample.csv")
    good = csv_file(tmp_path, "id,defect_score\na,0.1\nb,0.2\n")
    assert validate_submission(good, None, sample)["id"].tolist() == ["a", "b"]
    bad = csv_file(tmp_path, "id,defect_score\na,0.1\n")
    with pytest.raises(ArtifactError, match=r"id 'b' \(row 1 of the sample .*sample\.csv\) is"):
        validate_submission(bad, None, sample)


@pytest.mark.parametrize(
    ("dataset", "written"), [("folder:parts", "'=1+1"), ("nexperia", "=1+1"), ("chips", "=1+1")]
)
def test_an_id_like_a_formula_is_written_to_the_letter_for_a_contest_alone(home, dataset, written):
    run_paths = planted.make_run(n=20)
    split = read_split(run_paths.split_csv)
    split.loc[split.index[-1], "id"] = "=1+1"
    files.save_csv(run_paths.split_csv, split)
    planted.plant(run_paths, "fbp", 1.0, 0, 1)
    record = files.load_json(run_paths.run_json)
    files.save_json(run_paths.run_json, record | {"dataset": dataset})
    path = write_submission(run_paths, "fbp")
    assert path.read_text().splitlines()[-1].startswith(f"{written},0.")
    assert len(validate_submission(path, _test_ids(run_paths))) == 20


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "id,defect_score\n007,0\na,0\nz9,0\n",
            ": id 'NA' (row 3 of the test set) is missing, 1 of 4 in all. Predict every",
        ),
        (
            "id,defect_score\n007,0\na,0\nNA,0\na,1\nz9,0\n",
            ", line 5: id 'a' occurs twice; keep one row for each test image",
        ),
        (
            "id,defect_score\n007,0\n\na,1.2\nNA,0\nz9,0\n",  # a blank line counts as a line
            ", line 4: defect_score 1.2 is not a number from 0 to 1; write a probability of bad",
        ),
        *(
            (f"id,defect_score\n007,{text}\n", f", line 2: defect_score {text or 'nan'} is not a")
            for text in ("nan", "", "bad", "0_1", "True", "-0.01")
        ),
        (
            "id,defect_score\n007.bmp,0\n",
            ", line 2: id '007.bmp' is not in the test set; "
            "an id is a file's name without folder and extension",
        ),
        ("id,defect_score\n7,0\n", ", line 2: id '7' is not in the test set"),
        ("id,score\n007,0\n", " lacks the column(s) defect_score; it has id, score"),
        (
            "index,id,defect_score\n0,007,0\n",
            ": the header is index,id,defect_score; write id,defect_score",
        ),
        ("id,defect_score\n", ": id '007' (row 1 of the test set) is missing, 4 of 4 in all."),
        ("id,defect_score\n007,0,1\n", " has rows with more values than its header names"),
    ],
)
def test_a_broken_file_is_refused_with_the_row_and_the_way_out(tmp_path, body, message):
    path = csv_file(tmp_path, body)
    with pytest.raises(ArtifactError) as error:
        validate_submission(path, IDS)
    assert str(error.value).startswith(f"{path}{message}")


def test_an_empty_test_set_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"x\.csv cannot be checked: the test set has no ids"):
        validate_submission(csv_file(tmp_path, GOOD), [])


def test_the_submission_of_a_run_has_one_row_for_each_test_image(run):
    frame = validate_submission(write_submission(run, "fbp"), _test_ids(run))
    test = read_all_predictions(run)["fbp"].test
    assert frame.id.tolist() == test.id.tolist()
    assert frame.defect_score.tolist() == test.defect_score.tolist()  # the mean over the seeds
    assert os.listdir(run.submission.parent) == [run.submission.name]


def test_a_submission_without_all_test_images_does_not_look_ready(run):
    record = files.load_json(run.run_json)
    record["stages"] = {"01_data_split": {"test_left_out": 20}}
    files.save_json(run.run_json, record)
    assert write_submission(run, "fbp").name == "toy.incomplete.csv"
    assert os.listdir(run.submission.parent) == ["toy.incomplete.csv"]


def test_a_refused_or_killed_write_keeps_the_old_file_and_no_rest(run, monkeypatch):
    before = write_submission(run, "fbp").read_bytes()
    planted.plant(run, "svm", 1.0, 5)
    frame = pd.read_csv(run.predictions("svm"), dtype={"id": str})
    frame.iloc[:-1].to_csv(run.predictions("svm"), index=False)
    with pytest.raises(ArtifactError, match=r"svm\.csv lacks 1 test id"):
        write_submission(run, "svm")

    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ArtifactError, match=r"toy\.csv cannot be written: the disk is full"):
        write_submission(run, "fbp")
    assert run.submission.read_bytes() == before
    assert os.listdir(run.submission.parent) == [run.submission.name]
