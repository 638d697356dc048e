"""Locks: one process at a time works at a run, a stage, or a file."""

import subprocess
import sys

import pytest

from helpers.core import files, paths
from helpers.runs import record, stages
from tests.small_run import FINETUNING, OPTIONS

LOCK = f".{FINETUNING}.lock"  # which a stage holds: see the test below
HELD = """
import sys
from pathlib import Path
from helpers.core import files
with files.held(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


def test_a_stage_that_another_process_has_open_is_refused_until_that_ends(run_copy):
    # two notebooks of one run with other settings took each other's files for their own
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", HELD, str(paths.RunPaths("t").root / LOCK)]
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        before = stages.load_run(paths.RunPaths("t"))
        with pytest.raises(record.RunError, match="run 't'"):
            stages.begin(FINETUNING, OPTIONS | {"CNN_LR": 0.5})
        assert stages.load_run(paths.RunPaths("t")) == before
        stages.begin("02_features_baselines", {"RUN": "t"}).finish()  # another stage is free
        other.kill()
    stages.begin(FINETUNING, OPTIONS).finish()


def test_a_notebook_s_cells_may_be_run_again_and_open_it(run_copy):
    first = stages.begin(FINETUNING, OPTIONS)
    again = stages.begin(FINETUNING, OPTIONS)
    assert stages.open_stage(FINETUNING, OPTIONS).key == again.key
    lock = first.paths.root / LOCK
    with pytest.raises(files.LockedError), files.held(lock, wait=False):
        pass
    lock.unlink()
    third = stages.begin(FINETUNING, OPTIONS)  # a lock whose file was removed is taken again
    with pytest.raises(files.LockedError), files.held(lock, wait=False):
        pass
    third.finish()
    with files.held(lock, wait=False):
        pass
    first.finish()  # nothing is left to free
