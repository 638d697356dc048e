"""Run the series on Kaggle's machine; the pushed notebook calls this."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from typing import IO, cast

from helpers.core import files, paths

RUN = (sys.executable, "-u", "-m", "helpers.run")  # unbuffered: the log shows it as it comes
OUT_OF_TIME = 75  # helpers.run's exit code


def run_series(arguments: Sequence[str], run: str, ref: str) -> bool:
    """Run helpers.run as a process of its own, its output shown as it comes.

    The submission of the run is copied to `submission.csv`, where Kaggle looks for it. `ref` is
    this notebook's name on Kaggle, as owner/name.

    Returns:
        True if the series was finished, False if the time budget was used up first: that ends the
        session well, so that Kaggle keeps the output, and a line says how to continue.

    Raises:
        RuntimeError: the run failed.
    """
    command, pipe = [*RUN, *arguments], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT) as process:
        output = cast(IO[bytes], process.stdout)  # its pieces end at \r too, which bars print
        for piece in io.TextIOWrapper(output, "utf-8", "replace", newline=""):
            print(piece, end="", flush=True)
    submission = paths.RunPaths(run).submission
    if submission.is_file():
        files.write_bytes(paths.home() / "submission.csv", submission.read_bytes())
    if process.returncode == OUT_OF_TIME:
        print(
            "\nThe time budget is used up; what is done is in this notebook's output. To continue "
            f"on another machine, fetch it with `kaggle kernels output {ref}`."
        )
    elif process.returncode:
        raise RuntimeError(
            f"helpers.run ended with exit code {process.returncode}: its output above says why; a "
            "negative code is a signal: perhaps the memory was full"
        )
    return process.returncode == 0
