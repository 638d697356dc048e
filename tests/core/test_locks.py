"""Locks: one process at a time works at a run, a stage, or a file."""

import subprocess
import sys

import pytest

from helpers.core import files, paths
from helpers.runs import record, stages
from tests.small_run import FINETUNING, OPTIONS

OPEN_STAGE = f"""
from helpers.runs import stages
stages.begin({FINETUNING!r}, {OPTIONS!r})
print("open", flush=True)
input()
"""
HELD = (
    "another process works on 03_finetuning of run 't'; wait for it (if it is an open notebook "
    "that has stopped, restart its kernel), or give this one another RUN"
)


def test_a_stage_that_another_process_has_open_is_refused_until_that_ends(run_copy):
    # two notebooks of one run with other settings took each other's files for their own
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", OPEN_STAGE], **pipes) as other:
        assert other.stdout.readline() == "open\n"
        before = stages.load_run(paths.RunPaths("t"))
        with pytest.raises(record.RunError) as error:
            stages.begin(FINETUNING, OPTIONS | {"CNN_LR": 0.5})
        assert str(error.value) == HELD
        assert stages.load_run(paths.RunPaths("t")) == before
        stages.begin("02_features_baselines", {"RUN": "t"}).finish()  # another stage is free
        other.kill()
    stages.begin(FINETUNING, OPTIONS).finish()


def test_a_notebook_s_cells_may_be_run_again_and_open_it(run_copy):
    first = stages.begin(FINETUNING, OPTIONS)
    again = stages.begin(FINETUNING, OPTIONS)
    assert stages.open_stage(FINETUNING, OPTIONS).key == again.key
    lock = first.paths.root / ".03_finetuning.lock"
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
