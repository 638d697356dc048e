"""A checked submission is answered by a command that the official client takes."""

import shlex
import sys
from pathlib import Path
from unittest.mock import Mock

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


def said_by(capfd, code=0):
    """Run the command line, which ends with a code; return what it prints, or its error."""
    capfd.readouterr()
    assert cli.main(CHECK) == code
    said = capfd.readouterr()
    return said.err if code else said.out


def test_a_good_csv_is_answered_by_the_command_that_submits_it(csv, capfd, monkeypatch):
    ok, command = said_by(capfd).splitlines()
    assert ok.startswith("ok; ")
    for name, value in {"CONFIG_DIR": csv.parent, "USERNAME": "tester", "KEY": "dummy"}.items():
        monkeypatch.setenv(f"KAGGLE_{name}", str(value))
    from kaggle import cli as client  # the official one, which sends nothing here

    submit = Mock(return_value=None)
    monkeypatch.setattr(client.api, "competition_submit_cli", submit)
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    client.main()
    given = submit.call_args.kwargs
    assert (given["competition_opt"], given["file_name"]) == (kaggle.COMPETITION, "x.csv")
    assert given["wait"] is not None and given["message"]


def test_a_bad_csv_and_a_missing_sample_are_named_and_columns_are_the_sample_s(csv, capfd):
    csv.write_text("id,defect_score\na,0\nb,0\n")
    assert "'c'" in said_by(capfd, code=1)
    csv.write_text(GOOD)
    (sample,) = Path("data").rglob("*.csv")
    sample.rename("other.csv")
    assert "kaggle competitions download" in said_by(capfd, code=1)
    assert cli.main([*CHECK, "--sample", "other.csv"]) == 0
    sample.write_text("file,p\na.png,0.5\nb.png,0.5\n")
    assert "write file,p" in said_by(capfd, code=1)
    csv.write_text("file,p\nb.png,0.1\na.png,0.9\n")
    assert said_by(capfd).startswith("ok; ")
