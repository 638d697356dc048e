"""The options of `helpers.run`, which `helpers.doctor` takes too; reading them needs no torch."""

from __future__ import annotations

import argparse

from helpers.commands.cli import parser_of
from helpers.runs.presets import PRESETS

DEFAULT_DATASET = "elpv"


def parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a command that takes these options."""
    parser = parser_of(command, description)
    data_sets = f"{DEFAULT_DATASET} (default), folder:PATH, nexperia[:PATH], chips"
    parser.add_argument("--dataset", help=data_sets)
    parser.add_argument("--preset", choices=PRESETS, help="default: quick on a CPU, full on a GPU")
    parser.add_argument("--name", help="name of the run; default <dataset>-<preset>")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--from", dest="start", metavar="NN", help="first stage to look at")
    which.add_argument("--only", metavar="NN", help="the one stage to run")
    text = "a notebook's parameter; may be given several times"
    parser.add_argument(
        "-p", dest="parameter", action="append", default=[], metavar="NAME=VALUE", help=text
    )
    published = "write the executed notebooks and README's pictures into notebooks/"
    parser.add_argument("--publish", action="store_true", help=published)
    return parser
