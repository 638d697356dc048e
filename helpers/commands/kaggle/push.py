"""Run the series on Kaggle: a private notebook without internet, whose cells call helpers.run."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.commands.kaggle.client import COMPETITION, KaggleError, asking, connect

if TYPE_CHECKING:
    from helpers.commands.plan import Plan

TITLE = "Good Bad Series"
# Kaggle ends a session after 12 hours; the last notebook and the saving need some time.
DEFAULTS = ("--dataset", "nexperia", "--preset", "full", "-p", "TIME_BUDGET_MIN=660")
MACHINE = "NvidiaTeslaT4"  # Kaggle's name for the machine with two of them ("GPU T4 x2")
# Older sessions mount a data set one level higher up; the first run after a push may start before
# it is mounted.
_INSTALL = """# Install the helpers and whatever came with them: there is no internet here.
import subprocess
import sys
import time
from pathlib import Path

folders = [Path("/kaggle/input/datasets/{owner}/{name}"), Path("/kaggle/input/{name}")]
for _ in range(24):
    wheels = [str(wheel) for folder in folders for wheel in sorted(folder.glob("*.whl"))]
    if wheels:
        break
    time.sleep(5)
else:
    raise FileNotFoundError("attach the data set {owner}/{name} (Add Input), then run again")
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
_ = subprocess.run(pip + wheels, check=True)"""
_RUN = """# The executed notebooks are in data/runs/{run}/notebooks.
from helpers.commands.kaggle import session

finished = session.run_series({arguments}, {run!r}, {ref!r})"""


def push(
    arguments: Sequence[str] = (),
    title: str = TITLE,
    *,
    datasets: Sequence[str] = (),
    gpu: bool = True,
) -> str:
    """Push one notebook that runs the series on Kaggle; return a line that says where it runs.

        push(["--preset", "quick"], datasets=["me/images"])

    Helpers and weights travel in a private data set of this notebook, as the client uploads one
    file only.

    Args:
        arguments: of `python -m helpers.run`; `DEFAULTS` come before them.
        title: the name on Kaggle.
        datasets: what is attached besides, by Kaggle's names.
        gpu: ask for the machine with two T4; otherwise for a CPU.

    Raises:
        UserError: wrong arguments or names, before anything is sent; a failed request, or an error
            or unknown source in Kaggle's answer.
    """
    from helpers.commands.kaggle import bundle  # imports much

    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    if len(slug) < 5 or len(title) > 44:  # the data set's name may have 50
        raise KaggleError(f"--title {title!r} must have 5 to 44 characters")
    for attached in datasets:
        if not re.fullmatch(r"[\w-]+/[\w-]+", attached):
            raise KaggleError(f"{attached!r} does not name a data set: OWNER/NAME")
    plan, api = plan_run(arguments), connect()
    owner, name = api.config_values["username"], f"{slug}-files"
    ref, files_ref = f"{owner}/{slug}", f"{owner}/{name}"
    dataset = plan.parameters["01_data_split"]["DATASET"]
    bundle.upload(api, files_ref, ["elpv-dataset"] if dataset == "elpv" else [])
    metadata = {
        "id": ref,
        "title": title,
        "code_file": "series.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,  # as the files that it needs
        "enable_gpu": gpu,
        "enable_internet": False,  # the client's default is on
        "machine_shape": MACHINE if gpu else "",
        "dataset_sources": [files_ref, *datasets],
        "competition_sources": [COMPETITION] if dataset == "nexperia" else [],
    }
    run = _RUN.format(arguments=list(plan.arguments), run=plan.run, ref=ref)
    return _send(api, metadata, [_INSTALL.format(owner=owner, name=name), run])


def plan_run(arguments: Sequence[str]) -> Plan:
    """Return what helpers.run would do on Kaggle; the plan holds the whole arguments.

    Raises:
        UserError: helpers.run would refuse them, or a path is not on Kaggle's machines.
    """
    from helpers.commands.plan import make_plan  # imports much

    has_budget = any("TIME_BUDGET_MIN=" in text for text in arguments)
    defaults = DEFAULTS[:-2] if has_budget else DEFAULTS
    plan = make_plan([*defaults, *arguments], here=False)  # what comes later is taken
    for path in re.findall(r"'(?:folder:|nexperia:)?(/[^']*)'", repr(plan.parameters)):
        if not path.startswith("/kaggle/"):
            raise KaggleError(
                f"{path} is on this machine, where Kaggle cannot read it: upload it as a data set, "
                "attach that by --dataset OWNER/NAME, and give its path under /kaggle/input."
            )
    return plan


def _send(api: Any, metadata: dict[str, Any], cells: Sequence[str]) -> str:
    """Push a notebook, and say where it runs; Kaggle's answer may hold errors."""
    from nbformat import write
    from nbformat.v4 import new_code_cell, new_notebook

    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = new_notebook(cells=[*map(new_code_cell, cells)], metadata={"kernelspec": kernel})
    ref = metadata["id"]
    with tempfile.TemporaryDirectory() as folder, asking(f"pushing {ref}"):
        write(content, Path(folder, metadata["code_file"]))
        Path(folder, "kernel-metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
        answer = api.kernels_push(folder)
    if answer.error:
        raise KaggleError(f"Kaggle did not take {ref}: {answer.error}")
    kinds = ("dataset", "competition")
    lists = {kind: getattr(answer, f"invalid_{kind}_sources", None) or [] for kind in kinds}
    if wrong := [f"{kind} {source}" for kind, sources in lists.items() for source in sources]:
        raise KaggleError(
            f"Kaggle saved version {answer.version_number} of {ref}, but without what it does not "
            f"know or does not show you: {', '.join(wrong)}. Stop that run ({answer.url}), correct "
            "the names or accept the contest's rules, and push again."
        )
    return f"Pushed {ref}, version {answer.version_number}. It runs at {answer.url}"
