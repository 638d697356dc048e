"""Push a notebook to Kaggle: no internet, two T4, the helpers and the weights attached."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, upgrade

from helpers.commands.kaggle.bundle import HELPERS_DATA_SET, find_distribution, upload_bundle
from helpers.commands.kaggle.client import COMPETITION, KaggleError, connect, doing

MACHINE = "NvidiaTeslaT4"  # Kaggle's name for the machine with two of them ("GPU T4 x2")

# The first cell of a pushed notebook. Older sessions mount a data set one level higher up.
_INSTALL = """# Install the helpers and whatever came with them: there is no internet here.
import subprocess
import sys
import time
from pathlib import Path

folders = [Path("/kaggle/input/datasets/{owner}/{name}"), Path("/kaggle/input/{name}")]
for _ in range(24):  # the first run after a push may start before the data set is mounted
    folder = next((f for f in folders if f.is_dir()), None)
    if folder is not None:
        break
    time.sleep(5)
else:
    raise FileNotFoundError("attach the data set {owner}/{name} (Add Input), then run again")
wheels = [str(wheel) for wheel in sorted(folder.glob("*.whl"))]
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
_ = subprocess.run(pip + wheels, check=True)"""


@dataclass(frozen=True)
class Push:
    """Options of a push, and everything that is attached to the notebook."""

    title: str = ""  # name on Kaggle; by default made of the file's name
    owner: str = ""  # account to push to; by default the one of the credentials
    competition: str = COMPETITION  # contest whose files are attached; "" for none
    datasets: Sequence[str] = ()  # more data sets, as owner/name; weights for instance
    kernels: Sequence[str] = ()  # notebooks whose output is attached, as owner/name
    models: Sequence[str] = ()  # Kaggle models, as owner/model/framework/variation/version
    attach: Sequence[Path] = ()  # local files to upload: weights, or wheels, which get installed
    packages: Sequence[str] = ()  # installed packages of pure Python, sent along as wheels
    bundle: bool = True  # upload the helpers; else attach the data set of an earlier push
    gpu: bool = True  # ask for the machine with two T4; otherwise a CPU
    private: bool = True  # show the notebook to its owner alone

    @property
    def slug(self) -> str:
        """Return the name in the address that Kaggle makes of the title."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def check(self) -> None:
        """Check names and files before anything is sent.

        Raises:
            KaggleError: Kaggle would refuse the title, a source's name lacks a part, a file to
                attach is missing, its name is not unique, or nothing is uploaded that it could go
                with, or a package is not installed here.
        """
        if self.attach and not self.bundle:
            raise KaggleError(
                "--attach goes with the helpers, and --no-bundle uploads none: leave one out."
            )
        if not 5 <= len(self.slug) <= 50 or len(self.title) > 50:
            raise KaggleError(
                f"The title {self.title!r} must have 5 to 50 characters: give --title."
            )
        for names, shape in (
            ([*self.datasets, *self.kernels], "owner/name"),
            (self.models, "owner/model/framework/variation/version"),
        ):
            for name in names:
                if not all(name.split("/")) or name.count("/") != shape.count("/"):
                    raise KaggleError(f"{name!r} cannot be attached: write it as {shape}.")
        for package in self.packages:
            find_distribution(package)
        for file in self.attach:
            if not file.is_file():
                raise KaggleError(f"{file} is not a file: it cannot be attached.")
            if [other.name for other in self.attach].count(file.name) > 1:
                raise KaggleError(f"Two files to attach are called {file.name!r}: rename one.")


