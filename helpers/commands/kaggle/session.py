"""Run the series on Kaggle's machine and show its results; the pushed notebook calls this."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import IO, cast

import pandas as pd

from helpers.commands.run import SHOWN_COLUMNS, RunOutOfTime, results_table
from helpers.core import files, paths
from helpers.core.errors import UserError

RUN = (sys.executable, "-u", "-m", "helpers.run")  # unbuffered: the log shows it as it comes


class SeriesError(UserError):
    """The series stopped at an error; the output above shows it."""


def run_series(arguments: Sequence[str], ref: str) -> bool:
    """Run helpers.run as a process of its own, its output shown as it comes.

    `ref` is this notebook's name on Kaggle, as owner/name.

    Returns:
        True if the series was finished, False if the time budget was used up first: that ends the
        session well, so that Kaggle keeps the output, and a line says how to continue.

    Raises:
        SeriesError: the run failed.
    """
    with subprocess.Popen(
        [*RUN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        output = cast(IO[bytes], process.stdout)
        try:  # pieces end at \r too, which progress bars print
            for piece in io.TextIOWrapper(output, "utf-8", "replace", newline=""):
                print(piece, end="", flush=True)
        except KeyboardInterrupt:  # the cell was stopped, the process not
            process.send_signal(signal.SIGINT)
            raise
    code = process.returncode
    if code == RunOutOfTime.exit_code:
        print(
            "\nThe time budget is used up; what is done is kept. To continue, wait until Kaggle "
            f"has saved this session's output, then push again with --kernel {ref} added."
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

    `submissions/<run>.csv` is copied to `submission.csv` beside that folder. Return None if there
    are no results yet.
    """
    run_paths = paths.RunPaths(run)
    print(f"run folder: {run_paths.root}")
    if run_paths.submission.is_file():
        copy = paths.home() / "submission.csv"
        files.write_bytes(copy, run_paths.submission.read_bytes())
        print(f"submission: {run_paths.submission}, the same as {copy}")
    table = results_table(run_paths)
    if table is None:
        print("no results yet: notebook 03 writes the first ones")
        return None
    return table.filter(SHOWN_COLUMNS)
