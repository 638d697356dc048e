"""Run `python -m helpers.doctor`; see `helpers.commands.doctor`."""

from helpers.commands.doctor import main

if __name__ == "__main__":
    raise SystemExit(main())
