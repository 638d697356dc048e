from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import datasets
from helpers.datasets import DataError
from helpers.datasets.settings import SplitSettings


def fill(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / name)


def load(root: Path, **settings) -> datasets.Source:
    return datasets.load(SplitSettings(dataset=f"folder:{root}", **settings))


def refused(root: Path, **settings) -> str:
    with pytest.raises(DataError) as caught:
        load(root, **settings)
    return str(caught.value)


def labels(source: datasets.Source) -> dict[str, int]:
    return dict(zip(source.table.id, source.table.label, strict=True))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("good", "bad"),
        ("OK", "NG"),
        ("class0", "class1"),
        ("Good_0", "Bad-1"),
        ("functional", "defect"),
        ("all ok parts", "defective parts"),
        ("0", "1"),
    ],
)
def test_class_folders_are_known_by_a_word_of_their_name(tmp_path, good, bad):
    fill(tmp_path / good, "a.png", "b.BMP")
    fill(tmp_path / bad / "deeper", "c.jpg", "d.tiff")
    fill(tmp_path / "notes", "e.png")
    source = load(tmp_path)
    assert labels(source) == {"a": 0, "b": 0, "c": 1, "d": 1}
    assert source.label_mapping == f"bad = {bad}; good = {good}"
    assert source.table.official_split.unique().tolist() == [""]
    paths = source.table.set_index("id").path
    assert paths["c"] == (tmp_path / bad / "deeper" / "c.jpg").as_posix()


def test_a_word_inside_another_word_says_nothing(tmp_path):
    fill(tmp_path / "good", "a.png")
    fill(tmp_path / "bad", "b.png")
    fill(tmp_path / "books", "c.png")
    fill(tmp_path / "class10", "d.png")
    assert labels(load(tmp_path)) == {"a": 0, "b": 1}


def test_hidden_and_other_files_are_left_out(tmp_path):
    fill(tmp_path / "good", "a.png", ".thumb.png")
    fill(tmp_path / "bad", "b.png")
    (tmp_path / "bad" / "readme.txt").write_text("x")
    assert labels(load(tmp_path)) == {"a": 0, "b": 1}


@pytest.mark.parametrize("name", ["not_ok", "good_bad", "non-functional", "no_defect", "not bad"])
def test_a_folder_whose_name_says_both_or_negates_is_refused(tmp_path, name):
    fill(tmp_path / "ok", "a.png")
    fill(tmp_path / "bad", "b.png")
    fill(tmp_path / name, "c.png")
    assert refused(tmp_path) == (
        f"{tmp_path / name} could be good or bad by its name; "
        f"name it with -p GOOD_FOLDERS={name} or -p BAD_FOLDERS={name}"
    )


def test_given_names_decide_over_the_words(tmp_path):
    fill(tmp_path / "ok", "a.png")
    fill(tmp_path / "Not_OK", "b.png")
    fill(tmp_path / "Rejects", "c.png")
    source = load(tmp_path, bad_folders=("not_ok", "rejects"))
    assert labels(source) == {"a": 0, "b": 1, "c": 1}
    assert source.label_mapping == "bad = Not_OK, Rejects; good = ok"
    assert labels(load(tmp_path, bad_folders=("Rejects",), good_folders=("not_ok",)))["b"] == 0


def test_a_missing_class_is_refused_with_what_is_there(tmp_path):
    fill(tmp_path / "good", "a.png")
    fill(tmp_path / "others", "b.png")
    assert refused(tmp_path) == (
        f"{tmp_path} needs one subfolder of good and one of bad parts; it has good, others. "
        "Name them good/ok/functional/0 and bad/defect/defective/ng/1, or pass "
        "-p GOOD_FOLDERS=NAME -p BAD_FOLDERS=NAME"
    )
    (tmp_path / "empty").mkdir()
    assert "it has no subfolder." in refused(tmp_path / "empty")


def test_an_empty_class_folder_is_refused(tmp_path):
    fill(tmp_path / "good", "a.png")
    (tmp_path / "bad").mkdir()
    assert refused(tmp_path) == (
        f"{tmp_path / 'bad'} holds no image (.png, .jpg, .jpeg, .bmp, .tif, .tiff)"
    )


def test_file_names_that_repeat_get_longer_ids_and_others_keep_theirs(tmp_path):
    fill(tmp_path / "good", "001.png", "only.png")
    fill(tmp_path / "good" / "day2", "001.png")
    fill(tmp_path / "bad", "001.png")
    assert labels(load(tmp_path)) == {
        "good/001": 0,
        "good/day2/001": 0,
        "bad/001": 1,
        "only": 0,
    }


