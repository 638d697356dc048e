"""Push the whole series to Kaggle as one notebook, which calls helpers.run there."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.commands.kaggle.bundle import check_bundle
from helpers.commands.kaggle.client import Client, Retry, connect
from helpers.commands.kaggle.errors import KaggleError
from helpers.commands.kaggle.kernels import HELPERS_DATA_SET, check_names, owner_of, push, slugify

if TYPE_CHECKING:
    from helpers.commands.plan import Plan


TITLE = "Good Bad Series"
DATASET, PRESET = "nexperia", "full"
# Kaggle ends a session after 12 hours; the last notebook and the saving need some time.
BUDGET = "TIME_BUDGET_MIN=660"
DEFAULTS = ("--dataset", DATASET, "--preset", PRESET, "-p", BUDGET)
INPUTS = "/kaggle/"  # where paths on Kaggle's machines begin
_IMAGE_PACKAGES = {"elpv": "elpv-dataset"}  # a source's images that have to be sent along

_ABOUT = """# Good or bad: the whole series

Written by `python -m helpers.kaggle push --series`. The first cell installs the helpers, the
second runs the six notebooks in order, the last shows the results. The executed notebooks lie in
`data/runs/{run}/notebooks/`."""

_RUN = """# Work that an attached output of this notebook holds already is not done again.
from helpers.commands.kaggle import session

finished = session.run_series(
    {arguments},
    {ref},
)"""

_RESULTS = """session.show_results({run})"""


def push_series(
    arguments: Sequence[str] = (),
    *,
    title: str | None = None,
    owner: str | None = None,
    kernels: Sequence[str] = (),
    attach: Sequence[str | os.PathLike] = (),
    build: str | os.PathLike = Path("build/kaggle"),
    retry: Retry | None = None,
    client: Client | None = None,
    **settings: Any,
) -> dict:
    """Push one notebook that runs the series on Kaggle; return its address and version.

    Args:
        arguments: of `python -m helpers.run`; what they leave out is taken from `DEFAULTS`.
        kernels: notebooks whose output is attached; one that holds the run is gone on with.
        title, owner, attach, build, retry, client, settings: as `push` takes them.

    Raises:
        KaggleError: wrong arguments, before anything is sent; or as `push` raises it.
    """
    plan = plan_run(arguments)
    title = title or TITLE
    dataset = plan.parameters["01_data_split"]["DATASET"]
    packages = [name for kind, name in _IMAGE_PACKAGES.items() if kind == dataset]
    check_names(title, settings.get("datasets", ()), kernels, settings.get("models", ()))
    check_bundle(HELPERS_DATA_SET, [Path(file) for file in attach], packages)
    client = client or connect(retry)
    owner = owner_of(client, owner)
    notebook = Path(build) / "series" / "good_bad_series.ipynb"
    notebook.parent.mkdir(parents=True, exist_ok=True)
    content = series_notebook(plan, f"{owner}/{slugify(title)}")
    notebook.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return push(
        notebook,
        title=title,
        owner=owner,
        kernels=kernels,
        attach=attach,
        packages=packages,
        build=build,
        retry=retry,
        client=client,
        **settings,
    )


def plan_run(arguments: Sequence[str]) -> Plan:
    """What helpers.run would do on Kaggle; the plan holds the whole arguments.

    Raises:
        KaggleError: helpers.run would refuse them, or a path does not lie on Kaggle's machines.
    """
    from helpers.commands.plan import make_plan
    from helpers.darts.space import GenotypeError
    from helpers.runs import settings as config

    given = _parse(arguments)
    missing = [] if given.dataset else ["--dataset", DATASET]
    missing += [] if given.preset else ["--preset", PRESET]
    budget = BUDGET.partition("=")[0]
    if not any(text.partition("=")[0] == budget for text in given.parameter):
        missing += ["-p", BUDGET]
    arguments = [*missing, *arguments]
    try:
        plan = make_plan(_parse(arguments), arguments)
    except (config.SettingsError, GenotypeError) as error:
        raise KaggleError(f"helpers.run would refuse these arguments: {error}") from None
    _check_places(plan)
    return plan


def series_notebook(plan: Plan, ref: str) -> dict:
    """The notebook as JSON: the call of helpers.run, then its results.

    Args:
        plan: of `plan_run`.
        ref: the notebook's own name on Kaggle, as owner/name, for the hint how to go on.
    """
    run = _RUN.format(arguments=list(plan.arguments), ref=repr(ref))
    code: dict[str, Any] = {"execution_count": None, "outputs": []}
    results = _RESULTS.format(run=repr(plan.run))
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "id": "about", "source": _ABOUT.format(run=plan.run)},
        {"cell_type": "code", "id": "run-series", "source": run} | code,
        {"cell_type": "code", "id": "show-results", "source": results} | code,
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": [cell | {"metadata": {}} for cell in cells],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of helpers.run."""
    from helpers.commands import run

    parser = run.parser()
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return parser.parse_args(arguments)
    except SystemExit:
        *_, reason = said.getvalue().strip().splitlines()
        raise KaggleError(f"helpers.run would refuse these arguments: {reason}") from None


def _check_places(plan: Plan) -> None:
    for parameters in plan.parameters.values():
        for name, value in parameters.items():
            for text in value if isinstance(value, list) else [value]:
                place = str(text)
                place = place.partition(":")[2] if name == "DATASET" else place
                if place.startswith("/") and not place.startswith(INPUTS):
                    raise KaggleError(
                        f"{name}={text} lies on this machine, where Kaggle cannot read it: upload "
                        "it as a data set, attach that by --dataset OWNER/NAME, and give its path "
                        "under /kaggle/input."
                    )
