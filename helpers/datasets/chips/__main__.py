"""Write a synthetic chip data set: `python -m helpers.datasets.chips --out DIR`."""

import sys

from helpers.datasets.chips.write import main

if __name__ == "__main__":
    sys.exit(main())