def test_files_that_differ_by_their_suffix_alone_are_refused(tmp_path):
    fill(tmp_path / "good", "a.png", "a.bmp")
    fill(tmp_path / "bad", "b.png")
    assert refused(tmp_path) == (
        f"folder:{tmp_path.name}: 1 id(s) occur more than once, e.g. 'good/a' "
        f"({tmp_path}/good/a.bmp, {tmp_path}/good/a.png); "
        "ids are file names without extension: rename"
    )


@pytest.mark.parametrize(("name", "given"), [("test", ""), ("Unlabelled", ""), ("new", "new")])
def test_a_test_folder_is_the_official_test_set_without_labels(tmp_path, name, given):
    fill(tmp_path / "good", "a.png")
    fill(tmp_path / "bad", "b.png")
    fill(tmp_path / name, "c.png", "d.png")
    table = load(tmp_path, test_folder=given).table.set_index("id")
    assert table.official_split.to_dict() == {"a": "train", "b": "train", "c": "test", "d": "test"}
    assert table.label.isna().to_dict() == {"a": False, "b": False, "c": True, "d": True}


@pytest.mark.parametrize("given", ["", "test"])
def test_labels_in_a_test_folder_are_said_to_be_left_out(tmp_path, given):
    for name in ("good", "bad", "test/good", "test/Not_OK"):
        fill(tmp_path / name, f"{Path(name).parent.name}{Path(name).name}.png")
    source = load(tmp_path, test_folder=given)
    assert source.table.label.isna().sum() == 2
    assert source.caveats == (
        "The labels of test/Not_OK, test/good are not read: a test folder's images are unlabelled. "
        "To test on them, move them into the class folders and say in a SPLIT_CSV which are test."
    )


def test_an_unlabelled_test_folder_and_a_plain_one_need_no_word(tmp_path):
    fill(tmp_path / "good", "a.png")
    fill(tmp_path / "bad", "b.png")
    assert load(tmp_path).caveats == ""
    fill(tmp_path / "test" / "monday", "c.png")
    assert load(tmp_path).caveats == ""


def test_files_with_other_suffixes_are_counted(tmp_path):
    fill(tmp_path / "good", "a.PNG")
    fill(tmp_path / "bad" / "deep", "b.png")
    fill(tmp_path / "test", "c.png")
    fill(tmp_path / "notes", "d.png")
    for name in ("good/x.webp", "good/y.WEBP", "bad/deep/list", "test/z.txt", "notes/n.doc"):
        (tmp_path / name).touch()
    for name in ("good/.DS_Store", "good/.x.webp", "bad/Thumbs.db", "bad/desktop.ini"):
        (tmp_path / name).touch()
    assert load(tmp_path).caveats == ("4 file(s) with other suffixes left out (.txt, .webp, none).")
    (tmp_path / "good" / "more.heic").touch()
    for i in range(4):
        (tmp_path / "good" / f"more.r{i}").touch()
    assert load(tmp_path).caveats.endswith("(.heic, .r0, .r1, .r2, .r3, ...).")


def test_a_test_folder_may_lie_elsewhere(tmp_path):
    root = tmp_path / "parts"
    fill(root / "good", "a.png")
    fill(root / "bad", "b.png")
    fill(tmp_path / "elsewhere", "a.png")
    table = load(root, test_folder=str(tmp_path / "elsewhere")).table
    assert table.id.is_unique
    assert table.path[2] == (tmp_path / "elsewhere" / "a.png").as_posix()


def test_a_missing_or_empty_test_folder_is_refused(tmp_path):
    fill(tmp_path / "good", "a.png")
    fill(tmp_path / "bad", "b.png")
    assert refused(tmp_path, test_folder="new") == (
        f"TEST_FOLDER='new': {tmp_path / 'new'} is not a folder"
    )
    (tmp_path / "test").mkdir()
    assert refused(tmp_path).startswith(f"{tmp_path / 'test'} holds no image (")


def test_a_data_set_that_does_not_exist_is_refused(tmp_path):
    assert refused(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'} is not a folder"
    with pytest.raises(DataError, match=r"^DATASET='folder' needs a path: folder:PATH$"):
        datasets.load(SplitSettings(dataset="folder"))
    with pytest.raises(DataError, match=r"^DATASET='mnist' is not one of .*elpv, folder"):
        datasets.load(SplitSettings(dataset="mnist"))


def test_a_digit_of_a_longer_name_is_no_class(tmp_path):
    for name in ("good", "bad", "camera_1"):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name / f"{name}.png")
    table = datasets.load(SplitSettings(dataset=f"folder:{tmp_path}")).table
    assert sorted(table.id) == ["bad", "good"]
