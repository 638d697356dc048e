import os
import sys
import unicodedata
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


@pytest.fixture
def two_classes(tmp_path) -> Path:
    """A folder with one good part, `a`, and one bad part, `b`."""
    fill(tmp_path / "good", "a.png")
    fill(tmp_path / "bad", "b.png")
    return tmp_path


NAMES = [("OK", "NG"), ("class0", "class1"), ("0", "1"), ("functional", "defect")]
NAMES += [("all ok parts", "defective parts")]


@pytest.mark.parametrize(("good", "bad"), NAMES)
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


@pytest.mark.parametrize("name", ["books", "class10", "camera_1"])
def test_a_word_or_a_digit_inside_another_name_says_nothing(two_classes, name):
    fill(two_classes / name, "c.png")
    assert labels(load(two_classes)) == {"a": 0, "b": 1}


def test_hidden_files_are_left_out_and_those_with_other_suffixes_are_counted(two_classes):
    fill(two_classes / "good", "c.PNG", ".thumb.png")
    fill(two_classes / "test", "d.png")
    fill(two_classes / "notes", "e.png")
    (two_classes / "bad/deep").mkdir()
    for name in ("good/x.webp", "good/y.WEBP", "bad/deep/list", "test/z.txt", "notes/n.doc"):
        (two_classes / name).touch()
    for name in ("good/.DS_Store", "good/.x.webp", "bad/Thumbs.db", "bad/desktop.ini"):
        (two_classes / name).touch()
    source = load(two_classes)
    assert source.table.id.tolist() == ["b", "a", "c", "d"]
    assert source.left_out == (
        "1 hidden folder(s) or image(s) (good/.thumb.png)",
        "5 file(s) with other suffixes (.doc, .txt, .webp, none)",
        "1 image(s) in folders whose names say no class (notes)",
    )
    (two_classes / "good" / "more.heic").touch()
    for i in range(4):
        (two_classes / "good" / f"more.r{i}").touch()
    assert load(two_classes).left_out[1].endswith("(.doc, .heic, .r0, .r1, .r2, ...)")


def test_hidden_files_and_folders_are_skipped_at_any_depth(two_classes):
    for folder in ("good/.ipynb_checkpoints", "bad/deep/.thumbnails/x", ".git", ".good"):
        fill(two_classes / folder, "c.png")
    fill(two_classes / "bad/deep", "d.png", ".e.png")
    source = load(two_classes)
    assert labels(source) == {"a": 0, "b": 1, "d": 1}
    names = ".git, .good, bad/deep/.e.png, bad/deep/.thumbnails, good/.ipynb_checkpoints"
    assert source.left_out == (f"5 hidden folder(s) or image(s) ({names})",)


