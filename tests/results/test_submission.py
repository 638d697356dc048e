"""The contest's CSV: each rule refused with the row named, and the file written whole or not."""

import errno
import os

import numpy as np
import pandas as pd
import pytest

from helpers.core import files
from helpers.core.files import ArtifactError
from helpers.results.submission import (
    SubmissionError,
    sample_ids,
    validate_submission,
    write_submission,
)
from helpers.runs import predictions
from tests import planted

IDS = ["007", "a", "NA", "z9"]  # ids that a careless reader turns into 7 and NaN


@pytest.fixture
def run(home):
    run_paths = planted.make_run(n=20)
    planted.plant(run_paths, "fbp", 1.0, 0, 1)
    return run_paths


def _test_ids(run_paths):
    split = predictions.read_split(run_paths)
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
    assert frame["defect_score"].dtype == np.float64 and frame["id"].dtype == object
    marked = csv_file(tmp_path, "\ufeff" + GOOD, "with_bom.csv")  # as some spreadsheets write it
    assert validate_submission(marked, IDS)["id"].tolist() == IDS


def test_the_ids_are_read_from_the_sample_when_none_are_given(tmp_path):
    sample = csv_file(tmp_path, "id,defect_score\nb,0.5\na,0.5\n", "sample.csv")
    assert sample_ids(sample) == ["b", "a"]
    good = csv_file(tmp_path, "id,defect_score\na,0.1\nb,0.2\n")
    assert validate_submission(good, None, sample)["id"].tolist() == ["a", "b"]
    with pytest.raises(SubmissionError, match=r"this id is not in the sample .*sample\.csv"):
        validate_submission(csv_file(tmp_path, GOOD), None, sample)


@pytest.mark.parametrize(
    ("dataset", "written"), [("folder:parts", "'=1+1"), ("nexperia", "=1+1"), ("chips", "=1+1")]
)
def test_an_id_like_a_formula_is_written_to_the_letter_for_a_contest_alone(home, dataset, written):
    run_paths = planted.make_run(n=20)
    split = predictions.read_split(run_paths)
    split.loc[split.index[-1], "id"] = "=1+1"
    files.save_csv(run_paths.split_csv, split)
    planted.plant(run_paths, "fbp", 1.0, 0, 1)
    record = files.load_json(run_paths.run_json)
    files.save_json(run_paths.run_json, record | {"dataset": dataset})
    path = write_submission(run_paths, "fbp")
    assert path.read_text().splitlines()[-1].startswith(f"{written},0.")
    ids = [*_test_ids(run_paths)[:-1], written]
    assert len(validate_submission(path, ids)) == 20


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "id,defect_score\n007,0\na,0\nz9,0\n",
            "id 'NA' (row 3 of the test set) is missing, 1 of 4 in all. Predict every test image.",
        ),
        (
            "id,defect_score\n007,0\na,0\nNA,0\na,1\nz9,0\n",
            "line 5 (id 'a'): the id occurs twice, first in line 3. "
            "Keep one row for each test image.",
        ),
        (
            "id,defect_score\n007,0\na,nan\nNA,0\nz9,0\n",
            "line 3 (id 'a'): the score is NaN or missing. "
            "Look at the model's output for this image; every test image needs a score.",
        ),
        ("id,defect_score\n007,0\na,\nNA,0\nz9,0\n", "line 3 (id 'a'): the score is NaN or"),
        (
            "id,defect_score\n007,0\n\na,1.2\nNA,0\nz9,0\n",  # a blank line counts as a line
            "line 4 (id 'a'): the score 1.2 is outside [0, 1]. "
            "Give the probability of bad: logits need a sigmoid or softmax first.",
        ),
        ("id,defect_score\n007,-0.01\n", "line 2 (id '007'): the score -0.01 is outside"),
        ("id,defect_score\n007,inf\n", "line 2 (id '007'): the score inf is outside"),
        ("id,defect_score\n007,bad\n", "line 2 (id '007'): the score 'bad' is not a number."),
        ("id,defect_score\n007,0_1\n", "line 2 (id '007'): the score '0_1' is not a number."),
        (
            "id,score\n007,0\n",
            "the header (line 1) is 'id,score' but must be 'id,defect_score'. "
            "Rename the columns, and write no index column.",
        ),
        (",id,defect_score\n0,007,0\n", "the header (line 1) is ',id,defect_score' but must"),
        ("", "the header (line 1) is '' but must be"),
        (
            "id,defect_score\n",
            "has zero rows below the header; the test set has 4. "
            "Write one row for each test image.",
        ),
        ("id,defect_score\n007,0,1\n", "line 2: 3 fields instead of 2: '007,0,1'."),
        (
            "id,defect_score\n007.bmp,0\n",
            "line 2 (id '007.bmp'): this id is not in the test set. "
            "An id is the file's name without folder and extension.",
        ),
        *(
            (f"id,defect_score\n007{suffix},0\n", "An id is the file's name without folder and")
            for suffix in (".PNG", ".jpg", ".jpeg")
        ),
        ("id,defect_score\n7,0\n", "(id '7'): this id is not in the test set. Ids look like '007'"),
        ('id,defect_score\n"007"x,0\n', "is not a CSV in UTF-8 ("),
    ],
)
def test_a_broken_file_is_refused_with_the_row_and_the_way_out(tmp_path, body, message):
    path = csv_file(tmp_path, body)
    with pytest.raises(SubmissionError) as error:
        validate_submission(path, IDS)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_the_rows_may_be_in_any_order(tmp_path):
    swapped = csv_file(tmp_path, "id,defect_score\n007,0\nNA,0\na,0\nz9,0\n")
    assert len(validate_submission(swapped, IDS)) == 4


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(SubmissionError, match=r"nothing\.csv does not exist: write it first"):
        validate_submission(tmp_path / "nothing.csv", IDS)
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(SubmissionError, match="is not a CSV in UTF-8"):
        validate_submission(tmp_path / "x.csv", IDS)


def test_an_empty_test_set_is_named(tmp_path):
    with pytest.raises(SubmissionError, match="The test set has no ids"):
        validate_submission(csv_file(tmp_path, GOOD), [])


def test_the_submission_of_a_run_has_one_row_for_each_test_image(run):
    frame = validate_submission(write_submission(run, "fbp"), _test_ids(run))
    test = predictions.read_all_predictions(run)["fbp"].test
    assert frame.id.tolist() == test.id.tolist()
    assert frame.defect_score.tolist() == test.defect_score.tolist()  # the mean over the seeds
    assert os.listdir(run.submission.parent) == [run.submission.name]


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
