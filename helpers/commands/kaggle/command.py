"""python -m helpers.kaggle download | submit | push | status"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.commands.kaggle.client import COMPETITION, Retry
from helpers.commands.kaggle.errors import KaggleError
from helpers.commands.kaggle.files import download
from helpers.commands.kaggle.kernels import push
from helpers.commands.kaggle.scoring import status
from helpers.commands.kaggle.series import DEFAULTS, push_series
from helpers.commands.kaggle.submissions import submit
from helpers.core.files import ArtifactError
from helpers.results.submission import SubmissionError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 after a failure that was told on stderr, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        print(options.run(options))
        return 0
    except (KaggleError, SubmissionError, ArtifactError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"A file cannot be read or written: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. What was done is kept; the same command goes on.", file=sys.stderr)
        return 130


def _download(options: argparse.Namespace) -> str:
    folder = download(options.competition, options.root, force=options.force, retry=_retry(options))
    return f"Ready: {folder}"


def _submit(options: argparse.Namespace) -> str:
    record = submit(
        options.file,
        options.message,
        options.competition,
        sample_path=options.sample,
        order_matters=options.order_matters,
        root=options.root,
        wait_s=0 if options.no_wait else options.wait,
        again=options.again,
        retry=_retry(options),
    )
    if record["status"] != "COMPLETE":
        return (
            f"Sent as submission {record['ref']}. Its score: "
            f"python -m helpers.kaggle status --file {options.file}"
        )
    return f"Submission {record['ref']}: public score {record['public_score'] or 'not shown'}"


def _push(options: argparse.Namespace) -> str:
    if options.series == (options.notebook is not None):
        raise KaggleError("Give the path of a notebook, or --series for all of them as one.")
    if options.run_options and not options.series:
        raise KaggleError("--run belongs to --series: a notebook has its own parameters cell.")
    what: Any = _run_options(options.run_options) if options.series else options.notebook
    pushed = (push_series if options.series else push)(
        what,
        title=options.title,
        owner=options.owner,
        competition=options.competition or None,
        datasets=options.dataset,
        kernels=options.kernel,
        models=options.model,
        attach=options.attach,
        bundle=not options.no_bundle,
        gpu=not options.cpu,
        private=not options.public,
        build=options.build,
        retry=_retry(options),
    )
    return f"Pushed {pushed['ref']}, version {pushed['version']}. It runs at {pushed['url']}"


def _run_options(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise KaggleError(f"--run {text!r} cannot be split into words: {error}.") from None


def _status(options: argparse.Namespace) -> str:
    answer = status(options.competition, path=options.file, ref=options.ref, retry=_retry(options))
    return "\n".join(f"{name}: {value}" for name, value in answer.items())


def _retry(options: argparse.Namespace) -> Retry:
    return Retry(attempts=options.tries)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m helpers.kaggle", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--tries", type=int, default=5, help="of a safe request (%(default)s)")
    common.add_argument("-c", "--competition", default=COMPETITION, help="default: %(default)s")
    common.add_argument("--root", type=Path, help="folder of raw data; default: the project's")

    sub = commands.add_parser("download", parents=[common], help="fetch and unpack the files")
    sub.add_argument("--force", action="store_true", help="download again and replace the folder")
    sub.set_defaults(run=_download)

    sub = commands.add_parser("submit", parents=[common], help="check a CSV and submit it once")
    sub.add_argument("-f", "--file", type=Path, required=True)
    sub.add_argument("-m", "--message", required=True)
    sub.add_argument("--sample", type=Path, help="sample submission; default: the downloaded one")
    sub.add_argument("--order-matters", action="store_true", help="rows as in the sample")
    sub.add_argument("--wait", type=float, default=1800, help="seconds to wait for the score")
    sub.add_argument("--no-wait", action="store_true", help="return without the score")
    sub.add_argument("--again", action="store_true", help="send a file that was sent before")
    sub.set_defaults(run=_submit)

    _add_push(commands)

    sub = commands.add_parser("status", parents=[common], help="a score, or the submissions left")
    sub.add_argument("-f", "--file", type=Path, help="the CSV of the submission")
    sub.add_argument("--ref", type=int, help="the reference of the submission")
    sub.set_defaults(run=_status)
    return parser


def _add_push(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("push", help="run a notebook, or the whole series, on Kaggle")
    sub.add_argument("notebook", type=Path, nargs="?")
    sub.add_argument("--series", action="store_true", help="all notebooks, by helpers.run")
    sub.add_argument(
        "--run",
        dest="run_options",
        default="",
        metavar="'OPTIONS'",
        help=f"of helpers.run, as --run='...'; what they leave out is {shlex.join(DEFAULTS)}",
    )
    sub.add_argument("-c", "--competition", default=COMPETITION, help="attached; '' for none")
    sub.add_argument("--tries", type=int, default=5, help="of a safe request (%(default)s)")
    sub.add_argument("--title")
    sub.add_argument("--owner", help="account; default: the one of the credentials")
    for kind, shape in (
        ("dataset", "owner/name"),
        ("kernel", "owner/name"),
        ("model", "owner/model/framework/variation/version"),
    ):
        sub.add_argument(f"--{kind}", action="append", default=[], metavar=shape)
    sub.add_argument("--attach", action="append", default=[], type=Path, metavar="FILE")
    sub.add_argument("--no-bundle", action="store_true", help="keep the helpers of the last push")
    sub.add_argument("--cpu", action="store_true", help="no GPU")
    sub.add_argument("--public", action="store_true")
    sub.add_argument("--build", type=Path, default=Path("build/kaggle"))
    sub.set_defaults(run=_push)