def push(notebook: str | os.PathLike, settings: Push | None = None) -> dict:
    """Push a notebook and run it on Kaggle; return its ref, url and version.

        push("notebooks/01_data_split.ipynb", Push(kernels=["me/good-bad-series"]))

    The client uploads one file only: helpers, pretrained weights and `attach` travel in a private
    data set, and the pushed copy gets a first cell that installs them. The file is not changed.

    Raises:
        KaggleError: a malformed name, a failed request, an error or unknown source on Kaggle.
    """
    notebook, settings = Path(notebook), settings or Push()
    try:
        content = upgrade(nbformat.read(notebook, as_version=4))  # cells get ids
    except Exception as error:  # nbformat raises errors of many types
        raise KaggleError(f"{notebook} is not a notebook that can be read: {error!r}") from None
    title = settings.title or "Good Bad " + notebook.stem.replace("_", " ").title()
    shows_elpv = any('DATASET = "elpv"' in cell.source for cell in content.cells)
    packages = [*settings.packages, *["elpv-dataset"] * shows_elpv]  # its images are not on Kaggle
    settings = replace(settings, title=title, packages=packages)
    settings.check()
    return send(connect(), notebook.name, content, settings)


def send(api: Any, name: str, content: nbformat.NotebookNode, settings: Push) -> dict:
    """Upload the helpers, then push a notebook; return its ref, url and version.

    `content` gets a first cell that installs the helpers; `settings` are checked and have a title.
    """
    owner = owner_of(api, settings)
    if settings.gpu:
        check_quota(api)
    ref, helpers_set = f"{owner}/{settings.slug}", f"{owner}/{HELPERS_DATA_SET}"
    if settings.bundle:
        upload_bundle(api, helpers_set, settings.attach, settings.packages)
    content.cells.insert(0, new_code_cell(_INSTALL.format(owner=owner, name=HELPERS_DATA_SET)))
    metadata = {
        "id": ref,
        "title": settings.title,
        "code_file": name,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": settings.private,
        "enable_gpu": settings.gpu,
        "enable_internet": False,  # the client's default is on
        "machine_shape": MACHINE if settings.gpu else "",
        "dataset_sources": [helpers_set, *settings.datasets],
        "competition_sources": [settings.competition] if settings.competition else [],
        "kernel_sources": list(settings.kernels),
        "model_sources": list(settings.models),
    }
    with tempfile.TemporaryDirectory() as folder, doing(f"pushing {name}", ref):
        nbformat.write(content, Path(folder, name))
        Path(folder, "kernel-metadata.json").write_text(json.dumps(metadata))
        answer = api.kernels_push(folder)
    if answer.error:
        raise KaggleError(f"Kaggle did not take {name}: {answer.error}")
    wrong = [
        f"{kind} {source}"
        for kind in ("dataset", "competition", "kernel", "model")
        for source in getattr(answer, f"invalid_{kind}_sources", None) or []
    ]
    if wrong:
        raise KaggleError(
            f"Kaggle saved {name} as version {answer.version_number} of {ref}, but without what it "
            f"does not know or does not show you: {', '.join(wrong)}. Stop that run "
            f"({answer.url}), correct the names or accept the contest's rules, and push again."
        )
    return {"ref": ref, "url": answer.url, "version": answer.version_number}


def check_quota(api: Any) -> None:
    """Print how many GPU hours are left this week; a push with none left would wait or fail.

    Nothing is said if Kaggle does not answer: the push itself will say what is wrong.

    Raises:
        KaggleError: no hours are left.
    """
    try:
        with doing("asking for the GPU quota", ""):
            answer = api.quota_view()
            gpu, renewed = answer.gpu_quota, answer.quota_refresh_time
            used, allowed = gpu.time_used, gpu.total_time_allowed
            left_h = (allowed - used).total_seconds() / 3600
    except KaggleError:
        return
    when = f", renewed on {renewed:%Y-%m-%d}" if renewed else ""
    hours = f"{max(0.0, left_h):.1f} of {allowed.total_seconds() / 3600:.0f} GPU hours left{when}"
    if left_h <= 0 and not gpu.is_pay_to_scale_enabled:
        raise KaggleError(f"{hours}: push with --cpu, or wait.")
    print(hours, flush=True)


def owner_of(api: Any, settings: Push) -> str:
    """Return the account to push to: the given one, or else the one of the credentials."""
    owner = settings.owner or api.config_values.get("username", "")
    if not owner:
        raise KaggleError("Whose notebook is it? The credentials name no account: give --owner.")
    return owner
