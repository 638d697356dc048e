"""The whole series, `python -m helpers.run --preset smoke`: seconds of each stage. No plain way.

A stage's seconds are those in run.json, without the start of its notebook's kernel, which the last
line counts too. The small size runs the first stage alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.core import files, paths
from tests.benchmarks.measure import MIB, Measured
from tests.benchmarks.report import Case, Options

SIZES = {"preset": "smoke", "only": None}
SMALL = {"preset": "smoke", "only": "01"}
RUN = "benchmark"


def run_series(home: Path, sizes: dict[str, Any]) -> float:
    """Run the command in a home of its own; return its seconds.

    Raises:
        RuntimeError: the command failed; with the end of what it said.
    """
    command = [sys.executable, "-m", "helpers.run", "--preset", sizes["preset"], "--name", RUN]
    command += ["--only", sizes["only"]] if sizes["only"] else []
    environment = os.environ | {paths.HOME_VARIABLE: str(home)}
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def stage_case(name: str, stage: dict[str, Any]) -> Case:
    """Return the case of one stage, from its record in run.json."""
    found = stage.get("images_per_s", {})
    peak = stage["peak_memory_mb"] * 1e6 / MIB
    side = Measured(stage["seconds"], facts={"images_per_s": found}, peak_mib=peak)
    remark = ", ".join(f"{key} {value:.0f}/s" for key, value in found.items())
    return Case(name, side, remark=f"images: {remark}" if remark else "")


def cases(sizes: dict[str, Any], options: Options) -> Iterator[Case]:
    """Yield one case per stage, and the whole command."""
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as home:
        seconds = run_series(Path(home), sizes)
        root = Path(home) / "data" / "runs" / RUN
        stages = files.load_json(root / "run.json")["stages"]
        done = [stage_case(name, stage) for name, stage in stages.items()]
    yield from done
    peak = max(case.ours.peak_mib for case in done)
    yield Case("the whole command", Measured(seconds, peak_mib=peak), remark="no plain way")
