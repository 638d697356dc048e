"""Independent trainings: in order, or on a Ray cluster with the same predictions."""

import functools
import sys

import pytest
import torch

from helpers.commands import train
from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.darts import genotypes, named
from helpers.training import jobs
from helpers.training.loop import Training, TrainingError
from tests.conftest import split_of

TINY = {
    "GENOTYPES": "DARTS_V2",
    "SEEDS": 2,
    "RETRAIN_IMAGE_SIZE_PX": 16,
    "RETRAIN_BATCH_SIZE": 30,
    "RETRAIN_EPOCHS": 1,
    "HALVING_EPOCHS": 0,
}


def _run(name, parts_folder):
    found = RunPaths(name)
    files.save_csv(found.split_csv, split_of(parts_folder))
    done = {"01_data_split": {"status": "done", "key": "k"}}
    files.save_json(found.run_json, {"run": name, "preset": "smoke", "stages": done})
    return found


def _command(name, *more, **given):
    words = (("-p", f"{key}={value}") for key, value in (TINY | given).items())
    return ["05", "--name", name, *(word for pair in words for word in pair), *more]


def test_without_ray_jobs_run_in_their_order():
    log = []
    found = jobs.run_all([lambda n=n: log.append(n) or n * n for n in range(4)], "plain")
    assert found == [0, 1, 4, 9] and log == [0, 1, 2, 3]


def test_without_ray_installed_the_command_says_what_to_do(home, parts_folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    _run("r", parts_folder)
    assert train.main(_command("r", "--engine", "ray")) == 1
    message = "error: --engine ray needs Ray: pip install ray, or use --engine plain"
    assert message in capsys.readouterr().err


def test_ray_and_a_time_budget_exclude_each_other(home, parts_folder, capsys):
    _run("r", parts_folder)
    assert train.main(_command("r", "--engine", "ray", TIME_BUDGET_MIN=1)) == 1
    assert "leave out the launcher and TIME_BUDGET_MIN" in capsys.readouterr().err


def _fail(text):
    raise TrainingError(text)


def test_on_ray_seeds_and_candidates_get_the_same_predictions(home, parts_folder, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is optional: pip install ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    for module in (genotypes, named):  # three candidates
        monkeypatch.setattr(module, "PUBLISHED", {"DARTS_V2": genotypes.PUBLISHED["DARTS_V2"]})
    plain, on_ray = (_run(name, parts_folder) for name in ("plain", "on_ray"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each training on Ray
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        given = {"HALVING_EPOCHS": 1, "HALVING_CELLS": 2}
        assert train.main(_command("plain", **given)) == 0
        monkeypatch.setattr(Training, "run", lambda self: _fail("trained here"))
        assert train.main(_command("on_ray", "--engine", "ray", **given)) == 0
        with pytest.raises(TrainingError, match=r"^it has failed$"):
            jobs.run_all([functools.partial(_fail, "it has failed")], "ray")
    finally:
        ray.shutdown()
        torch.set_num_threads(threads)
    written = sorted(path.relative_to(plain.root) for path in plain.root.rglob("*.csv"))
    assert len(written) == 7  # split, three candidates, two seeds, and their predictions
    for path in written:
        assert (on_ray.root / path).read_bytes() == (plain.root / path).read_bytes(), path
    steps = [files.load_json(one.run_json)["steps"] for one in (plain, on_ray)]
    assert steps[0].keys() == steps[1].keys()
