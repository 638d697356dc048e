"""Downloads from the stand-in: resumed, checked, and nothing half-written taken for whole."""

import errno
import io
import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from helpers.commands import kaggle
from helpers.commands.kaggle import Retry
from helpers.commands.kaggle.archive import ArchiveError, unpack
from helpers.commands.kaggle.command import main
from helpers.commands.kaggle.files import CHUNK_BYTES
from tests.kaggle_fixtures import *  # noqa: F403 - the fixtures, which pytest finds by name
from tests.kaggle_fixtures import IMAGE, RULES, SAMPLE, SLUG, files_in, message_of, zip_of
from tests.kaggle_server import Fault


def test_a_download_is_unpacked_marked_and_not_repeated(server, tmp_path, capfd):
    assert main(["download"]) == 0
    folder = tmp_path / "data" / "raw" / SLUG
    assert capfd.readouterr().out == f"Ready: {folder}\n"
    assert (folder / IMAGE).read_bytes() == b"good" * 99999
    assert (folder / "sample_submission.csv").read_text() == SAMPLE
    assert json.loads((folder / ".download.json").read_text())["files"] == 2
    assert os.listdir("data/raw") == [SLUG]
    count = len(server.requests)
    assert main(["download"]) == 0
    assert len(server.requests) == count


def test_a_download_that_breaks_off_at_half_goes_on_from_there(server, retry, waits):
    half = 3 * CHUNK_BYTES  # of 6.1
    server.cuts = [half + 999]
    kaggle.download(retry=retry)
    ranges = [r.headers.get("Range") for r in server.requests if r.name == "GET"]
    assert f"bytes={half}-" in ranges
    assert waits == [1.0]
    assert len(files_in(f"data/raw/{SLUG}")) == 5


def test_a_download_killed_at_half_is_resumed_by_the_next_call(server):
    half = 3 * CHUNK_BYTES
    server.cuts = [half]
    text = message_of(lambda: kaggle.download(retry=Retry(attempts=1)))
    assert "0.2 MB have arrived and are kept" in text
    assert "the same command goes on from there" in text
    assert not Path("data/raw", SLUG).exists()
    server.requests.clear()
    kaggle.download()
    ranges = [r.headers.get("Range") for r in server.requests if r.name == "GET"]
    assert f"bytes={half}-" in ranges
    assert Path("data/raw", SLUG, IMAGE).read_bytes() == b"good" * 99999


def test_a_download_that_keeps_breaking_off_ends_only_without_progress(server, retry, waits):
    server.cuts = [CHUNK_BYTES] + [x for _ in range(4) for x in (0, CHUNK_BYTES)]
    kaggle.download(retry=retry)  # more breaks than tries, but each brings a chunk
    assert Path("data/raw", SLUG).is_dir()
    assert set(waits) == {1.0}


