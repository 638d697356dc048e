"""Say whether this machine can do a run: `python -m helpers.doctor`, with the options of `run`.

Each line says ok, note, or PROBLEM with the way out. The exit code is 1 if there is a PROBLEM. It
takes seconds, uses no network, and writes neither a report (--html) nor notebooks (--publish).
"""

from __future__ import annotations

import importlib.metadata
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from helpers.commands import options as run_options
from helpers.core import paths
from helpers.core.errors import UserError

if TYPE_CHECKING:
    from helpers.commands.plan import Plan

MEMORY_GB = 3  # what a run with the default settings takes, kernel and command together


class Line(NamedTuple):
    """One line of the report."""

    state: str  # "ok", "note" or "PROBLEM"
    name: str
    text: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all lines; return 0 if the chosen run can be done, otherwise 1."""
    options = run_options.parser("doctor", __doc__).parse_args(arguments)
    problems = 0
    try:
        for state, name, text in examine(options):
            print(f"{state:<8} {name:<10} {text}", flush=True)
            problems += state == "PROBLEM"
    except UserError as error:  # of the options, or of the images
        print(f"PROBLEM  options    {error}")
        problems += 1
    print(f"\n{problems} problem(s)" if problems else "\nready")
    return 1 if problems else 0


def examine(options: Any) -> Iterator[Line]:
    """Yield each line as soon as it is known.

    Raises:
        UserError: a run with these options cannot be done.
    """
    installed = packages()
    yield installed
    if installed.state == "PROBLEM":
        return  # everything below imports these packages
    from helpers.commands.plan import check_places, make_plan

    yield kernel()
    yield memory()
    plan = make_plan(options, [])
    check_places(plan)
    yield Line("ok", "options", f"run {plan.run}, preset {plan.preset}")
    yield device()
    tuned = plan.settings["03_finetuning"]
    for backbone in tuned.backbone:
        yield weights(backbone, tuned.weights)
    text, n_images = images(plan)
    yield Line("ok", "images", text)
    yield disk(n_images, plan.settings)


def packages() -> Line:
    """Check the versions of the packages that the series needs."""
    try:
        from packaging.requirements import Requirement

        listed = importlib.metadata.requires("good-bad-helpers") or []
    except ImportError as error:  # PackageNotFoundError is one
        return Line("PROBLEM", "packages", f"{error}: pip install -r requirements.txt")
    wrong = {}
    for requirement in map(Requirement, listed):
        name, wanted, marker = requirement.name, requirement.specifier, requirement.marker
        if marker and not marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        if version == "not installed" or not wanted.contains(version, prereleases=True):
            wrong[shlex.quote(f"{name}{wanted}")] = f"{name} {wanted} ({version})"
    if wrong:
        text = f"needs {', '.join(wrong.values())}: pip install {' '.join(wrong)}"
        return Line("PROBLEM", "packages", text)
    return Line("ok", "packages", f"Python {sys.version.split()[0]}, all packages installed")


def kernel() -> Line:
    """Check that notebooks run in this Python: a kernel of another one may hide this one's."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    way_out = "python -m ipykernel install --sys-prefix"
    try:
        program = Path(KernelSpecManager().get_kernel_spec("python3").argv[0])
    except NoSuchKernel:
        return Line("PROBLEM", "kernel", f"there is no kernel python3: {way_out}")
    if program.is_absolute() and program.parent != Path(sys.executable).parent:
        return Line("PROBLEM", "kernel", f"python3 is {program}, not {sys.executable}: {way_out}")
    return Line("ok", "kernel", sys.executable)


def memory() -> Line:
    """Compare the free memory with what a run takes."""
    import psutil

    free_gb = psutil.virtual_memory().available / 1e9
    text = f"{free_gb:.1f} GB free"
    if free_gb >= MEMORY_GB:
        return Line("ok", "memory", text)
    way_out = "close other programs, or lower IMAGE_SIZE_PX and the batch sizes"
    return Line("note", "memory", f"{text}, a run takes about {MEMORY_GB}: {way_out}")


def device() -> Line:
    """Name the CPU or GPU and its precision, and say so if there is a GPU that does not compute."""
    from helpers.core import devices

    chosen, kind = devices.default_device(), devices.gpu_kind()
    name = f"{devices.device_name(chosen)}; precision {devices.default_precision(chosen)}"
    if kind and (reason := devices.failure(kind)):
        way_out = "install the torch build for this card and driver to use it"
        return Line("note", "device", f"{name}; the GPU does not compute ({reason}): {way_out}")
    return Line("ok", "device", name)


def weights(backbone: str, given: str) -> Line:
    """Check that pretrained weights are here; otherwise the run tries to download them."""
    from helpers.models import AUTO
    from helpers.models import weights as places

    if given:  # a file, which the plan has seen, or "random"
        return Line("ok", "weights", f"{backbone}: {given}")
    for name in places.AUTO_ORDER if backbone == AUTO else (backbone,):
        if places.has_package(name):
            return Line("ok", "weights", f"{name}: in its package")
        if here := places.local_files(name):
            return Line("ok", "weights", f"{name}: {here[0]}")
    way_out = "without a network give a file by -p WEIGHTS=FILE"
    return Line("note", "weights", f"{backbone}: the run tries to download them; {way_out}")


def images(plan: Plan) -> tuple[str, int]:
    """Count the images and split them as notebook 01 does, but without reading their pixels.

    Raises:
        UserError: they are missing, cannot be split, or the chosen stages need a split.
    """
    from helpers import datasets
    from helpers.datasets import splits
    from helpers.datasets.chips import write
    from helpers.runs import stages

    run_paths = paths.RunPaths(plan.run)
    if plan.chosen[0] != stages.FIRST:
        stages.require_earlier(plan.chosen[0], run_paths, stages.load_run(run_paths))
        return f"those of run {plan.run}", 0
    settings = plan.settings[stages.FIRST]
    if settings.dataset == "chips" and not write.is_done(paths.raw_root() / "chips"):
        return "chips: the images are drawn when the run starts", 0
    source = datasets.load(settings)
    kept = splits.subsample_source(source, settings.max_images, settings.seed)
    splits.make_split(kept, kept.table.id, settings)
    labels = source.table.label.dropna()
    counts = f"{(labels == 1).sum():,} bad among {len(labels):,} labelled ones"
    text = f"{source.name}: {len(source.table):,} images, {counts}; their contents are not checked"
    if source.left_out:
        text += f"; left out: {', '.join(source.left_out)}"
    return text, len(kept.table)


def disk(n_images: int, settings: Mapping[str, Any]) -> Line:
    """Check that home can be written to and holds the decoded images and 0.5 GB of other files."""
    home = paths.home()
    there = next(path for path in (home, *home.absolute().parents) if path.exists())
    way_out = f"set {paths.HOME_VARIABLE} to a folder that you can write to, on a larger disk"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Line("PROBLEM", "disk", f"{home}: {error.strerror}: {way_out}")
    names = ("image_size_px", "cnn_image_size_px", "retrain_image_size_px")
    sizes_px = {
        getattr(stage, n) for stage in settings.values() for n in names if hasattr(stage, n)
    }
    needed = 5e8 + 3 * n_images * sum(size * size for size in sizes_px)  # gray images need less
    free = shutil.disk_usage(there).free
    text = f"{home}: {free / 1e9:.1f} GB free, at most {needed / 1e9:.1f} GB needed"
    if free < needed:
        return Line("note" if free > 5e8 else "PROBLEM", "disk", f"{text}: {way_out}")
    return Line("ok", "disk", text)
