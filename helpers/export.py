"""Run `python -m helpers.export`; see `helpers.commands.export`."""

from helpers.commands.cli import start

if __name__ == "__main__":
    raise SystemExit(start("export"))