def test_links_and_images_that_are_of_no_class_are_listed_with_their_number(
    two_classes, tmp_path_factory
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    fill(elsewhere, "c.png")
    (two_classes / "good" / "more").symlink_to(elsewhere)
    (two_classes / "others").symlink_to(elsewhere)  # no name of a class
    fill(two_classes, "loose.png", "loose.jpg")
    fill(two_classes / "scratched" / "deeper", "d.png")
    fill(two_classes / "scratched", "e.png")
    (two_classes / "documents").mkdir()
    (two_classes / "documents" / "a.pdf").touch()
    (two_classes / "README.txt").touch()
    (two_classes / "loose.webp").touch()
    source = load(two_classes)
    assert labels(source) == {"a": 0, "b": 1}
    assert source.left_out == (
        "2 link(s) to a folder (good/more, others)",
        "3 file(s) with other suffixes (.pdf, .txt, .webp)",
        "2 image(s) beside the class folders (loose.jpg, loose.png)",
        "2 image(s) in folders whose names say no class (scratched)",
    )


def test_a_class_folder_that_is_a_link_is_read(two_classes, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    fill(elsewhere, "c.png")
    (two_classes / "ok").symlink_to(elsewhere)
    source = load(two_classes)
    assert labels(source) == {"a": 0, "b": 1, "c": 0} and source.left_out == ()
    csv = tmp_path_factory.mktemp("csv") / "labels.csv"
    csv.write_text("id,label\na,1\n")
    source = load(two_classes, labels_csv=str(csv))
    assert labels(source) == {"a": 1, "b": 1, "c": 0}
    assert source.left_out == ("LABELS_CSV changed 1 label(s)",)


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_a_left_out_folder_whose_name_is_not_utf_8_is_listed_in_a_text_that_can_be_saved(
    two_classes,
):
    fill(two_classes / os.fsdecode(b"zur\xfcck"), "c.png")
    (line,) = load(two_classes).left_out
    assert line == "1 image(s) in folders whose names say no class (zur\\udcfcck)"


def test_a_pipe_and_a_broken_link_are_listed_to_be_reported_as_unreadable(two_classes):
    os.mkfifo(two_classes / "bad" / "pipe.png")
    (two_classes / "good" / "gone.png").symlink_to(two_classes / "nothing")
    assert labels(load(two_classes)) == {"a": 0, "b": 1, "pipe": 1, "gone": 0}


def test_a_few_of_many_left_out_folders_are_named(two_classes):
    for i in range(8):
        fill(two_classes / f"type{i}", "c.png")
    assert load(two_classes).left_out == (
        "8 image(s) in folders whose names say no class (type0, type1, type2, type3, type4, ...)",
    )


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *(("defect_free", 0), ("without_defect", 0), ("no defects", 0), ("non-defective", 0)),
        *(("NoDefect", 0), ("defectfree", 0), ("zero_defects", 0), ("not bad", 0)),
        *(
            ("not_ok", 1),
            ("NOK", 1),
            ("n_ok", 1),
            ("isn't ok", 1),
            ("un-defective", 0),
            ("non-functional", 1),
            ("nonfunctional", 1),
        ),
        *(("defects", 1), ("Defectives", 1), ("goods", 0), ("good, no defect", 0)),
    ],
)
def test_negations_and_plurals_are_read_as_a_person_would(two_classes, name, label):
    fill(two_classes / name, "c.png")
    assert labels(load(two_classes))["c"] == label


