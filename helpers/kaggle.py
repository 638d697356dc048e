"""Run `python -m helpers.kaggle`; see `helpers.commands.kaggle`."""

from helpers.commands.cli import start

if __name__ == "__main__":
    raise SystemExit(start("kaggle"))
