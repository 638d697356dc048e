"""Download the contest's files, submit a CSV, run notebooks on Kaggle."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from helpers.commands.cli import parser_of
from helpers.commands.kaggle.client import COMPETITION, KaggleError
from helpers.commands.kaggle.files import download
from helpers.commands.kaggle.kernels import Push, push
from helpers.commands.kaggle.series import DEFAULTS, TITLE, push_series
from helpers.commands.kaggle.submissions import submit
from helpers.core.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 after a failure that was told on stderr."""
    options = _parser().parse_args(arguments)
    try:
        print(options.run(options))
        return 0
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _submit(options: argparse.Namespace) -> str:
    given = options.file, options.message, options.competition
    return submit(*given, sample_path=options.sample, wait_s=options.wait)


def _push(options: argparse.Namespace) -> str:
    if options.run_options and options.notebook:
        raise KaggleError("--run belongs to --series: a notebook has its own parameters cell.")
    given = vars(options)
    settings = Push(**{f.name: given[f.name] for f in fields(Push) if f.name in given})
    if options.notebook:
        pushed = push(options.notebook, settings)
    else:
        pushed = push_series(options.run_options, settings)
    return f"Pushed {pushed['ref']}, version {pushed['version']}. It runs at {pushed['url']}"


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("kaggle", __doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    contest = argparse.ArgumentParser(add_help=False)
    contest.add_argument("-c", "--competition", default=COMPETITION, help="default: %(default)s")

    sub = commands.add_parser("download", parents=[contest], help="fetch and unpack the files")
    sub.set_defaults(run=lambda options: f"Ready: {download(options.competition)}")

    sub = commands.add_parser("submit", parents=[contest], help="check a CSV and submit it")
    sub.add_argument("-f", "--file", type=Path, required=True, help="the CSV to submit")
    sub.add_argument("-m", "--message", required=True, help="a note beside the submission")
    sub.add_argument("--sample", type=Path, help="sample submission; default: the downloaded one")
    sub.add_argument("--wait", type=int, default=1800, help="seconds for the score; 0: do not wait")
    sub.set_defaults(run=_submit)

    sub = commands.add_parser("push", help="run a notebook, or the whole series, on Kaggle")
    pushed = sub.add_mutually_exclusive_group(required=True)
    pushed.add_argument("notebook", type=Path, nargs="?", help="a notebook's file")
    pushed.add_argument("--series", action="store_true", help="all notebooks, by helpers.run")
    sub.add_argument(
        "--run",
        dest="run_options",
        type=shlex.split,
        default=[],
        metavar="'OPTIONS'",
        help=f"of helpers.run, as --run='...'; they follow {shlex.join(DEFAULTS)}",
    )
    sub.add_argument("-c", "--competition", default=COMPETITION, help="attached; '' for none")
    title = f"name on Kaggle; default: by the file's name, or {TITLE!r}"
    sub.add_argument("--title", default="", help=title)
    sub.add_argument("--owner", default="", help="account; default: the one of the credentials")
    several: dict[str, Any] = {"action": "append", "default": []}
    for name, shape, what in (
        ("dataset", "OWNER/NAME", "a data set to attach"),
        ("kernel", "OWNER/NAME", "a notebook whose output is attached, e.g. of an earlier push"),
        ("model", "OWNER/MODEL/FRAMEWORK/VARIATION/VERSION", "a model of Kaggle's to attach"),
    ):
        text = f"{what}; may be given several times"
        sub.add_argument(f"--{name}", dest=f"{name}s", metavar=shape, help=text, **several)
    text = "a file to upload: weights, or a wheel to install; may be given several times"
    sub.add_argument("--attach", type=Path, metavar="FILE", help=text, **several)
    no: dict[str, Any] = {"action": "store_false"}
    sub.add_argument("--no-bundle", dest="bundle", **no, help="keep the helpers of the last push")
    sub.add_argument("--cpu", dest="gpu", **no, help="no GPU")
    sub.add_argument("--public", dest="private", **no, help="show the notebook to everybody")
    sub.set_defaults(run=_push)
    return parser
