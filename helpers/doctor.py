"""Run `python -m helpers.doctor`; see `helpers.commands.doctor`."""

import sys

from helpers.commands.doctor import main

if __name__ == "__main__":
    sys.exit(main())
