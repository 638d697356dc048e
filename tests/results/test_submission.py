"""The contest's CSV: each rule refused with the row named, and the file written whole or not."""

import numpy as np
import pandas as pd
import pytest

from helpers.core.errors import UserError
from helpers.core.files import ArtifactError
from helpers.results.submission import submission_table, validate_submission

IDS = ["007", "a", "NA", "z9"]  # ids that a careless reader turns into 7 and NaN


def csv_file(tmp_path, text, name="x.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def sample(tmp_path):
    lines = [f"{name},0.5" for name in IDS]
    return csv_file(tmp_path, "\n".join(["id,defect_score", *lines, ""]), "sample.csv")


GOOD = "id,defect_score\n007,0.25\na,0\nNA,1\nz9,1e-3\n"


def test_a_good_file_comes_back_as_text_ids_and_float_scores(tmp_path, sample):
    frame = validate_submission(csv_file(tmp_path, GOOD), sample)
    assert list(frame.columns) == ["id", "defect_score"]
    assert frame["id"].tolist() == IDS
    assert frame["defect_score"].tolist() == [0.25, 0.0, 1.0, 0.001]
    assert frame["defect_score"].dtype == np.float64
    for encoding in ("utf-8", "utf-8-sig"):  # the sample may have a mark, as spreadsheets write it
        sample.write_text(sample.read_text(encoding="utf-8-sig"), encoding=encoding)
        assert validate_submission(csv_file(tmp_path, GOOD), sample)["id"].tolist() == IDS


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("id,defect_score\n007,0\na,0\nz9,0\n", ": id 'NA' (row 3 of SAMPLE) is missing, 1 of"),
        ("id,defect_score\n007,0\na,0\nNA,0\na,1\nz9,0\n", ", line 5: id 'a' occurs twice"),
        ("id,defect_score\n007,0\na,1.2\nNA,0\n", ", line 3: defect_score 1.2 is not a number"),
        *(
            (f"id,defect_score\n007,{text}\n", f", line 2: defect_score {text or 'nan'} is not a")
            for text in ("nan", "", "bad", "0_1", "-0.01")
        ),
        ("id,defect_score\n7,0\n", ", line 2: id '7' is not in the test set"),
        ("\ufeff" + GOOD, " starts with a byte order mark: save it as UTF-8 without BOM"),
        ("id,score\n007,0\n", ": the header is id,score; write id,defect_score"),
        ("id,defect_score\n007,0,1\n", " has rows with more values than its header names"),
    ],
)
def test_a_broken_file_is_refused_with_the_row_and_the_way_out(tmp_path, sample, body, message):
    path = csv_file(tmp_path, body)
    with pytest.raises(ArtifactError) as error:
        validate_submission(path, sample)
    assert str(error.value).startswith(f"{path}{message}".replace("SAMPLE", str(sample)))
    sample.write_text("id,defect_score\n")
    with pytest.raises(ArtifactError, match=r"x\.csv cannot be checked: .*sample\.csv has no ids"):
        validate_submission(path, sample)


def test_the_rows_are_those_that_the_sample_names_and_each_has_a_score():
    about = {"id": "file", "score": "p", "names": {"b": "b.png", "c": "c"}}
    scores = pd.DataFrame({"id": ["a", "b", "c"], "defect_score": [0.1, 0.2, 0.3]})
    table = submission_table(scores, about)
    assert table.to_dict("list") == {"file": ["b.png", "c"], "p": [0.2, 0.3]}
    with pytest.raises(UserError, match=r"file 'b\.png', which has no score \(1 of 2\)"):
        submission_table(scores.drop(1), about)
    assert submission_table(scores.drop(1), about, is_whole=False).file.tolist() == ["c"]
