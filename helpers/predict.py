"""Run `python -m helpers.predict`; see `helpers.commands.predict`."""

from helpers.commands.cli import start

if __name__ == "__main__":
    raise SystemExit(start("predict"))
