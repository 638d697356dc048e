"""Check a submission before it is sent; the official client `kaggle` sends it."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from helpers.commands.cli import parser_of
from helpers.core import paths
from helpers.core.errors import UserError

COMPETITION = "semi-conductor-image-classification-first"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return 0."""
    options = vars(parser().parse_args(arguments))
    run = options.pop("run")
    print(run(**options))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser; its options are the arguments of `check`."""
    top = parser_of("kaggle", __doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser("check", help="check a CSV before it is submitted")
    text = "the contest's name; default: %(default)s"
    sub.add_argument("-c", "--competition", dest="slug", default=COMPETITION, help=text)
    sub.add_argument("-f", "--file", type=Path, dest="path", required=True, help="the CSV")
    sub.add_argument("--sample", type=Path, help="sample submission; default: the downloaded one")
    sub.set_defaults(run=check)
    return top


def check(path: Path, slug: str = COMPETITION, sample: Path | None = None) -> str:
    """Check a CSV against the sample submission, and return the command that submits it.

    `slug` is the contest's name in its address; the `sample` is by default that in `data/raw/slug`.
    """
    from helpers.datasets.contest import SAMPLE  # these import much
    from helpers.results.submission import validate_submission

    folder = paths.raw_root() / slug
    found = sample or next(iter(sorted(folder.rglob(SAMPLE))), None)
    if found is None:
        raise UserError(
            f"No sample submission under {folder} to check against: give --sample, or fetch it: "
            f"kaggle competitions download -p {folder} --unzip {slug}"
        )
    validate_submission(path, found)
    file = shlex.quote(str(path))
    return f"ok; submit it by\nkaggle competitions submit -c {slug} -f {file} -m MESSAGE --wait"
