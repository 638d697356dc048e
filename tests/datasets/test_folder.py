import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.datasets import DataError, Source, sources
from helpers.datasets.settings import SplitSettings


def fill(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / name)


def load(root: Path, **settings) -> Source:
    return sources.load(SplitSettings(dataset=f"folder:{root}", **settings))


def refused(root: Path, **settings) -> str:
    with pytest.raises(DataError) as caught:
        load(root, **settings)
    return str(caught.value)


def labels(source: Source) -> dict[str, int]:
    return dict(zip(source.table.id, source.table.label, strict=True))


@pytest.fixture
def two_classes(tmp_path) -> Path:
    """A folder with one good part, `a`, and one bad part, `b`."""
    fill(tmp_path / "good", "a.png")
    fill(tmp_path / "bad", "b.png")
    return tmp_path


@pytest.mark.parametrize(("good", "bad"), [("OK", "NG"), ("0", "1"), ("functional", "Defects")])
def test_class_folders_are_known_by_their_names(tmp_path, good, bad):
    fill(tmp_path / good, "a.png", "b.BMP")
    fill(tmp_path / bad / "deeper", "c.jpg", "d.tiff")
    for other in ("notes", "not_ok", "defect_free", "class1", "books"):  # no name is guessed at
        fill(tmp_path / other, "e.png")
    source = load(tmp_path)
    assert labels(source) == {"a": 0, "b": 0, "c": 1, "d": 1}
    assert source.label_mapping == f"bad = {bad}; good = {good}"
    assert source.table.official_split.unique().tolist() == [""]
    assert (tmp_path / bad / "deeper" / "c.jpg").as_posix() in source.table.path.tolist()