@pytest.mark.parametrize("name", ["good_bad", "no_label_ok", "not_defect_free", "0_defects"])
def test_a_folder_whose_name_says_both_or_negates_something_else_is_refused(two_classes, name):
    fill(two_classes / name, "c.png")
    assert refused(two_classes) == (
        f"{two_classes / name} could be good or bad by its name; "
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
    with pytest.raises(DataError, match=r"GOOD_FOLDERS=unsur: .* has Not_OK, Rejects, ok"):
        load(tmp_path, good_folders=("unsur",))
    fill(tmp_path / "didn't pass", "d.png")
    fill(tmp_path / unicodedata.normalize("NFD", "défaut"), "e.png")
    more = labels(load(tmp_path, bad_folders=("Rejects", "Didn't pass", "défaut")))
    assert more["d"] == more["e"] == 1


def test_a_missing_or_an_empty_class_is_refused_with_what_is_there(tmp_path):
    fill(tmp_path / "good", "a.png")
    fill(tmp_path / "others", "b.png")
    assert refused(tmp_path) == (
        f"{tmp_path} needs one subfolder of good and one of bad parts; it has good, others. "
        "Name them good/ok/functional/0 and bad/defect/defective/ng/1, or pass "
        "-p GOOD_FOLDERS=NAME -p BAD_FOLDERS=NAME, or label the images by -p LABELS_CSV=FILE"
    )
    assert "it has no subfolder." in refused(tmp_path / "others")
    (tmp_path / "bad").mkdir()
    assert refused(tmp_path) == (
        f"{tmp_path / 'bad'} holds no image (.png, .jpg, .jpeg, .bmp, .tif, .tiff)"
    )


def test_file_names_that_repeat_get_longer_ids_and_others_keep_theirs(tmp_path):
    fill(tmp_path / "good", "001.png", "only.png")
    fill(tmp_path / "good" / "day2", "001.png")
    fill(tmp_path / "bad", "001.png")
    expected = {"good/001": 0, "good/day2/001": 0, "bad/001": 1, "only": 0}
    assert labels(load(tmp_path)) == expected


def test_files_that_differ_by_their_suffix_alone_are_refused(two_classes):
    fill(two_classes / "good", "a.bmp")
    assert refused(two_classes) == (
        f"folder:{two_classes.name}: 1 id(s) occur more than once, e.g. 'good/a' "
        f"({two_classes}/good/a.bmp, {two_classes}/good/a.png); "
        "ids are file names without extension: rename"
    )


@pytest.mark.parametrize(("name", "given"), [("test", ""), ("Unlabelled", ""), ("new", "new")])
def test_a_test_folder_is_the_official_test_set_without_labels(two_classes, name, given):
    fill(two_classes / name / "monday", "c.png", "d.png")
    source = load(two_classes, test_folder=given)
    table = source.table.set_index("id")
    assert table.official_split.to_dict() == {"a": "train", "b": "train", "c": "test", "d": "test"}
    assert table.label.isna().to_dict() == {"a": False, "b": False, "c": True, "d": True}
    assert source.caveats == "" and source.left_out == ()


@pytest.mark.parametrize("names", [("test", "unlabelled"), ("Test", "unlabeled")])
def test_two_folders_of_test_images_are_refused_until_one_is_chosen(two_classes, names):
    fill(two_classes / names[0], "c.png")
    fill(two_classes / names[1], "d.png")
    assert refused(two_classes) == (
        f"{two_classes} has several folders of test images, {names[0]} and {names[1]}: "
        f"choose one with -p TEST_FOLDER={names[0]}"
    )
    source = load(two_classes, test_folder=names[1])
    assert source.table.official_split.tolist() == ["train", "train", "test"]
    assert source.left_out == (f"1 image(s) in folders whose names say no class ({names[0]})",)


def test_a_test_folder_deeper_in_another_folder_is_not_listed_as_left_out(two_classes):
    fill(two_classes / "lots" / "monday", "c.png")
    fill(two_classes / "lots" / "tuesday", "d.png", "e.png")
    assert load(two_classes, test_folder="lots/monday").left_out == (
        "2 image(s) in folders whose names say no class (lots)",
    )


def test_a_test_folder_may_be_elsewhere_and_repeat_names(two_classes, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    fill(elsewhere, "a.png")
    table = load(two_classes, test_folder=str(elsewhere)).table
    assert table.id.is_unique
    assert table.path[2] == (elsewhere / "a.png").as_posix()


@pytest.mark.parametrize("given", ["", "test"])
def test_labels_in_a_test_folder_are_said_to_be_left_out(two_classes, given):
    fill(two_classes / "test/good", "c.png")
    fill(two_classes / "test/Not_OK", "d.png")
    source = load(two_classes, test_folder=given)
    assert source.table.label.isna().sum() == 2
    assert source.caveats == (
        "The labels of test/Not_OK, test/good are not read: a test folder's images are unlabelled. "
        "To test on them, move them into the class folders and say in a SPLIT_CSV which are test."
    )


def test_a_missing_or_empty_test_folder_is_refused(two_classes):
    assert refused(two_classes, test_folder="new") == (
        f"TEST_FOLDER='new': {two_classes / 'new'} is not a folder"
    )
    (two_classes / "test").mkdir()
    assert refused(two_classes).startswith(f"{two_classes / 'test'} holds no image (")


def test_a_data_set_that_does_not_exist_is_refused(tmp_path):
    assert refused(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'} is not a folder"
    with pytest.raises(DataError, match=r"^DATASET='folder' needs a path: folder:PATH$"):
        datasets.load(SplitSettings(dataset="folder"))
    with pytest.raises(DataError, match=r"^DATASET='mnist' is not one of .*elpv, folder"):
        datasets.load(SplitSettings(dataset="mnist"))
