"""What the pushed series notebook calls on Kaggle's machine: run the series, show its results."""

from __future__ import annotations

import codecs
import io
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import cast

import pandas as pd

from helpers.commands.run import SHOWN_COLUMNS, RunOutOfTime, results_table
from helpers.core import files, paths

RUN = (sys.executable, "-u", "-m", "helpers.run")  # unbuffered: the log shows it as it comes


class SeriesError(RuntimeError):
    """The series stopped at an error, which stands in the output above."""


def run_series(arguments: Sequence[str], ref: str) -> bool:
    """Run helpers.run as a process of its own, its output shown as it comes.

    Args:
        arguments: of `python -m helpers.run`.
        ref: this notebook's name on Kaggle, as owner/name.

    Returns:
        True when the series has come to its end, False when the time budget was used up first:
        that ends the session well, so that Kaggle keeps the output, and says how to go on.

    Raises:
        SeriesError: the run failed.
    """
    code = _stream([*RUN, *arguments])
    if code == RunOutOfTime.exit_code:
        print(
            "\nThe time budget is used up; what is done is kept. To go on, wait until Kaggle has "
            f"saved this session's output, then push again with --kernel {ref} added."
        )
        return False
    if code < 0:
        name = signal.Signals(-code).name
        raise SeriesError(f"helpers.run was ended by {name}: perhaps the memory was full")
    if code:
        raise SeriesError(f"helpers.run ended with exit code {code}: its output above says why")
    return True


def show_results(run: str) -> pd.DataFrame | None:
    """Put the submission where Kaggle looks for it, and return the results table.

    `submissions/<run>.csv` is copied to `submission.csv` beside it. None before the first results.
    """
    run_paths = paths.RunPaths(run)
    print(f"run folder: {run_paths.root}")
    if run_paths.submission.is_file():
        copy = paths.home() / "submission.csv"
        files.write_bytes(copy, run_paths.submission.read_bytes())
        print(f"submission: {run_paths.submission}, the same as {copy}")
    else:
        print("no submission yet: notebook 03 writes the first one")
    table = results_table(run_paths)
    if table is None:
        print("no results yet: notebook 03 writes the first table")
        return None
    return table[list(SHOWN_COLUMNS)].reset_index(drop=True)


def _stream(command: Sequence[str]) -> int:
    """Run a command, print what it says in pieces, progress bars too; return its exit code."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        output = cast(io.BufferedReader, process.stdout)
        try:
            while piece := output.read1():
                print(decoder.decode(piece), end="", flush=True)
        except KeyboardInterrupt:  # the cell was stopped, the process not
            process.send_signal(signal.SIGINT)
            raise
    print(decoder.decode(b"", final=True), end="", flush=True)
    return process.returncode
