"""Run `python -m helpers.review`; see `helpers.commands.review`."""

from helpers.commands.cli import start

if __name__ == "__main__":
    raise SystemExit(start("review"))
