"""Paths on Kaggle's machines, and inputs that are mounted late."""

import pytest

from helpers import datasets
from helpers.core import paths
from helpers.datasets.settings import SplitSettings
from tests.datasets import test_nexperia


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """Kaggle's folders below a temporary one, as on a machine whose /kaggle/temp is not there."""
    for name in ("INPUT", "WORKING", "TEMP"):
        monkeypatch.setattr(paths, f"KAGGLE_{name}", tmp_path / "kaggle" / name.lower())
    paths.KAGGLE_WORKING.mkdir(parents=True)
    monkeypatch.delenv(paths.HOME_VARIABLE, raising=False)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    return tmp_path / "kaggle"


def test_on_kaggle_runs_are_output_and_decoded_images_are_not(kaggle, monkeypatch):
    assert paths.runs_root() == kaggle / "working/data/runs"
    assert paths.cache_root() == kaggle / "temp/good-bad/cache"
    monkeypatch.setattr(paths.os, "access", lambda *_: False)
    assert paths.cache_root() == kaggle / "working/data/cache"
    monkeypatch.setenv(paths.HOME_VARIABLE, str(kaggle / "mine"))
    assert paths.cache_root() == kaggle / "mine/data/cache"


def test_a_mount_that_comes_late_is_waited_for_and_one_that_never_comes_for_a_minute(
    kaggle, monkeypatch, capsys
):
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            test_nexperia._write(paths.KAGGLE_INPUT / "competitions" / test_nexperia.SLUG)

    monkeypatch.setattr(paths.time, "sleep", sleep)
    assert len(datasets.load(SplitSettings(dataset="nexperia")).table) == 12
    assert waits == [5, 5, 5]
    assert capsys.readouterr().out == f"waiting up to 60 s for an input below {kaggle}/input\n"
    datasets.check_place(f"folder:{kaggle}/input/competitions")  # it is there
    with pytest.raises(datasets.DataError, match="parts does not exist"):
        datasets.check_place(f"folder:{kaggle}/input/parts")
    assert sum(waits[3:]) == 60


def test_elsewhere_nothing_is_waited_for(monkeypatch):
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.setattr(paths.time, "sleep", None)
    assert paths.waited_for(lambda: None) is None
