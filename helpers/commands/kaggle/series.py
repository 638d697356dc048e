"""Push the whole series to Kaggle as one notebook, which calls helpers.run there."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.commands.kaggle.client import KaggleError, connect
from helpers.commands.kaggle.kernels import Push, owner_of, send
from helpers.core.errors import UserError

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from helpers.commands.plan import Plan

TITLE = "Good Bad Series"
# Kaggle ends a session after 12 hours; the last notebook and the saving need some time.
DEFAULTS = ("--dataset", "nexperia", "--preset", "full", "-p", "TIME_BUDGET_MIN=660")

_ABOUT = """# Good or bad: the whole series

Written by `python -m helpers.kaggle push --series`. The first cell installs the helpers, the
second runs the notebooks in order, the last shows the results. The executed notebooks are in
`data/runs/{run}/notebooks/`."""

_RUN = """# Work that an attached output of this notebook holds already is not done again.
from helpers.commands.kaggle import session

finished = session.run_series(
    {arguments},
    {ref!r},
)"""


def push_series(arguments: Sequence[str] = (), settings: Push | None = None) -> dict:
    """Push one notebook that runs the series on Kaggle; return its ref, url and version.

        push_series(["--preset", "quick"], Push(kernels=["me/good-bad-series"]))

    Args:
        arguments: of `python -m helpers.run`; `DEFAULTS` come before them.
        settings: as for `push`; if an attached notebook's output holds the run, it is continued.

    Raises:
        KaggleError: wrong arguments, before anything is sent; or as `push` raises it.
    """
    plan, settings = plan_run(arguments), settings or Push()
    dataset = plan.parameters["01_data_split"]["DATASET"]
    packages = ["elpv-dataset"] if dataset == "elpv" else []  # its images are not on Kaggle
    settings = replace(settings, title=settings.title or TITLE, packages=packages)
    settings.check()
    api = connect()
    content = series_notebook(plan, f"{owner_of(api, settings)}/{settings.slug}")
    return send(api, "good_bad_series.ipynb", content, settings)


def plan_run(arguments: Sequence[str]) -> Plan:
    """Return what helpers.run would do on Kaggle; the plan holds the whole arguments.

    Raises:
        KaggleError: helpers.run would refuse them, or a path is not on Kaggle's machines.
    """
    from helpers.commands import run
    from helpers.commands.plan import make_plan

    has_budget = any("TIME_BUDGET_MIN=" in text for text in arguments)
    defaults = DEFAULTS[:-2] if has_budget else DEFAULTS
    arguments, said = [*defaults, *arguments], io.StringIO()  # what comes later is taken
    refusal = "helpers.run would refuse these arguments"
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            options = run.parser().parse_args(arguments)
        plan = make_plan(options, arguments, here=False)
    except SystemExit:
        raise KaggleError(f"{refusal}: {said.getvalue().strip().splitlines()[-1]}") from None
    except UserError as error:
        raise KaggleError(f"{refusal}: {error}") from None
    for parameters in plan.parameters.values():
        for name, value in parameters.items():
            for text in value if isinstance(value, list) else [value]:
                place = str(text).partition(":")[2] if name == "DATASET" else str(text)
                if place.startswith("/") and not place.startswith("/kaggle/"):
                    raise KaggleError(
                        f"{name}={text} is on this machine, where Kaggle cannot read it: upload it "
                        "as a data set, attach that by --dataset OWNER/NAME, and give its path "
                        "under /kaggle/input."
                    )
    return plan


def series_notebook(plan: Plan, ref: str) -> NotebookNode:
    """Return the notebook: the call of helpers.run, then its results.

    `ref` is its own name on Kaggle, as owner/name, for the hint how to continue.
    """
    cells = [
        new_markdown_cell(_ABOUT.format(run=plan.run)),
        new_code_cell(_RUN.format(arguments=list(plan.arguments), ref=ref)),
        new_code_cell(f"session.show_results({plan.run!r})"),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})