def test_what_is_not_read_is_listed_with_its_number_and_hidden_files_are_passed_over(
    two_classes, tmp_path_factory
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    fill(elsewhere, "c.png")
    (two_classes / "good" / "more").symlink_to(elsewhere)
    (two_classes / "others").symlink_to(elsewhere)  # no name of a class
    fill(two_classes / "good", "c.PNG", ".thumb.png")
    for folder in ("bad/deep/.thumbnails/x", ".git", ".good"):
        fill(two_classes / folder, "f.png")
    fill(two_classes / "test", "d.png")
    fill(two_classes, "loose.png", "loose.jpg")
    fill(two_classes / "scratched" / "deeper", "e.png")
    for name in ("good/x.webp", "good/y.WEBP", "bad/deep/list", "test/z.txt", "scratched/n.doc"):
        (two_classes / name).touch()
    (two_classes / "good/.DS_Store").touch()
    (two_classes / "ok").symlink_to(elsewhere)  # the link to a class folder is read
    (two_classes / "good" / "gone.png").symlink_to(two_classes / "nothing")  # this and a pipe
    os.mkfifo(two_classes / "bad" / "pipe.png")  # are reported later
    source = load(two_classes)
    assert {*source.table.id} == {"a", "b", "d", "gone", "pipe", "good/c", "ok/c"}
    assert source.left_out == (
        "other files and links to folders: 7 (.doc, .txt, .webp, list, more, ...)",
        "images in no class folder: 3 (loose.jpg, loose.png, scratched)",
    )


def test_given_names_are_exact_and_decide_over_the_words(tmp_path):
    fill(tmp_path / "ok", "a.png")
    fill(tmp_path / "Not_OK", "b.png")
    fill(tmp_path / "bad", "c.png")
    source = load(tmp_path, bad=("Not_OK",))
    assert labels(source) == {"a": 0, "b": 1, "c": 1}
    assert labels(load(tmp_path, bad=("Not_OK",), good=("bad",)))["c"] == 0
    for wrong in ("unsur", "not_ok"):
        assert f"GOOD={wrong}" in refused(tmp_path, good=(wrong,))
    assert "ok is in GOOD and in BAD" in refused(tmp_path, good=("ok",), bad=("ok",))


def test_a_missing_or_an_empty_class_or_test_folder_is_refused_with_what_is_there(tmp_path):
    fill(tmp_path / "good", "a.png")
    fill(tmp_path / "others", "b.png")
    problem = refused(tmp_path)
    assert "good, others" in problem and "GOOD=NAME" in problem and "LABELS_CSV" in problem
    assert "no subfolder" in refused(tmp_path / "others")
    fill(tmp_path / "bad", "bad.png")
    (tmp_path / "test").mkdir()
    assert f"{tmp_path / 'test'} holds no image" in refused(tmp_path)


def test_good_parts_may_be_alone_or_be_all_images_but_those_of_bad_and_test_folders(tmp_path):
    fill(tmp_path / "good", "a.png")
    fill(tmp_path / "test", "t.png")
    source = load(tmp_path)
    assert source.table.label.fillna(-1).tolist() == [0, -1]
    assert source.label_mapping == "bad = none yet; good = good"
    fill(tmp_path / "lot1", "b.png")  # these may be the bad ones
    assert "good, lot1, test" in refused(tmp_path)
    source = load(tmp_path, good=(".",), group_level=1)
    assert source.table.group.fillna("").tolist() == ["lot1", "", ""]
    assert source.left_out == ()
    fill(tmp_path / "bad", "c.png")
    assert load(tmp_path).table.id.tolist() == ["c", "a", "t"]
    assert load(tmp_path, good=(".",)).table.label.fillna(-1).tolist() == [0, 1, 0, -1]


def test_file_names_that_repeat_get_longer_ids_and_others_keep_theirs(tmp_path):
    fill(tmp_path / "good", "001.png", "only.png")
    fill(tmp_path / "good" / "day2", "001.png")
    fill(tmp_path / "bad", "001.png")
    expected = {"good/001": 0, "good/day2/001": 0, "bad/001": 1, "only": 0}
    assert labels(load(tmp_path)) == expected
    fill(tmp_path / "good", "001.bmp")  # differs by its suffix alone
    problem = refused(tmp_path)
    assert "'good/001'" in problem and f"{tmp_path}/good/001.bmp" in problem


def test_a_data_set_that_does_not_exist_is_refused(tmp_path):
    assert f"{tmp_path / 'nowhere'} is not a folder" in refused(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nowhere does not exist"):
        sources.check_place(f"folder:{tmp_path}/nowhere")
    for name in ("folder", "folder:", "mnist", "elpv:x", "nexperia: ", ""):
        with pytest.raises(DataError, match=f"DATASET='{name}' is not one of"):
            sources.load(SplitSettings(dataset=name))


def test_subfolders_of_good_and_bad_with_equal_names_are_lots_and_others_may_be_kinds(tmp_path):
    for lot in ("lot1", "lot2", "lot3"):
        fill(tmp_path / "good" / lot, f"{lot}g.png")
        fill(tmp_path / "bad" / lot, f"{lot}b.png")
    fill(tmp_path / "bad" / "lot4", "lot4b.png")
    source = load(tmp_path)
    assert source.table.group.tolist() == [f"lot{n}" for n in (1, 2, 3, 4, 1, 2, 3)]
    assert source.caveats.startswith("subfolders are lots: 4")
    assert "group" not in load(tmp_path, group_level=0).table
    fill(tmp_path / "good", "loose.png")
    source = load(tmp_path)
    assert "group" not in source.table and "1 images lie beside" in source.caveats
    kinds = tmp_path / "kinds"
    fill(kinds / "good" / "lot1", "a.png")
    assert "it takes two or more" in load(kinds).caveats
    fill(kinds / "bad" / "scratch", "b.png")
    source = load(kinds)
    assert "group" not in source.table and "GROUP_LEVEL=1" in source.caveats
    for lot in ("lot2", "lot3"):  # good parts alone
        fill(tmp_path / "alone" / "good" / lot, f"{lot}.png")
    assert load(tmp_path / "alone").table.group.tolist() == ["lot2", "lot3"]
    fill(tmp_path / "alone" / "bad" / "lot3", "b.png")  # one bad lot
    assert load(tmp_path / "alone").table.group.tolist() == ["lot3", "lot2", "lot3"]
    fill(tmp_path / "alone" / "bad", "loose.png")
    assert "1 images lie beside" in load(tmp_path / "alone").caveats
