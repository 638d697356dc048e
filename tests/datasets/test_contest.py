"""Contests: Nexperia's layouts, and one of another layout that a notebook's cell adds."""

import pandas as pd
import pytest

from helpers.core import paths
from helpers.core.files import save_csv
from helpers.datasets import DataError, sources
from helpers.datasets.settings import SplitSettings
from helpers.datasets.sources import SOURCES
from helpers.results.submission import submission_table, validate_submission
from tests.datasets.test_folder import fill

FIRST = ("train/good_0", "train/bad_1", "test/all_tests")
NESTED = ("train/train/good_0/good_0", "train/train/bad_1/bad_1", "test/all_tests/all_tests")
SECOND = ("train/train_contest/good_all", "train/train_contest/defect", "test/test_contest/test")

CELL = """
from helpers.datasets.contest import Contest
from helpers.datasets.sources import SOURCES

layout = {"good": "images/ok", "bad": "images/def", "test": "unlabelled"}
SOURCES["castings"] = Contest("casting-products", layout)
"""


def write(root, layout=FIRST, suffix="bmp"):
    for side, folder in zip(("g", "b", "t"), layout, strict=True):
        fill(root / folder, *(f"{side}{i}.{suffix}" for i in range(4)))


def load(root, kind="nexperia"):
    return sources.load(SplitSettings(dataset=f"{kind}:{root}"))


@pytest.mark.parametrize(("layout", "suffix"), [(FIRST, "bmp"), (NESTED, "png"), (SECOND, "jpg")])
def test_both_stages_of_nexperia_are_read_nested_or_not(tmp_path, layout, suffix):
    write(tmp_path, layout, suffix)
    table = load(tmp_path).table.set_index("id")
    assert sorted(table.index) == [f"{s}{i}" for s in "bgt" for i in range(4)]
    assert table.loc["b0", "label"] == 1 and table.loc["g3", "label"] == 0
    assert table.loc[["t0", "t3"], "label"].isna().all()
    assert (table.official_split == "test").sum() == 4


def test_hidden_folders_are_skipped_and_images_of_no_class_and_hidden_labels_are_said(tmp_path):
    write(tmp_path, SECOND)
    for name in ("train/.old/good_all", "train/train_contest/defect/.thumbnails", "train/other"):
        fill(tmp_path / name, "x.bmp")
    fill(tmp_path / "test" / "defect", "y.bmp")
    source = load(tmp_path)
    assert len(source.table) == 13 and source.table.label.isna().sum() == 5
    assert source.left_out[0] == "images in no class folder: 1 (other)"
    assert source.left_out[1].startswith("labels of test images, which the folders there say: 1 (")


def test_images_that_are_not_there_name_the_command_that_fetches_them(home, tmp_path):
    for place in ("", f":{tmp_path}"):
        with pytest.raises(DataError, match="kaggle competitions download"):
            sources.load(SplitSettings(dataset=f"nexperia{place}"))
    write(tmp_path)
    for file in (tmp_path / "train/good_0").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="good_0 holds no image"):
        load(tmp_path)


@pytest.mark.parametrize(
    "mount",
    [
        "competitions/semi-conductor-image-classification-first",
        "semi-conductor-image-classification-first",
        "datasets/somebody/semi-conductor-image-classification-first",
        "datasets/somebody/semi-conductor-image-classification-second-stage/data",
        "semi-conductor-image-classification-first/semi-conductor-image-classification-first",
    ],
)
def test_downloads_and_kaggle_s_mounts_are_found_by_themselves(home, monkeypatch, mount):
    monkeypatch.setattr(paths, "KAGGLE_INPUT", home / "data/raw")  # as a download is, or a mount
    write(home / "data/raw" / mount)
    table = sources.load(SplitSettings(dataset="nexperia")).table
    assert len(table) == 12 and all(str(home / "data/raw" / mount) in p for p in table.path)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("file,p_defective", "{}.png"),
        ("Image Id,score", "unlabelled/week1/{}.png"),
        ("path,score", "week1/{}"),
        ("id,y", "{}"),
    ],
)
def test_a_contest_from_a_cell_ends_in_a_csv_with_the_columns_of_its_sample(
    tmp_path, monkeypatch, header, name
):
    write(tmp_path, ("images/ok", "images/def", "unlabelled/week1"), "png")
    lines = [f"{name.format(f't{i}')},0.5" for i in range(4)]
    (tmp_path / "sample_submission.csv").write_text("\n".join([header, *lines, ""]))
    monkeypatch.delitem(SOURCES, "castings", raising=False)
    exec(CELL, {})
    source = load(tmp_path, "castings")
    assert source.table.label.value_counts().to_dict() == {0: 4, 1: 4}
    tests = source.table.id[source.table.official_split == "test"]
    scores = pd.DataFrame({"id": tests, "defect_score": [0, 0.25, 0.5, 1]})
    csv = tmp_path / "mine.csv"
    save_csv(csv, submission_table(scores, source.submission))
    assert csv.read_text().splitlines()[:2] == [header, f"{name.format('t0')},0"]
    checked = validate_submission(csv, tmp_path / "sample_submission.csv")
    assert ",".join(checked) == header and checked.iloc[:, 1].tolist() == [*scores.defect_score]
    del SOURCES["castings"]


def test_a_sample_that_does_not_fit_the_test_images_is_refused(tmp_path):
    write(tmp_path)
    assert load(tmp_path).submission == {}
    (tmp_path / "submission_sample.csv").write_text("id,defect_score\nt0,0\nelsewhere,0\n")
    with pytest.raises(DataError, match="'elsewhere' is not the name of a test image"):
        load(tmp_path)
    (tmp_path / "submission_sample.csv").write_text("id,a,b\nt0,0,0\n")
    with pytest.raises(DataError, match="must have two columns"):
        load(tmp_path)
