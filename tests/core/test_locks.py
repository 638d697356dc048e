"""Locks: one process at a time works at a run, a notebook of it, or a file."""

import subprocess
import sys

import pytest

from helpers import runs
from helpers.core import files, paths
from helpers.runs import record
from tests.small_run import FINETUNING, OPTIONS

RUN = paths.RunPaths("t")
HELD = """
import sys
from pathlib import Path
from helpers.core import files
with files.held(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


def test_a_notebook_that_another_process_has_open_is_refused_until_that_ends(run_copy):
    # two notebooks of one run with other settings took each other's files for their own
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", HELD, str(record.lock_file(RUN, FINETUNING))]
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        before = record.load_run(RUN)
        with pytest.raises(record.RunError, match="run 't'"):
            runs.open(FINETUNING, OPTIONS | {"CNN_LR": 0.5})
        assert record.load_run(RUN) == before
        runs.open("02_features_baselines", {"RUN": "t"}).finish()  # another notebook is free
        other.kill()
    runs.open(FINETUNING, OPTIONS).finish()


def is_held() -> bool:
    try:
        with files.held(record.lock_file(RUN, FINETUNING), wait=False):
            return False
    except files.LockedError:
        return True


def test_a_notebook_s_first_cells_may_be_run_again(run_copy):
    first, _again = (runs.open(FINETUNING, OPTIONS) for _ in range(2))
    assert is_held()
    record.lock_file(RUN, FINETUNING).unlink()
    third = runs.open(FINETUNING, OPTIONS)  # a lock whose file was removed is taken again
    assert is_held()
    third.finish()
    assert not is_held()
    first.finish()  # nothing is left to free
