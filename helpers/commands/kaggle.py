"""Check a submission before it is sent; the official client `kaggle` sends it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from helpers.commands import cli
from helpers.core import paths
from helpers.core.errors import UserError

COMPETITION = "semi-conductor-image-classification-first"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a CSV against a sample submission, print the command that submits it, and return 0."""
    parser = cli.parser_of("kaggle", __doc__)
    add = parser.add_argument
    add("command", choices=["check"], help="check a CSV before it is submitted")
    add("-c", "--competition", default=COMPETITION, help="its name; default: %(default)s")
    add("-f", "--file", type=Path, required=True, help="the CSV")
    add("--sample", type=Path, help="sample submission; default: the downloaded one")
    options = parser.parse_args(arguments)
    from helpers.datasets.contest import SAMPLE  # these import much
    from helpers.results.submission import validate_submission

    slug, folder = options.competition, paths.raw_root() / options.competition
    found = options.sample or next(iter(sorted(folder.rglob(SAMPLE))), None)
    if found is None:
        raise UserError(
            f"No sample submission under {folder} to check against: give --sample, or fetch it: "
            f"kaggle competitions download -p {folder} --unzip {slug}"
        )
    validate_submission(options.file, found)
    file = shlex.quote(str(options.file))
    print(f"ok; submit it by\nkaggle competitions submit -c {slug} -f {file} -m MESSAGE --wait")
    return 0
