"""Run `python -m helpers COMMAND`; see `helpers.commands.cli`."""

from helpers.commands.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
