"""Run `python -m helpers.run`; see `helpers.commands.run`."""

from helpers.commands.run import main

if __name__ == "__main__":
    raise SystemExit(main())
