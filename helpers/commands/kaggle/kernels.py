"""Push a notebook to Kaggle: no internet, two T4, the helpers and the weights attached."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.commands.kaggle.bundle import add_backbones, check_bundle, upload_bundle
from helpers.commands.kaggle.client import COMPETITION, Client, Retry, connect
from helpers.commands.kaggle.errors import KaggleError

MACHINE = "NvidiaTeslaT4"  # Kaggle's name for the machine with two of them ("GPU T4 x2")
HELPERS_DATA_SET = "good-bad-helpers"
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


def push(
    notebook: str | os.PathLike,
    *,
    title: str | None = None,
    owner: str | None = None,
    competition: str | None = COMPETITION,
    datasets: Sequence[str] = (),
    kernels: Sequence[str] = (),
    models: Sequence[str] = (),
    attach: Sequence[str | os.PathLike] = (),
    packages: Sequence[str] = (),
    bundle: bool = True,
    gpu: bool = True,
    private: bool = True,
    build: str | os.PathLike = Path("build/kaggle"),
    retry: Retry | None = None,
    client: Client | None = None,
) -> dict:
    """Push a notebook and run it on Kaggle; return its address and version.

    The client uploads one file only: helpers, pretrained weights and `attach` travel in a private
    data set, and the pushed copy gets a first cell that installs them.

    Args:
        notebook: the .ipynb; it is copied, never changed.
        title: name on Kaggle; by default made of the file's name.
        owner: account to push to; by default the one of the credentials.
        competition: contest whose files are attached, or None.
        datasets: more data sets, as owner/name; weights for instance.
        kernels: notebooks whose output is attached, as owner/name.
        models: Kaggle models, as owner/model/framework/variation/version.
        attach: local files to upload beside the helpers: weights, or wheels, which get installed.
        packages: installed packages of pure Python that Kaggle lacks, sent along as wheels.
        bundle: upload the helpers; otherwise the data set of an earlier push is attached.
        gpu: ask for the machine with two T4; otherwise a CPU.
        private: show the notebook to its owner alone.
        build: folder for what is sent; each notebook has its own folder in it.
        retry: how often safe requests are repeated.
        client: a connection to use instead of a new one.

    Raises:
        KaggleError: a malformed name, a failed request, an error or unknown source on Kaggle.
    """
    _check_notebook(notebook := Path(notebook))
    title = title or "Good Bad " + notebook.stem.replace("_", " ").title()
    check_names(title, datasets, kernels, models)
    files = [Path(file) for file in attach]
    check_bundle(HELPERS_DATA_SET, files, packages)
    client = client or connect(retry)
    owner = owner_of(client, owner)
    helpers_set = f"{owner}/{HELPERS_DATA_SET}"
    if bundle:
        upload_bundle(client, helpers_set, Path(build) / "helpers", *add_backbones(files, packages))
    metadata = _metadata(owner, title, notebook, gpu, private) | {
        "dataset_sources": [helpers_set, *datasets],
        "competition_sources": [competition] if competition else [],
        "kernel_sources": list(kernels),
        "model_sources": list(models),
    }
    return _send(client, notebook, metadata, Path(build) / slugify(title), owner)


def _send(client: Client, notebook: Path, metadata: dict, folder: Path, owner: str) -> dict:
    _write_folder(folder, notebook, metadata, owner)
    answer = client.call(
        f"pushing {notebook.name}",
        metadata["id"],
        lambda _: client.api.kernels_push(str(folder)),
        safe=False,  # each call makes a new version, and starts it
    )
    _check_answer(answer, notebook, metadata)
    return {"ref": metadata["id"], "url": answer.url, "version": answer.version_number}


def slugify(title: str) -> str:
    """Return the name in the address that Kaggle makes of a title."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def owner_of(client: Client, owner: str | None) -> str:
    """The account to push to: the given one, else the one of the credentials."""
    owner = owner or client.username
    if not owner:
        raise KaggleError("Whose notebook is it? The credentials name no account: give --owner.")
    return owner


def _check_notebook(notebook: Path) -> None:
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or repr(error)
        raise KaggleError(f"{notebook} is not a notebook that can be read: {reason}") from None
    if not cells:
        raise KaggleError(f"{notebook} has no cells.")


def check_names(
    title: str, datasets: Sequence[str], kernels: Sequence[str], models: Sequence[str]
) -> None:
    """Check what names a notebook and its sources before anything is sent.

    Raises:
        KaggleError: the title has a length that Kaggle refuses, or a source's name lacks a part.
    """
    if not 5 <= len(slugify(title)) <= 50 or len(title) > 50:
        raise KaggleError(f"The title {title!r} must have 5 to 50 characters: give --title.")
    shapes = (
        ("data set", datasets, 2, "owner/name"),
        ("notebook", kernels, 2, "owner/name"),
        ("model", models, 5, "owner/model/framework/variation/version"),
    )
    for kind, names, parts, shape in shapes:
        for name in names:
            if len(name.split("/")) != parts or not all(name.split("/")):
                raise KaggleError(f"{name!r} does not name a {kind}: write it as {shape}.")


def _metadata(owner: str, title: str, notebook: Path, gpu: bool, private: bool) -> dict:
    return {
        "id": f"{owner}/{slugify(title)}",
        "title": title,
        "code_file": notebook.name,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": private,
        "enable_gpu": gpu,
        "enable_internet": False,  # the client's default is on
        "machine_shape": MACHINE if gpu else "",
    }


def _write_folder(folder: Path, notebook: Path, metadata: dict, owner: str) -> None:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cell: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": _INSTALL.format(owner=owner, name=HELPERS_DATA_SET),
    }
    if (content.get("nbformat", 4), content.get("nbformat_minor", 0)) >= (4, 5):
        cell["id"] = "install-helpers"  # cells have an id from this version of the format on
    content["cells"].insert(0, cell)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / notebook.name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    (folder / "kernel-metadata.json").write_text(json.dumps(metadata, indent=1))


def _check_answer(answer: Any, notebook: Path, metadata: dict) -> None:
    if answer.error:
        raise KaggleError(f"Kaggle did not take {notebook.name}: {answer.error}")
    wrong = [
        f"{kind} {name}"
        for kind in _KINDS
        for name in getattr(answer, f"invalid_{kind}_sources", None) or []
    ]
    if wrong:
        raise KaggleError(
            f"Kaggle saved {notebook.name} as version {answer.version_number} of {metadata['id']}, "
            f"but without what it does not know or does not show you: {', '.join(wrong)}. Stop "
            f"that run ({answer.url}), correct the names or accept the contest's rules, and push "
            "again."
        )
