"""Run `python -m helpers.score`; see `helpers.commands.score`."""

from helpers.commands.cli import start

if __name__ == "__main__":
    raise SystemExit(start("score"))
