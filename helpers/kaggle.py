"""Run `python -m helpers.kaggle`; see `helpers.commands.kaggle`."""

from helpers.commands.kaggle.command import main

if __name__ == "__main__":
    raise SystemExit(main())
