"""Whatever a file holds, its reader returns a valid result or raises an error that names the file.

HYPOTHESIS_PROFILE=thorough runs 500 examples of each instead of 60.
"""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.core import files
from helpers.core.errors import UserError
from helpers.core.rules import SettingsError
from helpers.darts import genotypes
from helpers.datasets import DataError, Source, splits
from helpers.datasets.settings import SplitSettings
from helpers.datasets.split_file import read_split
from helpers.deploy import description
from helpers.results import predictions, submission
from helpers.runs import settings
from tests.deploy_run import CONTENT

WORDS = ["", " ", "NaN", "NA", "-inf", "1e999", "0x1p-2", "1_0", "0,5", "٣", "\ufeff", "9" * 40]
WORDS += ["p00", "p01 ", "train", "Test", "val\n", "\x00", '"', "=1", "null", "[]", "{}", '"x"']
ODD = st.sampled_from(WORDS) | st.text(max_size=6) | st.floats().map(repr)
TOKEN = re.compile(rb'"[^"]*"|[^\s,:{}\[\]"]+')  # a cell of a table, a key or value of JSON


@st.composite
def damaged(draw, whole: bytes) -> bytes:
    """Draw a file with a token or any piece replaced, cut off or added, or in another encoding."""
    tokens = [token.span() for token in TOKEN.finditer(whole)]
    start = draw(st.integers(0, len(whole) - 1))
    end = draw(st.sampled_from([start, start + 1, start + draw(st.integers(0, 64)), len(whole)]))
    start, end = draw(st.sampled_from([(start, end), draw(st.sampled_from(tokens))]))
    zeros = bytes(max(0, min(end, len(whole)) - start))  # a block that never reached the disk
    piece = st.binary(max_size=20) | st.sampled_from([zeros, whole[start:end] * 2])
    piece = draw(piece | ODD.map(lambda text: text.encode("utf-8", "replace")))
    content = draw(st.sampled_from([whole[:start] + piece + whole[end:]] * 9 + [piece]))
    encoding = draw(st.sampled_from(["latin-1"] * 9 + ["utf-8-sig", "utf-16"]))
    return content.decode("latin-1").encode(encoding)


# --- readers: each also checks that what it has read is valid --------------------------------

IDS, LABELS = [f"p{i:02d}" for i in range(24)], [0, 1] * 12
SIDES = [("train", "train", "val", "test")[i // 2 % 4] for i in range(24)]
SPLIT = pd.DataFrame({"id": IDS, "path": [f"/data/{i}.png" for i in IDS], "label": LABELS})
SPLIT["split"] = SIDES
SUBMITTED = pd.DataFrame({"id": IDS, "defect_score": [round(i / 30, 3) for i in range(24)]})
CELL = {"genotype": genotypes.to_json(genotypes.PUBLISHED["DARTS_V2"])}
CELL["provenance"] = {"method": "DARTS", "seconds": 3.5, "device": "CPU"}


def read_split_of_run(path: Path) -> None:
    split = read_split(path)
    assert set(split.split) <= {"train", "val", "test", "excluded"} and split.id.is_unique
    assert split.label.dropna().isin([0, 1]).all() and split.id.notna().all()


def read_split_of_user(path: Path) -> None:
    table = SPLIT.drop(columns="split").assign(official_split="").astype({"label": "Int64"})
    source, given_split = Source("toy", table, "bad = 1"), SplitSettings(split_csv=str(path))
    try:
        found = splits.make_split(source, pd.Series(IDS), given_split)
    except DataError as error:  # an error of the sides names the class and the side instead
        assert path.name in str(error) or "the split leaves no" in str(error)
    else:
        assert found.table.id.tolist() == IDS


def read_scores(path: Path) -> None:
    scored = predictions.read_predictions(path, SPLIT)
    for side, frame in (("val", scored.val), ("test", scored.test)):
        assert frame.id.tolist() == [i for i, s in zip(IDS, SIDES, strict=True) if s == side]
        assert frame.defect_score.between(0, 1).all()


def read_submission(path: Path) -> None:
    sample = path.with_name("sample_submission.csv")  # its name has that of `path` in it
    files.save_csv(sample, SUBMITTED)
    found = submission.validate_submission(path, sample)
    assert sorted(found.id) == IDS and found.defect_score.between(0, 1).all()
    submission.validate_submission(sample, path)


def read_cell(path: Path) -> None:
    (found,) = genotypes.named_cells([str(path)], {}, 0)
    assert genotypes.from_json(genotypes.to_json(found.genotype)) == found.genotype
    assert (found.search_seconds or 0) >= 0


def read_description(path: Path) -> None:
    own = description.read_description(path.parent)
    assert set(own.verdicts([0, 0.5, 1])) <= set(description.VERDICTS) and own.promise


SCORED = SUBMITTED.assign(split=SIDES).query("split != 'train'")
READERS = {  # by the name of the file: how it is read, and a whole one
    "split.csv": (read_split_of_run, files.csv_bytes(SPLIT)),
    "user.csv": (read_split_of_user, files.csv_bytes(SPLIT[["id", "split"]])),
    "mine.csv": (read_scores, files.csv_bytes(SCORED)),
    "submission.csv": (read_submission, files.csv_bytes(SUBMITTED)),
    "cell.json": (read_cell, json.dumps(CELL).encode()),
    description.NAME: (read_description, json.dumps(CONTENT).encode()),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_any_file_is_read_whole_or_refused_by_its_name(tmp_path_factory, name, data):
    path, (read, whole) = tmp_path_factory.mktemp("fuzz") / name, READERS[name]
    for content in (whole, data.draw(damaged(whole))):
        files.write_bytes(path, content)
        try:
            read(path)
        except UserError as error:
            assert path.name in str(error) and content != whole, error


FIELDS = [(stage, name) for stage, kind in settings.STAGES.items() for name in vars(kind())]
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | ODD
ANY = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(max_size=5), PLAIN)


@given(field=st.sampled_from(FIELDS), value=ANY)
def test_any_parameter_gives_settings_or_an_error_that_names_it(field, value):
    stage, name = field
    try:
        settings.resolve(stage, "smoke", {name: value})
    except SettingsError as error:
        assert name.upper() in str(error) and "\n" not in str(error)