def test_a_file_that_changed_in_between_is_fetched_anew_and_never_mixed(server):
    server.cuts = [len(server.data) // 2]
    message_of(lambda: kaggle.download(retry=Retry(attempts=1)))
    server.data = zip_of({IMAGE: b"new!" * 6000, "sample_submission.csv": SAMPLE})
    kaggle.download()
    assert Path("data/raw", SLUG, IMAGE).read_bytes() == b"new!" * 6000


def test_a_file_that_changes_while_a_retry_waits_is_not_mixed_either(server):
    def change(_):
        server.data = zip_of({IMAGE: b"new!" * 99999})

    server.cuts = [3 * CHUNK_BYTES]
    kaggle.download(retry=Retry(attempts=2, sleep=change))
    assert Path("data/raw", SLUG, IMAGE).read_bytes() == b"new!" * 99999


def test_a_body_cut_short_without_a_length_is_not_taken_for_whole(server):
    server.has_length = False
    server.cuts = [len(server.data) // 2]
    text = message_of(kaggle.download)
    assert "is not a whole zip" in text
    assert "run the same command to download it again" in text
    assert files_in("data/raw") == []
    kaggle.download()
    assert Path("data/raw", SLUG).is_dir()


def test_a_damaged_zip_is_named_and_leaves_nothing_behind(server):
    server.data = server.data.replace(b"goodgood", b"goodgoof", 1)
    text = message_of(kaggle.download)
    assert "damaged at 'train/good_0/1.bmp' (Bad CRC-32" in text
    assert files_in("data/raw") == []


def test_a_run_killed_between_download_and_unpacking_does_not_fetch_twice(server, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("helpers.commands.kaggle.files.unpack", lambda *_: 1 / 0)
        kaggle.download()
    server.cuts = [0]  # nothing to be had any more
    kaggle.download(retry=Retry(attempts=1))
    assert Path("data/raw", SLUG, IMAGE).read_bytes() == b"good" * 99999


def test_403_on_a_download_names_the_rules_and_an_odd_slug_is_refused(server):
    server.faults["DownloadDataFiles"] = [Fault(403, {"code": 403, "message": "You must accept"})]
    assert RULES in message_of(kaggle.download)
    assert "is not a contest's name" in message_of(lambda: kaggle.download("../etc"))


def test_a_folder_that_is_not_ours_or_has_changed_is_kept_unless_forced(server):
    folder = Path("data/raw", SLUG)
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("mine")
    assert "was not finished by this command" in message_of(kaggle.download)
    assert (folder / "mine.txt").exists()
    kaggle.download(force=True)
    assert not (folder / "mine.txt").exists()
    (folder / IMAGE).unlink()
    assert "2 files with 400030 bytes were unpacked, 1 with 34 bytes" in message_of(kaggle.download)


def link_to(target):
    member = zipfile.ZipInfo("train/link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member, target


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil", "'../evil' would be written outside the folder"),
        ("train/../../evil", "would be written outside the folder"),
        ("absolute", "evil' would be written outside the folder"),
        ("..\\evil", "has a backslash"),
        ("C:evil", "has a backslash, a colon"),
        ("link", "'train/link' is a symbolic link"),
        ("pipe", "is neither a file nor a folder"),
        ("twice", "'train/1.bmp' stands in it twice"),
        ("blocked", "'train/1.bmp/x' cannot be written"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_planted_zip_is_refused_and_leaves_nothing_behind(server, tmp_path, name, words):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr("train/1.bmp", b"fine")
        if name == "link":
            zipped.writestr(*link_to("/etc"))
            zipped.writestr("train/link/evil", b"evil")
        elif name == "pipe":
            member = zipfile.ZipInfo("pipe")
            member.external_attr = (stat.S_IFIFO | 0o644) << 16
            zipped.writestr(member, b"")
        else:
            others = {
                "twice": "train/1.bmp",
                "blocked": "train/1.bmp/x",
                "absolute": str(tmp_path.parent / "evil"),
            }
            zipped.writestr(others.get(name, name), b"evil")
    server.data = buffer.getvalue()
    before = files_in(tmp_path.parent)
    assert words in message_of(kaggle.download)
    assert files_in("data/raw") == []
    assert set(files_in(tmp_path.parent)) - set(before) == {
        f"{tmp_path.name}/data",
        f"{tmp_path.name}/data/raw",
    }
    assert not list(tmp_path.parent.rglob("evil"))


def test_a_zip_too_large_for_the_disk_is_refused_before_the_first_byte(tmp_path, monkeypatch):
    (tmp_path / "x.zip").write_bytes(zip_of({"a": b"x" * 100}))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 99}))
    with pytest.raises(ArchiveError, match="make room or choose another folder"):
        unpack(tmp_path / "x.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("byte", [0xFF, None], ids=["a name that is no UTF-8", "a foreign version"])
def test_a_zip_whose_list_makes_no_sense_is_not_whole(tmp_path, byte):
    data = bytearray(zip_of({"caf\u00e9": b"fine"}))
    central = data.index(b"PK\x01\x02")
    if byte is None:
        data[central + 6] = 200  # "version needed to extract"
    else:
        data[central + 46 + 3] = byte  # in the middle of a character
    (tmp_path / "x.zip").write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match=r"x\.zip is not a whole zip"):
        unpack(tmp_path / "x.zip", tmp_path / "out")
    assert files_in(tmp_path) == ["x.zip"]


def test_a_zip_that_the_disk_has_no_room_for_is_kept_for_later(server, monkeypatch):
    usage = shutil.disk_usage
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 99}))
    assert "The zip is kept: run the same command" in message_of(kaggle.download)
    monkeypatch.setattr("shutil.disk_usage", usage)
    assert [name for name in files_in("data/raw") if name.endswith(f"{SLUG}.zip")]
    assert kaggle.download().is_dir()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_zip_is_kept_when_the_disk_fills_while_it_is_unpacked(server, monkeypatch, number):
    def fill(source, target, length):
        target.write(source.read(100))
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("helpers.commands.kaggle.archive.shutil.copyfileobj", fill)
        text = message_of(kaggle.download)
    assert f"cannot be written ({os.strerror(number)}): make room in" in text
    assert "The zip is kept: run the same command when there is room." in text
    (archive,) = (path for path in Path("data/raw").rglob("*") if path.suffix == ".zip")
    assert not (archive.parent / "unpacked").exists()  # what was written gives its room back
    server.cuts = [0]  # nothing to be had any more
    assert kaggle.download(retry=Retry(attempts=1)).is_dir()


def test_unpacking_a_damaged_zip_removes_what_it_had_written(tmp_path):
    data = zip_of({"first": b"fine", "second": b"goodgood"}).replace(b"goodgood", b"goodgoof")
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(ArchiveError, match="damaged at 'second'"):
        unpack(tmp_path / "x.zip", tmp_path / "out")
    assert files_in(tmp_path) == ["x.zip"]
