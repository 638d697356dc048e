"""Submit a CSV that has been checked, run the series on Kaggle."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from helpers.commands.cli import parser_of
from helpers.commands.kaggle import push
from helpers.commands.kaggle.client import COMPETITION, KaggleError, asking, connect
from helpers.core import paths

WAIT_S = 1800  # for the score of a submission


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return 0.

    Raises:
        UserError: the command failed.
    """
    options = vars(parser().parse_args(arguments))
    run = options.pop("run")
    print(run(**options))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser; its options are the arguments of the functions."""
    top = parser_of("kaggle", __doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser("submit", help="check a CSV and submit it")
    text = "the contest's name; default: %(default)s"
    sub.add_argument("-c", "--competition", dest="slug", default=COMPETITION, help=text)
    sub.add_argument("-f", "--file", type=Path, dest="path", required=True, help="the CSV")
    sub.add_argument("-m", "--message", required=True, help="a note beside the submission")
    sub.add_argument("--sample", type=Path, help="sample submission; default: the downloaded one")
    sub.set_defaults(run=submit)

    sub = commands.add_parser("push", help="run the series on Kaggle, as a private notebook")
    text = f"options of helpers.run, as --run='...'; they follow {shlex.join(push.DEFAULTS)}"
    sub.add_argument("--run", type=shlex.split, dest="arguments", default=[], help=text)
    sub.add_argument("--title", default=push.TITLE, help="name on Kaggle; default: %(default)s")
    text = "attach a data set, OWNER/NAME, such as images or weights; may be given several times"
    sub.add_argument("--dataset", action="append", default=[], dest="datasets", help=text)
    sub.add_argument("--cpu", dest="gpu", action="store_false", help="no GPU")
    sub.set_defaults(run=push.push)
    return top


def submit(path: Path, message: str, slug: str = COMPETITION, sample: Path | None = None) -> str:
    """Check a CSV, submit it, wait for the score, and return Kaggle's answer; print the score.

    Args:
        path: the CSV.
        message: the description shown on Kaggle.
        slug: the contest's name in its address.
        sample: the sample submission; by default the one found under `data/raw/slug`.

    Raises:
        ArtifactError: the CSV would be refused; nothing was sent.
        KaggleError: it was not submitted, or has no score; the page that is named says which.
    """
    # these import much
    from helpers.datasets.nexperia import SAMPLE_NAMES
    from helpers.results.submission import validate_submission

    folder = paths.raw_root() / slug
    samples = [file for name in SAMPLE_NAMES for file in sorted(folder.rglob(name))]
    if not (sample or samples):
        raise KaggleError(
            f"No sample submission under {folder} to check against: give --sample, or fetch it: "
            f"kaggle competitions download -p {folder} --unzip {slug}"
        )
    validate_submission(path, None, sample or samples[0])
    api = connect()
    try:
        with asking(f"submitting {path.name}"):
            return api.competition_submit_cli(str(path), message, slug, wait=WAIT_S)
    except KaggleError as error:
        page = f"https://www.kaggle.com/competitions/{slug}/submissions"
        raise KaggleError(f"{error}\nLook at {page} before you send the file again.") from None
