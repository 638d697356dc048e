"""`Run.once`: what is done is not done again; other arguments, code or files repeat it."""

import functools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from helpers.core import environment, files, paths
from helpers.core.errors import UserError
from helpers.runs import memo, workers
from helpers.runs.run import Run
from helpers.training.settings import BaselineSettings, TrainSettings
from tests.runs import tasks
from tests.small_run import change_a_byte


@pytest.fixture
def run(home):
    return Run("02_features_baselines", paths.RunPaths("r"), "quick", BaselineSettings())


@pytest.fixture
def place(tmp_path):
    """A file that `count_up` writes."""
    return tmp_path / "calls"


def _calls(place):
    return place.read_text().splitlines() if place.exists() else []


def test_every_kind_of_value_is_loaded_as_it_was_saved(run):
    first = run.once("folder/result", tasks.everything, 5)
    work = {"folder/result": functools.partial(tasks.everything, 5)}
    titles = {"folder/result": "a bar's title is no argument"}
    again = run.each(work, titles=titles)["folder/result"]
    assert run.reused == ["folder/result"]
    wanted = tasks.everything(5)
    for result in (first, again):
        pd.testing.assert_frame_equal(result.table, wanted.table)
        pd.testing.assert_frame_equal(result.others, wanted.others)
        np.testing.assert_equal(result.arrays, wanted.arrays)
        assert torch.equal(result.weights["w"], wanted.weights["w"])
        assert (result.seconds, result.words) == (wanted.seconds, wanted.words)
    names = {path.name for path in (run.paths.root / "folder").iterdir()}
    tables = {"result_table.csv", "result_others.csv"}
    assert names == {*tables, "result.npz", "result.safetensors", "result.json"}


@pytest.mark.parametrize("kind", ["csv", "npz", "safetensors", "json"])
def test_a_damaged_file_is_made_again(run, kind):
    run.once("result", tasks.everything, 3)
    path = run.paths.root / f"result{'_table' if kind == 'csv' else ''}.{kind}"
    before = path.read_bytes()
    change_a_byte(path)
    assert run.once("result", tasks.everything, 3).table.score[1] == 3
    assert run.reused == [] and path.read_bytes() == before


@pytest.mark.parametrize("most", [1, 2])
def test_any_number_of_workers_gives_the_same_bits_with_one_thread_each(
    run, monkeypatch, place, most
):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", str(most))
    count = functools.partial(tasks.count_up, tasks.Place(place), 1)
    calls = {"product": functools.partial(tasks.matrix_product, 2), "count": count}
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found, _ = run.each(calls), run.each(calls)
        run.once("with all threads", count)
    finally:
        torch.set_num_threads(before)
    with environment.threads(1):
        np.testing.assert_equal(found["product"], tasks.matrix_product(2))
    assert list(found) == ["product", "count"] and found["count"] == 2
    (_, process, alone), (*_, all_threads) = (line.split() for line in _calls(place))
    assert (alone, all_threads) == ("1", "2") and (process == str(os.getpid())) == (most == 1)


def test_other_code_than_the_notebook_s_is_refused_in_another_process(run, place, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    count = functools.partial(tasks.count_up, tasks.Place(place))
    calls = {name: functools.partial(count, n) for n, name in enumerate("ab")}
    monkeypatch.setattr(files, "COMMAS", "edited in a cell")  # a constant that the memo reaches
    monkeypatch.setattr(tasks, "files", files, raising=False)
    monkeypatch.setattr(tasks.count_up, "__defaults__", (3,))
    with pytest.raises(UserError, match="has changed since this notebook imported"):
        run.each(calls)
    assert not place.exists()


def test_a_part_of_the_settings_that_changes_no_result_is_named_at_the_call(run):
    for seed in (0, 1):
        call = functools.partial(tasks.seed_of, BaselineSettings(seed=seed))
        assert run.each({"seed": call}, ignore=("seed",), side_by_side=False) == {"seed": 0}
    assert run.once("seed", tasks.seed_of, BaselineSettings(seed=1)) == 1


def test_an_error_in_a_worker_arrives_and_what_was_finished_is_kept(run, place):
    good = functools.partial(tasks.count_up, tasks.Place(place), 1)
    with pytest.raises(UserError, match="value 7"):
        run.each({"good": good, "bad": functools.partial(tasks.fail, 7)})
    assert run.once("good", good) == 2
    assert len(_calls(place)) == 1


def test_a_call_with_several_threads_waits_for_the_others_where_cores_are_few(place, monkeypatch):
    def on_so_many_cores(cores):
        monkeypatch.setattr(workers.joblib, "cpu_count", lambda: cores)
        monkeypatch.setattr(workers.joblib, "Parallel", lambda **_: lambda jobs: [[*jobs]])
        calls = {n: functools.partial(print, TrainSettings(threads=n)) for n in (2, 1)}
        threads = {name: memo.threads_of(call) for name, call in calls.items()}
        rounds = workers.side_by_side(calls, "calls", place.parent, threads)
        return [[job[1][0] for job in jobs] for jobs in rounds]

    assert on_so_many_cores(2) == [[1], [2]]
    assert on_so_many_cores(3) == [[2, 1]]


PROGRAM = """
import functools, pathlib, sys
from helpers.runs import workers
from tests.runs import tasks
place = tasks.Place(pathlib.Path(sys.argv[1]))
calls = {str(n): functools.partial(tasks.wait, place) for n in range(2)}
list(workers.side_by_side(calls, "waiting", place.path.parent))
"""


def test_workers_end_soon_after_their_parent_was_killed(place, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    parent = subprocess.Popen([sys.executable, "-c", PROGRAM, str(place)], cwd=paths.project_root())
    _until(lambda: len(_calls(place)) == 2)
    pids = [int(line) for line in _calls(place)]
    parent.send_signal(signal.SIGKILL)
    parent.wait(30)
    _until(lambda: not any(map(psutil.pid_exists, pids)))


def _until(holds):
    for _ in range(300):
        if holds():
            return
        time.sleep(0.2)
    raise AssertionError("waited for a minute")
