"""Run `python -m helpers.train`; see `helpers.commands.train`."""

from helpers.commands.train import main

if __name__ == "__main__":
    raise SystemExit(main())
