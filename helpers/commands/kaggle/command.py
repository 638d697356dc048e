"""Check a submission, or prepare the series for Kaggle; the official client `kaggle` sends both."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from helpers.commands.cli import parser_of
from helpers.commands.kaggle import prepare
from helpers.core import paths
from helpers.core.errors import UserError


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
    sub = commands.add_parser("check", help="check a CSV before it is submitted")
    text = "the contest's name; default: %(default)s"
    sub.add_argument("-c", "--competition", dest="slug", default=prepare.COMPETITION, help=text)
    sub.add_argument("-f", "--file", type=Path, dest="path", required=True, help="the CSV")
    sub.add_argument("--sample", type=Path, help="sample submission; default: the downloaded one")
    sub.set_defaults(run=check)

    sub = commands.add_parser("prepare", help="write what runs the series on Kaggle, private")
    sub.add_argument("--owner", required=True, help="your user name, NAME of kaggle.com/NAME")
    text = f"options of helpers.run, as --run='...'; they follow {shlex.join(prepare.DEFAULTS)}"
    sub.add_argument("--run", type=shlex.split, dest="arguments", default=[], help=text)
    sub.add_argument("--title", default=prepare.TITLE, help="name on Kaggle; default: %(default)s")
    text = "attach a data set, OWNER/NAME, such as images or weights; may be given several times"
    sub.add_argument("--dataset", action="append", default=[], dest="datasets", help=text)
    sub.add_argument("--cpu", dest="gpu", action="store_false", help="no GPU")
    sub.set_defaults(run=prepare.prepare)
    return top


def check(path: Path, slug: str = prepare.COMPETITION, sample: Path | None = None) -> str:
    """Check a CSV against the sample submission, and return the command that submits it.

    Args:
        path: the CSV.
        slug: the contest's name in its address.
        sample: the sample submission; by default the one found under `data/raw/slug`.

    Raises:
        ArtifactError: the CSV would be refused.
        UserError: there is no sample submission.
    """
    # these import much
    from helpers.datasets.nexperia import SAMPLE_NAMES
    from helpers.results.submission import validate_submission

    folder = paths.raw_root() / slug
    samples = [file for name in SAMPLE_NAMES for file in sorted(folder.rglob(name))]
    if not (sample or samples):
        raise UserError(
            f"No sample submission under {folder} to check against: give --sample, or fetch it: "
            f"kaggle competitions download -p {folder} --unzip {slug}"
        )
    validate_submission(path, sample or samples[0])
    file = shlex.quote(str(path))
    return f"ok; submit it by\nkaggle competitions submit -c {slug} -f {file} -m MESSAGE --wait"
