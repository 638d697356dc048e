"""Facts beside the settings that numbers depend on: versions, the commit, the machine."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import subprocess
import sys
from pathlib import Path

from helpers.core import paths

VERSIONED = ("torch", "torchvision", "timm", "scikit-learn", "numpy", "papermill")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in VERSIONED}
    return {"python": platform.python_version()} | found


def commit() -> str | None:
    """Return the clone's git commit, with a plus if files were changed, or None without a clone."""
    if not paths.is_clone():  # another repository may hold the folder of an installed wheel
        return None
    command = ["git", "-C", str(paths.project_root()), "describe", "--always", "--dirty=+"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (not result.returncode and result.stdout.strip()) or None


def peak_memory_mb() -> int:
    """Return the largest resident memory of this process so far, in MB (1e6 bytes)."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss also counts the parent process
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return round(int(lines["VmHWM"].split()[0]) * 1024 / 1e6)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6)
