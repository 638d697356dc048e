"""Fixtures for all tests: fixed seeds, closed figures, and a home folder of their own."""

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are taken: neither threads nor processes
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")

import filelock
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image

from helpers.core import paths

# the same few examples each time; HYPOTHESIS_PROFILE=thorough: many, new ones each time
THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
settings.register_profile(
    "tests",
    max_examples=500 if THOROUGH else 60,
    deadline=None,
    derandomize=not THOROUGH,
    suppress_health_check=[*HealthCheck] if THOROUGH else [HealthCheck.too_slow],  # if it is busy
)
settings.load_profile("tests")

LONG = ("test_notebooks.py", "test_faults.py")  # minutes each


def pytest_collection_modifyitems(items):
    """Start the longest files first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(autouse=True)
def _seeded_and_no_figure_stays_open():
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    plt.close("all")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Put data/ and submissions/ into a temporary folder; work side by side has one worker."""
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    return tmp_path


@pytest.fixture
def parts_folder(tmp_path) -> Path:
    """Return the folder of `write_parts`."""
    return write_parts(tmp_path / "parts")


def write_parts(root: Path) -> Path:
    """Write 60 good and 60 bad parts of 40x40 px in mixed formats; bad ones have a bright spot."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("good", "bad")):
        (root / name).mkdir(parents=True)
        for i in range(60):
            pixels = rng.integers(40, 90, (40, 40), dtype=np.uint8)
            if label:
                pixels[10:20, 10:20] = 230
            suffix = ("png", "bmp", "jpg")[i % 3]
            Image.fromarray(pixels).save(root / name / f"{name}{i:02d}.{suffix}")
    return root


def made_once(tmp_path_factory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` has filled; all workers of pytest-xdist share it."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # of the folders of all workers
    with filelock.FileLock(place / f"{name}.lock"):
        if not (done := place / f"{name}.done").exists():
            (place / name).mkdir()
            make(place / name)
            done.touch()
    return place / name


@pytest.fixture(scope="session")
def described_run(tmp_path_factory) -> Path:
    """Return a folder with `home`, a run with a described network, and `parts`; read only."""
    from tests.deploy_run import make_run  # much to import: only where it is used

    return made_once(tmp_path_factory, "described", make_run)


@pytest.fixture
def described(described_run, tmp_path, monkeypatch) -> paths.RunPaths:
    """Return the run of the home of this test, a copy of that of `described_run`."""
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "home"))
    shutil.copytree(described_run / "home", tmp_path / "home")
    return paths.RunPaths("t")


def split_of(folder: Path) -> pd.DataFrame:
    """Return the images of `parts_folder`: half train, a quarter each to validate and test."""
    files = sorted(folder.rglob("*.*"))
    table = pd.DataFrame({"id": [p.stem for p in files], "path": [str(p) for p in files]})
    table["label"] = [int(p.parent.name == "bad") for p in files]
    return table.assign(split=["train", "train", "val", "test"] * 30)


@pytest.fixture
def split(parts_folder) -> pd.DataFrame:
    """Return `split_of` the parts."""
    return split_of(parts_folder)


@pytest.fixture
def images(split, tmp_path):
    """Return the images of `split` at 16 px."""
    from helpers.datasets.cache import open_cache  # much to import: only where it is used

    return open_cache(split, 16, tmp_path / "cache")


def folded_split(folder: Path, folds: int = 3) -> pd.DataFrame:
    """Return `split_of` with folds; each has as many good as bad parts."""
    split = split_of(folder)
    fold, tested = pd.Series(np.arange(len(split)) % folds, dtype="Int64"), split.split == "test"
    side = np.where(tested, "test", np.where(fold == 0, "val", "train"))
    return split.assign(fold=fold.mask(tested), split=side)


def aucs(scores: pd.DataFrame, table: pd.DataFrame) -> dict[str, float]:
    """Return the AUC of the scores (`id`, `split`, `defect_score`) on each side of the split."""
    from sklearn.metrics import roc_auc_score  # much to import: only where it is used

    rows = scores.merge(table[["id", "label"]], on="id").groupby("split")
    return {side: roc_auc_score(own.label, own.defect_score) for side, own in rows}


@pytest.fixture
def browser(tmp_path):
    """Chromium without a window, which downloads into `tmp_path`."""
    driver = shutil.which("chromedriver") if find_spec("selenium") else None
    if not driver and os.environ.get("GOOD_BAD_BROWSER") != "required":
        pytest.skip("needs selenium and a browser: apt-get install chromium chromium-driver")
    assert driver, "install selenium, chromium and chromium-driver: in CI this test is not skipped"
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1280,800"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as found:
        yield found
