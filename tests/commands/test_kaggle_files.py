"""Downloads from the stand-in: resumed, checked, and nothing half-written taken for whole."""

import contextlib
import errno
import io
import os
import stat
import zipfile
from pathlib import Path

import pytest

from helpers.commands import kaggle
from helpers.commands.kaggle.command import main
from tests.kaggle_fixtures import *  # noqa: F403 - the fixtures, which pytest finds by name
from tests.kaggle_fixtures import IMAGE, RULES, SAMPLE, SLUG, files_in, message_of, zip_of
from tests.kaggle_server import Fault

CHUNK = 1 << 16  # of 6.1 in the whole archive
FOLDER = Path("data/raw", SLUG)
WHOLE = ["sample_submission.csv", "train", "train/good_0", IMAGE]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    with contextlib.redirect_stdout(io.StringIO()):  # where its log goes from then on
        import kagglehub

    monkeypatch.setattr(kagglehub.clients, "CHUNK_SIZE", CHUNK)


def test_a_download_is_unpacked_in_place_and_not_repeated(server, tmp_path, capfd):
    assert main(["download"]) == 0
    assert capfd.readouterr().out == f"Ready: {tmp_path / FOLDER}\n"
    assert (FOLDER / IMAGE).read_bytes() == b"good" * 99999
    assert (FOLDER / "sample_submission.csv").read_text() == SAMPLE
    assert os.listdir("data/raw") == [SLUG] and files_in(FOLDER) == WHOLE
    (FOLDER / "mine.txt").write_text("mine")
    count = len(server.requests)
    assert main(["download"]) == 0
    assert len(server.requests) == count and (FOLDER / "mine.txt").exists()
    assert "exists; delete it to download again" in capfd.readouterr().err


def test_a_download_that_breaks_off_is_continued_by_the_next_call(server):
    # kagglehub asks for the whole before it asks for the rest
    server.cuts = [CHUNK + 999, None, 2 * CHUNK]
    message_of(kaggle.download)
    text = message_of(kaggle.download)
    assert "no connection, or it broke (" in text and "IncompleteRead" in text
    assert "run the same command again" in text
    assert "0.2 MB have arrived and are kept in" in text
    assert "the same command continues there" in text
    assert not FOLDER.exists()
    server.requests.clear()
    kaggle.download()
    assert server.ranges() == [f"bytes={3 * CHUNK}-"]
    assert (FOLDER / IMAGE).read_bytes() == b"good" * 99999


def _cut_short(server):
    server.cuts = [len(server.data) // 2]
    server.has_facts = False


def _damage(server):
    server.data = server.data.replace(b"goodgood", b"goodgoof", 1)
    server.has_facts = False


def _change_meanwhile(server):
    server.cuts = [3 * CHUNK]
    message_of(kaggle.download)
    server.data = zip_of({IMAGE: b"new!" * 99999, "sample_submission.csv": SAMPLE})


def _show_a_page(server):
    server.faults["GET"] = [Fault(200, "<html>log in</html>", {"Content-Type": "text/html"})]


@pytest.mark.parametrize("spoil", [_cut_short, _damage, _change_meanwhile, _show_a_page])
def test_an_archive_that_is_not_whole_is_refused_and_removed(server, spoil):
    whole = server.data
    spoil(server)
    text = message_of(kaggle.download)
    assert "is not a whole archive" in text and "run the same command again" in text
    assert not FOLDER.exists()
    server.data = whole
    kaggle.download()
    assert files_in(FOLDER) == WHOLE
    assert (FOLDER / IMAGE).read_bytes() == b"good" * 99999


def test_403_on_a_download_names_the_rules_and_an_odd_slug_is_refused(server):
    server.faults["DownloadDataFiles"] = [Fault(403, {"code": 403, "message": "You must accept"})]
    text = message_of(kaggle.download)
    assert "HTTP 403, Kaggle says 'You must accept'" in text and RULES in text
    assert "is not a contest's name" in message_of(lambda: kaggle.download("../etc"))


def test_a_planted_zip_writes_nothing_outside_its_folder(server, tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    absolute = str(tmp_path / "evil")
    server.data = zip_of({"../evil": "x", absolute: "x", link: "/etc"})
    folder = kaggle.download()
    assert not (folder / "link").is_symlink()
    assert [p for p in tmp_path.rglob("evil*") if folder not in p.parents] == []


def test_an_archive_is_kept_if_the_disk_fills_while_it_is_unpacked(server, monkeypatch):
    def fill(zipped, folder):
        zipped.extract(IMAGE, folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", fill)
        text = message_of(kaggle.download)
    assert os.strerror(errno.ENOSPC) in text and "0.4 MB have arrived and are kept" in text
    assert not [name for name in files_in("data/raw") if name.endswith(".bmp")]  # gives room back
    server.cuts = [0]  # nothing more is fetched
    assert files_in(kaggle.download()) == WHOLE


def test_on_kaggle_the_folder_of_the_mount_is_returned(server, monkeypatch, tmp_path):
    (mount := tmp_path / "input" / "competitions" / SLUG).mkdir(parents=True)
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setenv("KAGGLE_DATA_PROXY_URL", server.url)
    monkeypatch.setenv("KAGGLE_USER_SECRETS_TOKEN", "t")
    monkeypatch.setenv("KAGGLE_DATA_PROXY_TOKEN", "t")
    monkeypatch.setenv("KAGGLE_CACHE_MOUNT_FOLDER", str(tmp_path / "input"))
    assert kaggle.download() == mount
