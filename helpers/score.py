"""`python -m helpers.score`: see `helpers.commands.score.command`."""

import sys

from helpers.commands.score.command import main

if __name__ == "__main__":
    sys.exit(main())
