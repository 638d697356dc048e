"""The command `good-bad`: one door to all commands, which imports only the one that is used."""

import os
import signal
import subprocess
import sys
import textwrap
import types
from unittest.mock import Mock

import pytest

from helpers.commands import cli
from helpers.commands.kernel import RunInterrupted, RunOutOfTime
from helpers.core import paths
from helpers.core.errors import UserError

ROOT = paths.project_root()


@pytest.fixture
def command(monkeypatch):
    """Return a function that puts another `main` into a command, and returns the call."""

    def replaced(name, main):
        module = types.SimpleNamespace(main=main)
        monkeypatch.setitem(sys.modules, f"helpers.commands.{name}", module)
        return lambda *arguments: cli.main([name, *arguments])

    return replaced


@pytest.mark.parametrize("command", [["kaggle", "check"], ["run"]])
def test_help_comes_at_once_as_nothing_heavy_is_imported(command):
    code = (
        "import sys; from helpers.commands import cli\n"
        "heavy = {'torch', 'timm', 'pandas', 'numpy', 'kaggle', 'requests'}\n"
        f"try: cli.main({[*command, '--help']})\n"
        "except SystemExit as stop: print(stop.code, heavy & set(sys.modules))"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT)
    assert out.endswith("0 set()\n")


def test_the_package_alone_lists_every_command_and_no_other_is_taken():
    call = [sys.executable, "-m", "helpers"]
    out = subprocess.check_output(call, text=True, cwd=ROOT)
    assert out.startswith("usage: python -m helpers ")
    for door in (ROOT / "helpers").glob("[a-z]*.py"):
        assert f"\n  {door.stem} " in out
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(["dance"])


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_shows_how_it_was_called(capsys, monkeypatch, name):
    calls = {f"helpers/{name}.py": f"python -m helpers.{name}", "good-bad": f"good-bad {name}"}
    for path, call in calls.items():
        monkeypatch.setattr(sys, "argv", [path])
        with pytest.raises(SystemExit) as stop:
            cli.start(name, ["--help"])
        assert stop.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: {call} ")


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


def test_an_interrupt_while_importing_is_one_line():
    command = [sys.executable, "-c", textwrap.dedent(INTERRUPTED), "predict"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\ninterrupted\n")


@pytest.mark.parametrize(("handler", "code"), [(signal.default_int_handler, 130), ("ignored", 0)])
def test_an_interrupt_later_is_one_line_too_unless_the_shell_ignores_it(
    command, capsys, handler, code
):
    interrupted = command("export", lambda _: os.kill(os.getpid(), signal.SIGINT) or 0)
    # a shell starts a command behind an & so
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if handler == "ignored" else handler)
    try:
        assert interrupted() == code
    finally:
        signal.signal(signal.SIGINT, before)
    assert ("interrupted" in capsys.readouterr().err) == (code == 130)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("wrong"), 1, "error: wrong\n"),
        (FileNotFoundError(2, "No such file", "x.png"), 1, "'x.png'\n"),
        (RunOutOfTime("later"), 75, "later\n"),
        (RunInterrupted("stopped"), 130, "stopped\n"),
    ],
)
def test_an_error_is_one_line_and_says_the_exit_code(command, capsys, error, code, told):
    assert command("export", Mock(side_effect=error))() == code
    said = capsys.readouterr().err
    assert said.endswith(told) and said.count("\n") == 1


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    call = "from helpers.commands import cli; cli.start('predict', ['--model', 'demo'])"
    reader = subprocess.Popen([sys.executable, "-c", call], stdout=subprocess.PIPE, stderr=-1)
    reader.stdout.close()
    assert b"error" not in reader.stderr.read()


def test_a_relative_home_is_the_same_folder_for_notebooks_which_run_elsewhere(
    command, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(paths.HOME_VARIABLE, "mine")
    seen = []
    command("export", lambda _: seen.append(paths.home()))()
    monkeypatch.chdir("/")
    assert [paths.home()] == seen == [tmp_path / "mine"]
