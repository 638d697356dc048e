"""Run `python -m helpers.run`; see `helpers.commands.run`."""

from helpers.commands.cli import start

if __name__ == "__main__":
    raise SystemExit(start("run"))
