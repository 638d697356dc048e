"""Run `python -m helpers.run`; see `helpers.commands.run`."""

import sys

from helpers.commands.run import main

if __name__ == "__main__":
    sys.exit(main())
