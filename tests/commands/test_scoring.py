"""The parts of scoring: lists of images, files that grow in pieces, joining of shards."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.commands.score import ScoreError
from helpers.commands.score.files import Result, ScoreFiles
from helpers.commands.score.listing import Entry, open_list
from helpers.commands.score.merge import merge
from helpers.commands.score.progress import load_progress, save_progress
from helpers.datasets.folder import image_files
from tests.shard_fixtures import KEY, joined_scores, results, score_of, write_shards


def listed(text: str) -> list[tuple[str, str]]:
    """Path and id of every image of a list."""
    return [(entry.path, entry.id) for entry in open_list(text).entries()]


@pytest.fixture
def nested(tmp_path):
    """Images in folders, and what is no image."""
    for name in ("b/2.PNG", "b/10.png", "b.png", "a/x/1.bmp", ".hidden/3.png", "b/.4.png"):
        path = tmp_path / "parts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    (tmp_path / "parts" / "notes.txt").write_text("no image")
    (tmp_path / "parts" / "dir.png").mkdir()
    return tmp_path / "parts"


def test_a_folder_is_listed_with_its_subfolders_in_the_order_of_the_series(nested):
    found = [("a/x/1.bmp", "a/x/1"), ("b/10.png", "b/10"), ("b/2.PNG", "b/2"), ("b.png", "b")]
    assert listed(str(nested)) == found
    visible = [p for p in image_files(nested) if ".hidden" not in p.parts]
    assert [entry.file for entry in open_list(str(nested)).entries()] == [str(p) for p in visible]


def test_paths_of_a_pattern_lie_below_its_last_plain_folder(nested):
    assert listed(f"{nested}/b/*.png") == [("10.png", "10")]
    every = [("a/x/1.bmp", "a/x/1"), ("b/10.png", "b/10"), ("b/2.PNG", "b/2"), ("b.png", "b")]
    assert sorted(listed(f"{nested}/**/*")) == sorted(every)
    assert listed(f"{nested}/b.png") == [("b.png", "b")]


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


def test_a_digest_depends_on_all_names_before_it(nested):
    before = [entry.digest for entry in open_list(str(nested)).entries()]
    (nested / "b" / "10.png").rename(nested / "b" / "11.png")
    after = [entry.digest for entry in open_list(str(nested)).entries()]
    assert [x == y for x, y in zip(before, after, strict=True)] == [True, False, False, False]


def test_names_with_commas_quotes_and_bytes_that_are_no_text_come_back(tmp_path):
    out = tmp_path / "s.csv"
    name = 'a, "b"\n.png'
    entry = Entry(0, name, "i,d", "f", "d")
    with ScoreFiles(out, KEY) as files:
        files.commit([Result(entry, 0.25)], 1, "d", complete=True)
    row = pd.read_csv(out).iloc[0]
    assert (row.path, row.id, row.defect_score) == (name, "i,d", 0.25)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / b"caf\xe9.png".decode("utf-8", "surrogateescape")).write_bytes(b"")
    assert listed(str(tmp_path / "parts")) == [("caf\\udce9.png", "caf\\udce9")]


def test_a_file_that_was_changed_is_not_gone_on_with(tmp_path):
    out = tmp_path / "s.csv"
    with ScoreFiles(out, KEY) as files:
        files.commit(results("abc"), 3, "c")
    out.write_text(out.read_text().replace("0.01", "0.02", 1))
    with pytest.raises(ScoreError, match=r"s\.csv was changed since it was written; put it back"):
        ScoreFiles(out, KEY)
    out.unlink()
    with pytest.raises(ScoreError, match=r"s\.csv was changed"):
        ScoreFiles(out, KEY)
    with ScoreFiles(out, KEY, restart=True) as files:
        files.commit(results("ab"), 2, "b")
    assert pd.read_csv(out).path.tolist() == ["a", "b"]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("unreadable", ["", "a", "bc", "g", "abcdefg"])
def test_joined_shards_are_what_one_process_writes(tmp_path, count, unreadable):
    with ScoreFiles(tmp_path / "one.csv", KEY) as files:
        files.commit(results("abcdefg", unreadable=unreadable), 7, "abcdefg", complete=True)
    write_shards(tmp_path / "s.csv", "abcdefg", count, unreadable)
    merged = merge(tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text() == (tmp_path / "one.csv").read_text()
    assert (tmp_path / "s.unreadable.csv").is_file() == bool(unreadable)
    if unreadable:
        expected = (tmp_path / "one.unreadable.csv").read_text()
        assert (tmp_path / "s.unreadable.csv").read_text() == expected
    alone = load_progress(tmp_path / "one.csv")
    assert dataclasses.replace(merged, joined=()) == alone
    assert merge(tmp_path / "s.csv") == merged == load_progress(tmp_path / "s.csv")
    readable = [name for name in "abcdefg" if name not in unreadable]
    assert list(joined_scores(tmp_path / "s.csv").items()) == [(n, score_of(n)) for n in readable]


def _lost(out):
    (out.parent / "s.1of2.csv.progress.json").unlink()


def _unfinished(out):
    path = out.with_name("s.1of2.csv")
    save_progress(path, dataclasses.replace(load_progress(path), complete=False))


def _other_model(out):
    path = out.with_name("s.1of2.csv")
    progress = load_progress(path)
    save_progress(path, dataclasses.replace(progress, key=progress.key | {"model": "n"}))


def _other_list(out):
    path = out.with_name("s.1of2.csv")
    save_progress(path, dataclasses.replace(load_progress(path), position=9))


def _other_count(out):
    with ScoreFiles(out.with_name("s.0of3.csv"), KEY) as files:
        files.commit([], 0, "", complete=True)


def _cut(out):
    path = out.with_name("s.1of2.csv")
    path.write_text(path.read_text()[:-5])


def _taken(out):
    out.write_text("path,id,defect_score\n")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (_lost, "s.1of2.csv is missing; run its command with --shard 1/2"),
        (_unfinished, "s.1of2.csv is not finished (2 images so far); run its command again, with"),
        (_other_model, "s.1of2.csv does not belong to {0}/s.0of2.csv: model was m, now n. Run"),
        (_other_list, "the list had 4 images, now 9"),
        (_other_count, "lie shards of 2 and of 3; delete those of one kind"),
        (_cut, "s.1of2.csv was changed since it was written"),
        (_taken, "holds something else (no s.csv.progress.json beside it); move it away"),
    ],
)
def test_shards_that_are_not_whole_or_not_alike_are_not_joined(tmp_path, break_it, message):
    out = tmp_path / "s.csv"
    write_shards(out, "abcd", 2)
    break_it(out)
    there = out.read_bytes() if out.exists() else None
    with pytest.raises(ScoreError) as error:
        merge(out)
    assert message.format(tmp_path) in str(error.value)
    assert (out.read_bytes() if out.exists() else None) == there


def test_a_path_that_occurs_twice_is_not_joined(tmp_path):
    write_shards(tmp_path / "s.csv", "abcdefb", 2)
    with pytest.raises(ScoreError, match=r"^b occurs twice in the shards of .*s\.csv; remove it"):
        merge(tmp_path / "s.csv")
    assert not (tmp_path / "s.csv").exists()


def test_without_shards_there_is_nothing_to_join(tmp_path):
    with pytest.raises(ScoreError, match=r"s\.csv has no shards beside it, e\.g\. s\.0of2\.csv"):
        merge(tmp_path / "s.csv")
