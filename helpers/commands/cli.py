"""Run `good-bad COMMAND`; `python -m helpers` and `python -m helpers.COMMAND` do the same."""

import importlib
import os
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import helpers
from helpers.runs.presets import PRESETS

COMMANDS = {
    "run": "run the notebooks in order, from images to the submission CSV",
    "predict": "say whether parts are good or bad, with a trained model",
    "review": "judge by eye what a model leaves open, on one page",
    "export": "write a trained model as an ONNX file, for a line without this package",
    "kaggle": "check a submission for Kaggle",
}
DEFAULT_DATASET = "elpv"
_INTERRUPTED = "\ninterrupted"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand that is named first, the only one to be imported; return its exit code.

    Without arguments, show the help, which lists the commands.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    listed = "\n".join(f"  {name:<8} {text}" for name, text in COMMANDS.items())
    about = f"Find faulty electronic parts in images.\n\ncommands:\n{listed}"
    parser = parser_of("", about)
    parser.epilog = "%(prog)s COMMAND --help shows the options of a command."
    parser.add_argument("--version", action="store_true", help="show what is in use, and end")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    if arguments[:1] == ["--version"]:
        from helpers.core import environment  # slow: others import them in `start`

        device = environment.device_name(environment.default_device())
        used = environment.versions() | {"device": device}
        listed = "; ".join(f"{name} {version}" for name, version in used.items())
        print(f"good-bad {helpers.__version__} ({listed})")
        return 0
    return start(parser.parse_args(arguments[:1] or ["--help"]).command, arguments[1:])


def start(command: str, arguments: Sequence[str] | None = None) -> int:
    """Import a command, run it, and return its exit code.

    An error that the user can fix is printed on stderr; the exit code is then the error's
    `exit_code`, or 1. Ctrl-C at any moment returns 130.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's & ignores Ctrl-C
        signal.signal(signal.SIGINT, _interrupt)
    try:
        errors = importlib.import_module("helpers.core.errors")
        paths = importlib.import_module("helpers.core.paths")
        if os.environ.get(paths.HOME_VARIABLE):  # notebooks run in another folder
            os.environ[paths.HOME_VARIABLE] = str(paths.home())
        if command == "run":
            run_parser().parse_args(arguments)  # --help ends here, before torch is imported
        module = importlib.import_module(f"helpers.commands.{command}")
        try:
            return module.main(arguments)
        except BrokenPipeError:  # the reader of the output (`| head`) has ended
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except (errors.UserError, OSError) as error:
            code = getattr(error, "exit_code", 1)  # codes other than 1 are not failures
            print(f"error: {error}" if code == 1 else error, file=sys.stderr)
            return code
    except KeyboardInterrupt:
        print(_INTERRUPTED, file=sys.stderr)
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, but end the process at once if a library is being imported.

    Libraries turn an interrupt of their import into other errors, an abort, or nothing.
    """
    while frame:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            os.write(2, f"{_INTERRUPTED}\n".encode())
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt


def program(command: str) -> str:
    """Return how the user calls a command: `good-bad run`, or else `python -m helpers.run`."""
    installed = Path(sys.argv[0]).stem == "good-bad"
    call = f"good-bad {command}" if installed else f"python -m helpers.{command}"
    return call.rstrip(" .")  # without a command, for the list of all


def parser_of(command: str, about: str | None) -> ArgumentParser:
    """Return a parser whose help keeps the lines of the description."""
    raw = RawDescriptionHelpFormatter
    return ArgumentParser(program(command), description=about, formatter_class=raw)


def run_parser() -> ArgumentParser:
    """Return the parser of the command `run`."""
    parser = parser_of("run", "Run the notebooks in order; finished work is not done again.")
    add = parser.add_argument
    add(
        "--dataset",
        help=f"{DEFAULT_DATASET} (default), folder:PATH, nexperia[:PATH], chips, bsdata:PATH",
    )
    add("--preset", choices=PRESETS, help="default: quick on a CPU, full on a GPU")
    add("--name", help="name of the run; default <dataset>-<preset>")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--from", dest="start", metavar="NN", help="first stage to look at")
    which.add_argument("--only", metavar="NN", help="the one stage to run")
    text = "a notebook's parameter; may be given several times"
    add("-p", dest="parameter", action="append", default=[], metavar="NAME=VALUE", help=text)
    return parser
