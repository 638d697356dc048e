"""The command `good-bad`: one door to all commands, which imports only the one that is used."""

import argparse
import os
import signal
import subprocess
import sys
import textwrap
import types

import pytest

from helpers.commands import cli, doctor
from helpers.core import paths, threads


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
def test_every_command_shows_its_help_as_it_was_called(name, capsys, monkeypatch):
    calls = {f"helpers/{name}.py": f"python -m helpers.{name}", "bin/good-bad": f"good-bad {name}"}
    for path, call in calls.items():
        monkeypatch.setattr(sys, "argv", [path])
        with pytest.raises(SystemExit) as stop:
            cli.main([name, "--help"])
        assert stop.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: {call} ")


def test_every_option_of_every_command_is_explained(monkeypatch):
    silent = []
    add = argparse.ArgumentParser.add_argument
    add_to_group = argparse._ArgumentGroup.add_argument

    def noted(own):
        def add_argument(parser, *names, **options):
            if not options.get("help"):
                silent.append(names)
            return own(parser, *names, **options)

        return add_argument

    monkeypatch.setattr(argparse.ArgumentParser, "add_argument", noted(add))
    monkeypatch.setattr(argparse._ArgumentGroup, "add_argument", noted(add_to_group))
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit):
            cli.start(name, ["--help"])
    assert silent == []


ROOT = paths.project_root()
INTERRUPTED = """
    import os, signal, sys, types
    from helpers.commands import cli

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "helpers.core":  # any command imports it
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                except BaseException as error:  # as libraries do
                    raise RuntimeError("no traceback of a library") from error

    signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run behind an &
    sys.meta_path.insert(0, Finder())
    sys.exit(cli.start(sys.argv[1], ["--help"]))
"""


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_commands_that_compute_look_whether_the_machine_is_shared(monkeypatch, name):
    seen = []

    def main(arguments):
        seen.append(os.environ.get("OMP_WAIT_POLICY"))
        return 0

    module = types.SimpleNamespace(main=main)
    own = f"helpers.commands.{cli.MODULES.get(name, name)}"
    monkeypatch.setitem(sys.modules, own, module)
    monkeypatch.setattr(threads.psutil, "cpu_percent", lambda seconds: 100)
    for policy in threads.POLICIES:
        monkeypatch.delenv(policy, raising=False)
    assert cli.start(name, []) == 0
    assert seen == ["passive" if name in cli.COMPUTING else None]


@pytest.mark.parametrize("name", ["score", "doctor"])  # with polite threads, and without
def test_an_interrupt_while_importing_is_one_line(name):
    command = [sys.executable, "-c", textwrap.dedent(INTERRUPTED), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\ninterrupted\n")


def test_an_interrupt_later_is_one_line_too(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda _: os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert cli.main(["doctor"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_a_command_that_ignores_interrupts_goes_on_ignoring_them(monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda _: os.kill(os.getpid(), signal.SIGINT) or [])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts it behind an &
    try:
        assert cli.main(["doctor"]) == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_both_ways_to_call_a_command_start_it_in_the_same_way(name):
    text = (paths.project_root() / "helpers" / f"{name}.py").read_text()
    assert f'raise SystemExit(start("{name}"))' in text and text.count("import") == 1


def test_a_command_gets_its_arguments_and_its_exit_code_is_returned(monkeypatch):
    given = []
    monkeypatch.setattr(doctor, "examine", lambda options: given.append(options) or [])
    assert cli.main(["doctor", "--preset", "smoke"]) == 0
    assert given[0].preset == "smoke"
    monkeypatch.setattr(doctor, "examine", lambda _: [doctor.Line("PROBLEM", "x", "y")])
    assert cli.main(["doctor"]) == 1


def test_a_relative_home_is_the_same_folder_for_notebooks_which_run_elsewhere(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(paths.HOME_VARIABLE, "mine")
    seen = []
    monkeypatch.setattr(doctor, "examine", lambda _: seen.append(paths.home()) or [])
    assert cli.main(["doctor"]) == 0
    monkeypatch.chdir("/")
    assert [paths.home()] == seen == [tmp_path / "mine"]


def test_an_unknown_command_is_an_error(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["dance"])
    assert stop.value.code == 2
    assert "'dance'" in capsys.readouterr().err
