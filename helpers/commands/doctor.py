"""Say whether this machine can do a run: `python -m helpers.doctor`.

Each line says ok, note, or PROBLEM with the way out. The exit code is 1 if there is a PROBLEM. It
takes seconds, uses no network, and writes nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import sys
from collections.abc import Sequence

from helpers.commands.cli import parser_of
from helpers.core import paths

PROBLEM = "PROBLEM"
MEMORY_GB = 3  # what a run with the default settings takes, kernel and command together
DISK_GB = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each check; return 0 if this machine can do a run, otherwise 1."""
    parser_of("doctor", __doc__).parse_args(arguments)
    problems = 0
    for check in (packages, space, device, weights):
        state, text = check()
        print(f"{state:<8} {check.__name__:<10} {text}", flush=True)
        problems += state == PROBLEM
        if check is packages and problems:
            break  # the other checks import these packages
    print(f"\n{problems} problem(s)" if problems else "\nready")
    return 1 if problems else 0


def packages() -> tuple[str, str]:
    """Check the versions of the packages that the series needs."""
    try:
        from packaging.requirements import Requirement

        listed = importlib.metadata.requires("good-bad-helpers") or []
    except ImportError as error:  # PackageNotFoundError is one
        return PROBLEM, f"{error}: pip install -r requirements.txt"
    wrong = []
    for requirement in map(Requirement, listed):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        if not (version and requirement.specifier.contains(version, prereleases=True)):
            wrong.append(shlex.quote(f"{requirement.name}{requirement.specifier}"))
    if wrong:
        return PROBLEM, f"missing or of another version: pip install {' '.join(wrong)}"
    return "ok", f"Python {sys.version.split()[0]}, all packages installed"


def space() -> tuple[str, str]:
    """Check that results can be written, and that memory and disk are free for a run."""
    import psutil

    home = paths.home()
    there = next(path for path in (home, *home.absolute().parents) if path.exists())
    memory_gb = psutil.virtual_memory().available / 1e9
    disk_gb = shutil.disk_usage(there).free / 1e9
    if not os.access(there, os.W_OK):
        return PROBLEM, f"{there} cannot be written to: set {paths.HOME_VARIABLE} to another folder"
    text = f"{memory_gb:.1f} GB of memory and {disk_gb:.1f} GB of disk are free in {there}"
    if memory_gb < MEMORY_GB or disk_gb < DISK_GB:
        needed = f"a run takes about {MEMORY_GB} and {DISK_GB}"
        return "note", f"{text}, {needed}: lower IMAGE_SIZE_PX, or set {paths.HOME_VARIABLE}"
    return "ok", text


def device() -> tuple[str, str]:
    """Name the CPU or GPU and its precision, and say so if there is a GPU that does not compute."""
    from helpers.core import devices

    chosen, kind = devices.default_device(), devices.gpu_kind()
    precision = devices.precision_name(devices.default_precision(chosen))
    name = f"{devices.device_name(chosen)}; precision {precision}"
    if kind and (reason := devices.failure(kind)):
        way_out = "install the torch build for this card and driver to use it"
        return "note", f"{name}; the GPU does not compute ({reason}): {way_out}"
    return "ok", name


def weights() -> tuple[str, str]:
    """Name the default backbones whose weights are here; a run tries to download others."""
    from helpers.models import weights as places

    names = [n for n in places.AUTO_ORDER if places.local_files(n)]
    if names:
        return "ok", ", ".join(names)
    return "note", "none here: a run downloads them; without a network give -p WEIGHTS=FILE"
