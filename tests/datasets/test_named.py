from pathlib import Path

import pandas as pd
import pytest

from helpers.datasets import DataError
from tests.datasets.test_folder import fill, load


@pytest.fixture
def flat(tmp_path) -> Path:
    """Four images in one folder without classes."""
    fill(tmp_path / "parts", "a.png", "b.png", "c.png", "d.png")
    return tmp_path / "parts"


def labels_csv(folder: Path, **columns) -> str:
    """Write a CSV beside a folder; a column "NAME_again" has the name of another column."""
    path = folder.parent / "labels.csv"
    header = [name.removesuffix("_again") for name in columns]
    pd.DataFrame(columns).to_csv(path, index=False, header=header)
    return str(path)


def test_a_csv_labels_images_that_are_in_no_class_folder(flat):
    csv = labels_csv(
        flat,
        path=["parts/a.png", "parts/b.png", "d.png"],
        label=["0.0", " NOK ", "ok"],
        group=[" lot1", "007", " "],
        camera=["left", "right", "left"],
    )
    source = load(flat, labels_csv=csv)
    table = source.table
    assert dict(zip(table.id, table.label, strict=True)) == {"a": 0, "b": 1, "d": 0}
    assert table.group.fillna("none").tolist() == ["lot1", "007", "none"]
    assert source.kinds == ("camera",) and table.camera.tolist() == ["left", "right", "left"]
    assert "images without a label: 1" in source.left_out
    assert source.dropped.id.tolist() == ["c"]
    assert source.label_mapping == "good and bad as in LABELS_CSV"


def test_a_csv_corrects_labels_of_class_folders_and_says_how_many(tmp_path):
    fill(tmp_path / "p" / "good", "a.png", "b.png")
    fill(tmp_path / "p" / "bad", "c.png")
    csv = labels_csv(tmp_path / "p", id=["a", "c"], label=["1", ""])
    source = load(tmp_path / "p", labels_csv=csv)
    assert dict(zip(source.table.id, source.table.label, strict=True)) == {"a": 1, "b": 0, "c": 1}
    assert not source.left_out and "1 label(s) changed by LABELS_CSV" in source.label_mapping


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"id": ["a", "x"], "label": ["0", "1"]}, "line 3: id 'x'"),
        ({"id": ["a", "b"], "label": ["0", "2"]}, "line 3: label '2'"),
        ({"id": ["a", "a"], "label": ["0", "1"]}, "line 3: id 'a'"),
        ({"path": ["parts\\a.png"], "label": ["0"]}, r"path 'parts.*a\.png'.*in one of .*/parts"),
        ({"id": ["a", "b"], "split": ["x", "y"]}, "rename the column split"),
        ({"id": ["a"], "label": ["0"], "label_again": ["1"]}, "two columns 'label'"),
        ({"id": ["a"], " Groups": ["x"]}, "rename the column ' Groups' to 'group'"),
        ({"id": ["a"], "path": ["a.png"]}, "says nothing about its images"),
        ({"file": ["a"], "label": ["0"]}, "needs a column id or path"),
        ({"id": ["a"], "class": ["0"]}, "rename the column 'class' to 'label'"),
        (  # a running number that is also a file's name
            {"id": ["a", "b"], "path": ["C:\\x\\a.png", "c.png"], "label": ["0", "1"]},
            r"line 3: path 'c\.png'",
        ),
    ],
)
def test_a_line_that_cannot_be_used_is_named(flat, columns, problem):
    with pytest.raises(DataError, match=problem):
        load(flat, labels_csv=labels_csv(flat, **columns))


@pytest.mark.parametrize(
    "names", [("lot0", "Lot0"), ("1", "1.0"), ("lot 0", "lot0"), (" A1.0", "a1")]
)
def test_two_spellings_of_one_group_are_refused_since_a_split_would_take_them_for_two(flat, names):
    csv = labels_csv(flat, id=list("abc"), label=[0, 1, 0], group=[*names, "other"])
    with pytest.raises(DataError, match="differ by case, spaces or"):
        load(flat, labels_csv=csv)


def test_reviewed_images_that_are_gone_are_counted_and_their_lines_kept(flat):
    given = {"path": ["parts/a.png", "parts/gone.png", "lot7/gone.png"], "label": ["good", "", ""]}
    about = {"review": ["bad", "bad", "good"]}
    source = load(flat, labels_csv=labels_csv(flat, **given, **about))
    assert "reviewed images that are no longer there: 2" in source.left_out
    assert source.table.id.tolist() == ["a"]
    other_place = {"path": ["x/a.png", "parts/gone.png", "y.png"], "label": [""] * 3}
    for wrong, line in (({"label": ["good", "good", ""]}, 3), (other_place, 2)):
        with pytest.raises(DataError, match=rf"line {line}: path '.*' is not an image's path"):
            load(flat, labels_csv=labels_csv(flat, **given | about | wrong))


def test_a_review_needs_a_folder_of_good_parts(flat):
    csv = labels_csv(flat, id=["a", "b"], label=["good", ""], review=["", "bad"])
    assert load(flat, labels_csv=csv).table.review.dropna().tolist() == [1]
    with pytest.raises(DataError, match="move the good parts into a subfolder good"):
        load(flat, labels_csv=csv, good=(".",))


def test_groups_come_from_a_level_of_subfolders(tmp_path):
    for label in ("good", "bad"):
        fill(tmp_path / label / "monday" / "lot1", f"{label}1.png")
        fill(tmp_path / label / "tuesday" / "lot1", f"{label}3.png")
        fill(tmp_path / label, f"{label}2.png")
    groups = load(tmp_path, group_level=1).table.set_index("id").group
    assert groups["good1"] == groups["bad1"] == "monday" and groups.isna().sum() == 2
    groups = load(tmp_path, group_level=2).table.set_index("id").group
    assert (groups["good1"], groups["good3"]) == ("monday/lot1", "tuesday/lot1")
