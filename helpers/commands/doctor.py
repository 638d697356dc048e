"""Say whether this machine can do a run: `python -m helpers.doctor`, with the options of `run`.

Each line says ok, note, or PROBLEM with the way out. The exit code is 1 if there is a PROBLEM. It
takes seconds, uses no network, and writes nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from helpers.commands import options as run_options
from helpers.core import paths
from helpers.core.errors import UserError

if TYPE_CHECKING:
    from helpers.commands.plan import Plan

MEMORY_GB = 3  # what a run with the default settings takes, kernel and command together
DISK_GB = 2


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
    yield from room()
    plan = make_plan(options, [])
    check_places(plan)
    yield Line("ok", "options", f"run {plan.run}, preset {plan.preset}")
    yield device()
    tuned = plan.settings["03_finetuning"]
    for backbone in tuned.backbone:
        yield weights(backbone, tuned.weights)
    yield Line("ok", "images", images(plan))


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


def room() -> Iterator[Line]:
    """Compare the free memory and the free disk with what a run takes."""
    import psutil

    home = paths.home()
    there = next(path for path in (home, *home.absolute().parents) if path.exists())
    way_out = f"set {paths.HOME_VARIABLE} to a folder that you can write to, on a larger disk"
    if not os.access(there, os.W_OK):
        yield Line("PROBLEM", "disk", f"{there} cannot be written to: {way_out}")
    less = "close other programs, or lower IMAGE_SIZE_PX and the batch sizes"
    for name, free, needed_gb, advice in (
        ("memory", psutil.virtual_memory().available, MEMORY_GB, less),
        ("disk", shutil.disk_usage(there).free, DISK_GB, way_out),
    ):
        text = f"{free / 1e9:.1f} GB free"
        if free < 1e9 * needed_gb:
            yield Line("note", name, f"{text}, a run takes about {needed_gb}: {advice}")
        else:
            yield Line("ok", name, text)


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
        if here := places.local_files(name):
            return Line("ok", "weights", f"{name}: {here[0]}")
    way_out = "without a network give a file by -p WEIGHTS=FILE"
    return Line("note", "weights", f"{backbone}: the run tries to download them; {way_out}")


def images(plan: Plan) -> str:
    """Count the images and split them as notebook 01 does, but without reading their pixels.

    Raises:
        UserError: they are missing, cannot be split, or the chosen stages need a split.
    """
    from helpers import datasets
    from helpers.datasets import splits
    from helpers.runs import stages

    run_paths = paths.RunPaths(plan.run)
    if plan.chosen[0] != stages.FIRST:
        stages.require_earlier(plan.chosen[0], run_paths, stages.load_run(run_paths))
        return f"those of run {plan.run}"
    settings = plan.settings[stages.FIRST]
    if settings.dataset == "chips" and not (paths.raw_root() / "chips").is_dir():
        return "chips: they are drawn when the run starts"
    source = datasets.load(settings)
    kept = splits.subsample_source(source, settings.max_images, settings.seed)
    splits.make_split(kept, kept.table.id, settings)
    left_out = f"; left out: {', '.join(source.left_out)}" if source.left_out else ""
    return f"{source.name}: {len(source.table):,}, contents not checked{left_out}"
