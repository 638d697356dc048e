"""The benchmarks run, compare like with like, and write what they measured."""

import importlib
import json
import multiprocessing
import os

import numpy as np
import pytest
import torch

from tests.benchmarks import __main__ as command
from tests.benchmarks import baselines, features, made_up, measure, plain
from tests.benchmarks.measure import Measured
from tests.benchmarks.report import Case, Options
from tests.fresh_process import who_am_i


@pytest.fixture(autouse=True)
def _no_forks(monkeypatch):
    """Load images without workers: a fork of this process, whose pools have threads, may crash."""
    monkeypatch.setattr(plain, "WORKERS", 0)


@pytest.fixture
def in_this_process(monkeypatch):
    """Measure without new processes, whose imports take seconds."""

    def fresh(function, *arguments, repeats):
        return measure.here(function, *arguments)

    monkeypatch.setattr(measure, "fresh", fresh)
    monkeypatch.setenv("TQDM_DISABLE", "1")


def test_a_measurement_is_a_process_of_its_own_whose_workers_start_as_a_user_s():
    ballast = np.ones(2**29, dtype=np.uint8)  # 512 MiB that are not the measured function's
    found = measure.fresh(who_am_i, "hello")
    assert found.facts["pid"] != os.getpid()
    assert found.facts["workers"] == multiprocessing.get_start_method()
    assert (found.result, found.seconds_each, found.all_seconds) == ("hello", 0.5, (2.0,))
    assert 0 <= found.above_imports_mib < 64 < found.peak_mib
    assert measure.peak_mib() > found.peak_mib
    del ballast


def test_a_ratio_above_one_says_that_ours_is_faster_item_by_item():
    ours, theirs = Measured(2.0, 100, peak_mib=500), Measured(3.0, 50, peak_mib=700.4)
    case = Case("x", ours, theirs, "images/s", "remark")
    assert case.ratio == pytest.approx(3.0)
    expected = "x 50.0 images/s 16.7 images/s 3.0x 500 700 remark"
    assert case.line().split() == expected.split()
    assert Case("x", ours, theirs, "s/step").line().split()[1:3] == ["2.00", "s/step"]
    alone = Case("stage", ours)
    assert alone.record()["ratio"] is None and alone.line().split()[3:] == ["-", "-", "500", "-"]


def test_the_quickest_of_several_processes_counts(monkeypatch):
    seconds = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(measure, "_in_fresh_process", lambda f: Measured(next(seconds), 2))
    found = measure.fresh(None, repeats=3)
    assert (found.seconds, found.all_seconds) == (1.0, (3.0, 1.0, 2.0))


def test_a_small_benchmark_writes_its_numbers_as_json(in_this_process, tmp_path, capsys):
    assert command.main(["decode", "--small", "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "decode.json").read_text())
    facts = {"machine", "device", "precision", "threads", "torch", "versions", "memory", "title"}
    assert facts <= found.keys()
    assert found["benchmark"] == "decode"
    assert found["sizes"]["small"] is True and found["sizes"]["images_from"] == "made up"
    assert found["machine"]["cores"] == os.cpu_count()
    for case in found["cases"]:
        for side in (case["ours"], case["plain"]):
            assert side["seconds"] > 0 and side["amount"] > 0 and side["peak_mib"] > 100
            assert side["per_second"] == pytest.approx(side["amount"] / side["seconds"])
        expected = case["ours"]["per_second"] / case["plain"]["per_second"]
        assert case["ratio"] == pytest.approx(expected)
    assert f"{found['cases'][0]['ratio']:.1f}x" in capsys.readouterr().out


def test_every_benchmark_names_itself_and_has_small_sizes_for_all_that_it_measures():
    for name in command.BENCHMARKS:
        module = importlib.import_module(f"tests.benchmarks.{name}")
        assert module.SIZES.keys() == module.SMALL.keys(), name
        assert module.SIZES != module.SMALL and callable(module.cases), name
        assert len(module.__doc__.splitlines()[0]) < 100, name


# --- what is measured --------------------------------------------------------------------------


def test_made_up_images_are_written_once_and_given_ones_are_taken_instead(parts_folder, tmp_path):
    options = Options(tmp_path / "work")
    table = options.table(3)
    before = [os.stat(path).st_mtime_ns for path in table.path]
    assert options.table(5).path.head(3).tolist() == table.path.tolist()
    assert [os.stat(path).st_mtime_ns for path in table.path] == before
    given = Options(tmp_path / "work", images=parts_folder).table(1000)
    assert len(given) == 120 and given.path.str.contains("parts").all()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stopped:
        made_up.image_table(tmp_path, 5, tmp_path / "empty")
    assert str(stopped.value) == f"--images {tmp_path / 'empty'} holds 0 images, two are needed"


def test_both_ways_make_the_same_embeddings(tmp_path):
    table = Options(tmp_path).table(4)
    arguments = ("resnet18", table, 32, 2)
    mine, theirs = features.ours(*arguments, tmp_path / "cache"), features.plainly(*arguments)
    assert mine.result.shape == theirs.result.shape == (4, 512)
    rms, largest = features.differences(mine.result, theirs.result).values()
    assert rms < 0.02 and largest < 0.03  # bf16 against float32
    rms, largest = features.differences(mine.result[::-1], theirs.result).values()
    assert rms > 0.02 and largest > 0.03


def test_a_training_the_plain_way_moves_the_weights(tmp_path):
    torch.manual_seed(0)
    table, model = Options(tmp_path).table(4), torch.nn.Sequential(torch.nn.Flatten())
    model.append(torch.nn.Linear(3 * 8 * 8, 2))
    before = model[1].weight.detach().clone()
    batches = plain.loader(table, plain.transform_of(8, augment="full"), 2, shuffle=True)
    seconds = plain.train(model, batches, torch.device("cpu"), epochs=2, lr=0.1)
    assert len(seconds) == 2 and min(seconds) > 0
    assert not torch.equal(before, model[1].weight)


@pytest.mark.parametrize("name", baselines.CHOSEN)
def test_both_pipelines_have_the_same_settings(name):
    ours, theirs = baselines.our_pipeline(name, 7)[-1], baselines.plain_pipeline(name, 7)[-1]
    shared = ours.get_params().keys() & theirs.get_params().keys()
    shared -= {"cache_size"}  # of the SVM: a matter of speed, not of the result
    assert {"C", "gamma", "class_weight"} <= shared or {"n_estimators", "n_jobs"} <= shared
    assert {key: ours.get_params()[key] for key in shared} == {
        key: theirs.get_params()[key] for key in shared
    }
