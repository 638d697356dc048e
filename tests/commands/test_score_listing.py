"""Lists of images to score: folders, patterns and CSVs."""

import numpy as np
import pytest
from PIL import Image

from helpers.commands.score import ScoreError
from helpers.commands.score.listing import open_list
from helpers.datasets.folder import image_files


def listed(text: str) -> list[tuple[str, str]]:
    """Path and id of every image of a list."""
    return [(entry.path, entry.id) for entry in open_list(text).entries()]


@pytest.fixture
def nested(tmp_path):
    """Images in folders, and other files."""
    for name in ("b/2.PNG", "b/10.png", "b.png", "a/x/1.bmp", ".hidden/3.png", "b/.4.png"):
        path = tmp_path / "parts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    (tmp_path / "parts" / "notes.txt").write_text("not an image")
    (tmp_path / "parts" / "dir.png").mkdir()
    return tmp_path / "parts"


def test_a_folder_is_listed_with_its_subfolders_in_the_order_of_the_series(nested):
    found = [("a/x/1.bmp", "a/x/1"), ("b/10.png", "b/10"), ("b/2.PNG", "b/2"), ("b.png", "b")]
    assert listed(str(nested)) == found
    visible = [p for p in image_files(nested) if ".hidden" not in p.parts]
    assert [entry.file for entry in open_list(str(nested)).entries()] == [str(p) for p in visible]


def test_paths_of_a_pattern_start_below_its_last_plain_folder(nested):
    assert listed(f"{nested}/b/*.png") == [("10.png", "10")]
    every = [("a/x/1.bmp", "a/x/1"), ("b/10.png", "b/10"), ("b/2.PNG", "b/2"), ("b.png", "b")]
    assert sorted(listed(f"{nested}/**/*")) == sorted(every)
    assert listed(f"{nested}/b.png") == [("b.png", "b")]


def test_a_pattern_says_which_files_it_leaves_out(nested):
    (nested / "b" / "photo.webp").touch()
    found = open_list(f"{nested}/**/*").left_out()
    assert found == ["2 file(s) with other suffixes (.txt, .webp)"]
    assert open_list(f"{nested}/b/*.png").left_out() == []


def test_of_many_images_some_are_taken_evenly(nested):
    every = image_files(nested)
    assert image_files(nested, len(every)) == every
    assert image_files(nested, 2) == [every[0], every[len(every) // 2]]


def test_paths_of_a_csv_are_relative_to_it_or_absolute(nested, tmp_path):
    table = tmp_path / "list.csv"
    table.write_text(f"id,path\nfirst,parts/b.png\n007,{nested}/b/2.PNG\n", encoding="utf-8-sig")
    found = list(open_list(str(table)).entries())
    assert [(e.path, e.id) for e in found] == [
        ("parts/b.png", "first"),
        (f"{nested}/b/2.PNG", "007"),
    ]
    assert [e.file for e in found] == [str(nested / "b.png"), str(nested / "b" / "2.PNG")]
    table.write_text("path\nparts/b.png\n")
    assert listed(str(table)) == [("parts/b.png", "parts/b")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\na.png\n", "list.csv lacks the column path; it has file"),
        ("", "list.csv lacks the column path; it has nothing"),
        ("path,id\na.png,1\n,2\n", "list.csv, line 3: path is empty"),
        ("path,id\na.png,\n", "list.csv, line 2: id is empty"),
        ("path,id\na.png\n", "list.csv, line 2: id is empty"),
    ],
)
def test_a_csv_without_paths_is_refused(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ScoreError) as error:
        listed(str(tmp_path / "list.csv"))
    assert message in str(error.value)


def test_bytes_of_a_name_that_are_not_text_become_escapes(tmp_path):
    (tmp_path / b"caf\xe9.png".decode("utf-8", "surrogateescape")).write_bytes(b"")
    assert listed(str(tmp_path)) == [("caf\\udce9.png", "caf\\udce9")]
