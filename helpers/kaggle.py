"""`python -m helpers.kaggle`: see `helpers.commands.kaggle`."""

import sys

from helpers.commands.kaggle.command import main

if __name__ == "__main__":
    sys.exit(main())
