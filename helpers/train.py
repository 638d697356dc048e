"""Run `python -m helpers.train`; see `helpers.commands.train`."""

from helpers.commands.cli import start

if __name__ == "__main__":
    raise SystemExit(start("train"))
