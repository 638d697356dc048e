"""Run `python -m helpers.score`; see `helpers.commands.score.command`."""

from helpers.commands.score.command import main

if __name__ == "__main__":
    raise SystemExit(main())
