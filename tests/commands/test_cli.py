"""The command `good-bad`: one door to all commands, which imports only the one that is used."""

import subprocess
import sys

import pytest

from helpers.commands import cli, doctor
from helpers.core import paths


def test_the_help_lists_every_command_and_imports_none(capsys):
    code = (
        "import sys; from helpers.commands import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit as stop: print(stop.code, {'torch', 'pandas'} & set(sys.modules))"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=paths.project_root())
    for door in (paths.project_root() / "helpers").glob("[a-z]*.py"):
        assert f"\n  {door.stem} " in out
    assert out.endswith("0 set()\n")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_shows_its_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert f"usage: python -m helpers.{name}" in capsys.readouterr().out


def test_a_command_gets_its_arguments_and_its_exit_code_is_returned(monkeypatch):
    given = []
    monkeypatch.setattr(doctor, "examine", lambda options: given.append(options) or [])
    assert cli.main(["doctor", "--preset", "smoke"]) == 0
    assert given[0].preset == "smoke"
    monkeypatch.setattr(doctor, "examine", lambda _: [doctor.Line("PROBLEM", "x", "y")])
    assert cli.main(["doctor"]) == 1


def test_an_unknown_command_is_an_error(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["dance"])
    assert stop.value.code == 2
    assert "'dance'" in capsys.readouterr().err
