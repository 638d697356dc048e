"""Paths on Kaggle's machines."""

import pytest

from helpers.core import paths


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """Kaggle's folders below a temporary one, as on a machine whose /kaggle/temp is not there."""
    for name in ("WORKING", "TEMP"):
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
