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
    """Check a CSV, print the command that submits it, and return 0."""
    options = parser().parse_args(arguments)
    print(check(options.file, options.competition, options.sample))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    top = parser_of("kaggle", __doc__)
    add = top.add_argument
    add("command", choices=["check"], help="check a CSV before it is submitted")
    add("-c", "--competition", default=COMPETITION, help="its name; default: %(default)s")
    add("-f", "--file", type=Path, required=True, help="the CSV")
    add("--sample", type=Path, help="sample submission; default: the downloaded one")
    return top


def check(path: Path, slug: str, sample: Path | None) -> str:
    """Check a CSV of the contest `slug` against its sample; return the command that submits it."""
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
