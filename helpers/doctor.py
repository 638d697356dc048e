"""Run `python -m helpers.doctor`; see `helpers.commands.doctor`."""

from helpers.commands.cli import start

if __name__ == "__main__":
    raise SystemExit(start("doctor"))
