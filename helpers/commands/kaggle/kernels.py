"""Push a notebook to Kaggle: no internet, two T4, the helpers and the weights attached."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helpers.commands.kaggle.bundle import HELPERS_DATA_SET, check_bundle, upload_bundle
from helpers.commands.kaggle.client import COMPETITION, KaggleError, connect, doing

MACHINE = "NvidiaTeslaT4"  # Kaggle's name for the machine with two of them ("GPU T4 x2")
_KINDS = ("dataset", "competition", "kernel", "model")

# The first cell of a pushed notebook. Older sessions mount a data set one level higher up.
_INSTALL = """# Install the helpers and whatever came with them: there is no internet here.
import subprocess
import sys
from pathlib import Path

folders = [Path("/kaggle/input/datasets/{owner}/{name}"), Path("/kaggle/input/{name}")]
folder = next((f for f in folders if f.is_dir()), None)
if folder is None:
    raise FileNotFoundError("attach the data set {owner}/{name} (Add Input), then run again")
wheels = [str(wheel) for wheel in sorted(folder.glob("*.whl"))]
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
subprocess.run(pip + wheels, check=True)"""


@dataclass(frozen=True)
class Push:
    """How a notebook is pushed, and what is attached to it.

    Attributes:
        title: name on Kaggle; by default made of the file's name.
        owner: account to push to; by default the one of the credentials.
        competition: contest whose files are attached; "" for none.
        datasets: more data sets, as owner/name; weights for instance.
        kernels: notebooks whose output is attached, as owner/name.
        models: Kaggle models, as owner/model/framework/variation/version.
        attach: local files to upload beside the helpers: weights, or wheels, which get installed.
        packages: installed packages of pure Python that Kaggle lacks, sent along as wheels.
        bundle: upload the helpers; otherwise the data set of an earlier push is attached.
        gpu: ask for the machine with two T4; otherwise a CPU.
        private: show the notebook to its owner alone.
        build: folder for what is sent; each notebook has its own folder in it.
    """

    title: str = ""
    owner: str = ""
    competition: str = COMPETITION
    datasets: Sequence[str] = ()
    kernels: Sequence[str] = ()
    models: Sequence[str] = ()
    attach: Sequence[Path] = ()
    packages: Sequence[str] = ()
    bundle: bool = True
    gpu: bool = True
    private: bool = True
    build: Path = Path("build/kaggle")

    @property
    def slug(self) -> str:
        """Return the name in the address that Kaggle makes of the title."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def check(self) -> None:
        """Check names and files before anything is sent.

        Raises:
            KaggleError: Kaggle would refuse the title, a source's name lacks a part, a file to
                attach is missing, or a package is not installed here.
        """
        if not 5 <= len(self.slug) <= 50 or len(self.title) > 50:
            raise KaggleError(
                f"The title {self.title!r} must have 5 to 50 characters: give --title."
            )
        for kind, names, shape in (
            ("data set", self.datasets, "owner/name"),
            ("notebook", self.kernels, "owner/name"),
            ("model", self.models, "owner/model/framework/variation/version"),
        ):
            for name in names:
                if len(name.split("/")) != len(shape.split("/")) or not all(name.split("/")):
                    raise KaggleError(f"{name!r} does not name a {kind}: write it as {shape}.")
        check_bundle(self.attach, self.packages)


def push(notebook: str | os.PathLike, settings: Push | None = None) -> dict:
    """Push a notebook and run it on Kaggle; return its ref, url and version.

        push("notebooks/01_data_split.ipynb", Push(kernels=["me/good-bad-series"]))

    The client uploads one file only: helpers, pretrained weights and `attach` travel in a private
    data set, and the pushed copy gets a first cell that installs them.

    Args:
        notebook: the .ipynb; it is copied, never changed.
        settings: what to attach and where to push.

    Raises:
        KaggleError: a malformed name, a failed request, an error or unknown source on Kaggle.
    """
    notebook, settings = Path(notebook), settings or Push()
    try:
        content = json.loads(notebook.read_text(encoding="utf-8"))
        content["cells"][0]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise KaggleError(f"{notebook} is not a notebook that can be read: {error!r}") from None
    title = settings.title or "Good Bad " + notebook.stem.replace("_", " ").title()
    settings = replace(settings, title=title)
    settings.check()
    return send(connect(), notebook.name, content, settings)


def send(api: Any, name: str, content: dict, settings: Push) -> dict:
    """Upload the helpers, then push a notebook; return its ref, url and version.

    Args:
        api: the client.
        name: the notebook's file name.
        content: the notebook as JSON, without the cell that installs the helpers.
        settings: checked, with a title.
    """
    owner = owner_of(api, settings)
    ref, helpers_set = f"{owner}/{settings.slug}", f"{owner}/{HELPERS_DATA_SET}"
    if settings.bundle:
        upload_bundle(
            api, helpers_set, settings.build / "helpers", settings.attach, settings.packages
        )
    install: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}}
    install |= {"outputs": [], "source": _INSTALL.format(owner=owner, name=HELPERS_DATA_SET)}
    if (content.get("nbformat", 4), content.get("nbformat_minor", 0)) >= (4, 5):
        install["id"] = "install-helpers"  # cells have an id from this version of the format on
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
    folder = settings.build / settings.slug
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    content = content | {"cells": [install, *content["cells"]]}
    (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    (folder / "kernel-metadata.json").write_text(json.dumps(metadata, indent=1))
    with doing(f"pushing {name}", ref):
        answer = api.kernels_push(str(folder))
    if answer.error:
        raise KaggleError(f"Kaggle did not take {name}: {answer.error}")
    wrong = [
        f"{kind} {source}"
        for kind in _KINDS
        for source in getattr(answer, f"invalid_{kind}_sources", None) or []
    ]
    if wrong:
        raise KaggleError(
            f"Kaggle saved {name} as version {answer.version_number} of {ref}, but without what it "
            f"does not know or does not show you: {', '.join(wrong)}. Stop that run "
            f"({answer.url}), correct the names or accept the contest's rules, and push again."
        )
    return {"ref": ref, "url": answer.url, "version": answer.version_number}


def owner_of(api: Any, settings: Push) -> str:
    """Return the account to push to: the given one, or else the one of the credentials."""
    owner = settings.owner or api.config_values.get("username", "")
    if not owner:
        raise KaggleError("Whose notebook is it? The credentials name no account: give --owner.")
    return owner
