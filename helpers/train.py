"""Run `python -m helpers.train`; see `helpers.commands.train`."""

import sys

from helpers.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
