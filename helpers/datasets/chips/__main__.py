"""Write a synthetic chip data set: `python -m helpers.datasets.chips --out DIR`."""

import argparse
import sys
from pathlib import Path

from helpers.core.errors import UserError
from helpers.datasets.chips.draw import IMAGE_SIZE_PX
from helpers.datasets.chips.write import BAD_FRACTION, write_dataset


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status, 0 or, for a refused request, 1."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.datasets.chips",
        description="Write SYNTHETIC chip images in the layout of the Nexperia contest.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--train", type=int, default=30_000, help="training images (30000)")
    parser.add_argument("--test", type=int, default=3_000, help="test images (3000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bad-fraction", type=float, default=BAD_FRACTION, help="bad parts (0.1)")
    parser.add_argument("--size-px", type=int, default=IMAGE_SIZE_PX, help="side (280)")
    values = vars(parser.parse_args(arguments))
    try:
        out = write_dataset(**values)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{values['train']} + {values['test']} synthetic images in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
