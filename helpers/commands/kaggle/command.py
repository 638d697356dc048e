"""Download a contest's files, submit a CSV, run the series on Kaggle."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.commands.cli import parser_of
from helpers.commands.kaggle import contest, push
from helpers.commands.kaggle.client import COMPETITION
from helpers.core.errors import UserError

NO_SCORE = 3  # the exit code after a submission that must not be sent again


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 after a failure, 3 if a file was submitted but has no score.

    The reason is on stderr. After 1 nothing was submitted.
    """
    options = vars(parser().parse_args(arguments))
    run = options.pop("run")
    try:
        print(run(**options))
        return 0
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return NO_SCORE if isinstance(error, contest.NoScoreError) else 1


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser; its options are the arguments of the functions."""
    top = parser_of("kaggle", __doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    chosen = argparse.ArgumentParser(add_help=False)
    text = "the contest's name; default: %(default)s"
    chosen.add_argument("-c", "--competition", dest="slug", default=COMPETITION, help=text)

    sub = commands.add_parser("download", parents=[chosen], help="fetch and unpack the files")
    sub.set_defaults(run=lambda slug: f"Ready: {contest.download(slug)}")

    sub = commands.add_parser(
        "submit",
        parents=[chosen],
        help="check a CSV and submit it",
        epilog="Exit code 1: nothing was submitted. 3: the file has arrived, or may have arrived, "
        "but there is no score: look at the page that is named before you send it again.",
    )
    sub.add_argument("-f", "--file", type=Path, dest="path", required=True, help="the CSV")
    sub.add_argument("-m", "--message", required=True, help="a note beside the submission")
    sub.add_argument("--sample", type=Path, help="sample submission; default: the downloaded one")
    text = "seconds for the score; 0: do not wait; default: %(default)s"
    sub.add_argument("--wait", type=int, dest="wait_s", default=1800, help=text)
    sub.set_defaults(run=contest.submit)

    sub = commands.add_parser("push", help="run the series on Kaggle, as a private notebook")
    text = f"options of helpers.run, as --run='...'; they follow {shlex.join(push.DEFAULTS)}"
    sub.add_argument("--run", type=shlex.split, dest="arguments", default=[], help=text)
    sub.add_argument("--title", default=push.TITLE, help="name on Kaggle; default: %(default)s")
    text = "attach a data set, OWNER/NAME, such as images or weights; may be given several times"
    sub.add_argument("--dataset", action="append", default=[], dest="datasets", help=text)
    sub.add_argument("--cpu", dest="gpu", action="store_false", help="no GPU")
    sub.set_defaults(run=push.push)
    return top
