"""A checked submission is answered by a command that the official client takes."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from helpers.commands import cli, kaggle
from helpers.core import files, paths

GOOD = "id,defect_score\nb,0.1\na,0.9\nc,0\n"
CHECK = ["kaggle", "check", "-f", "x.csv"]


@pytest.fixture
def csv(tmp_path, monkeypatch):
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    sample = tmp_path / "data" / "raw" / kaggle.COMPETITION / "sample_submission.csv"
    files.write_bytes(sample, b"id,defect_score\na,0.5\nb,0.5\nc,0.5\n")
    path = tmp_path / "x.csv"
    path.write_text(GOOD)
    return path


@pytest.fixture
def client(monkeypatch, tmp_path):
    """The official client with a dummy key, and what it was asked to submit; it sends nothing."""
    for name in list(os.environ):
        if name.startswith("KAGGLE") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("KAGGLE_USERNAME", "tester")
    monkeypatch.setenv("KAGGLE_KEY", "dummy")
    from kaggle import cli as client

    asked = []
    monkeypatch.setattr(client.api, "competition_submit_cli", lambda **given: asked.append(given))
    return client, asked


def said_by(capfd, code=0):
    """Run the command line, which ends with a code; return what it prints, or its error."""
    capfd.readouterr()
    assert cli.main(CHECK) == code
    said = capfd.readouterr()
    return said.err if code else said.out


def test_a_good_csv_is_answered_by_the_command_that_submits_it(csv, client, capfd, monkeypatch):
    ok, command = said_by(capfd).splitlines()
    assert ok.startswith("ok; ")
    official, asked = client
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    official.main()
    (given,) = asked
    assert (given["competition_opt"], given["file_name"]) == (kaggle.COMPETITION, "x.csv")
    assert given["wait"] is not None and given["message"]


def test_a_bad_csv_and_a_missing_sample_are_named(csv, capfd):
    csv.write_text("id,defect_score\na,0\nb,0\n")
    assert "'c'" in said_by(capfd, code=1)
    csv.write_text(GOOD)
    (sample,) = Path("data").rglob("*.csv")
    sample.rename("other.csv")
    assert "kaggle competitions download" in said_by(capfd, code=1)
    assert cli.main([*CHECK, "--sample", "other.csv"]) == 0


def test_the_columns_are_those_of_the_sample(csv, capfd):
    (sample,) = Path("data").rglob("*.csv")
    sample.write_text("file,p\na.png,0.5\nb.png,0.5\n")
    assert "write file,p" in said_by(capfd, code=1)
    csv.write_text("file,p\nb.png,0.1\na.png,0.9\n")
    assert said_by(capfd).startswith("ok; ")
