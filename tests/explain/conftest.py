"""A trained network for the tests of this room."""

import functools

import pytest

from helpers.datasets.cache import open_cache
from helpers.explain.maps import make_subject
from helpers.training import fit
from helpers.training.settings import TrainSettings
from tests.conftest import split_of, write_parts

SIZE_PX = 32


@pytest.fixture(scope="session")
def split(tmp_path_factory):
    """120 parts, a third on each side; the bad ones have a bright spot."""
    parts = write_parts(tmp_path_factory.mktemp("explained") / "parts")
    return split_of(parts).assign(split=["train", "val", "test"] * 40)


@pytest.fixture(scope="session")
def subject(split, tmp_path_factory):
    """The network and its test parts."""
    cache = open_cache(split, SIZE_PX, tmp_path_factory.mktemp("cache"))
    build = functools.partial(fit.two_layer_cnn, SIZE_PX, cache.channels)
    settings = TrainSettings(epochs=4, lr=1e-3, precision="no")
    found = fit.fit(build, cache, split, settings, seed=0)
    test = found.scores[found.scores.split == "test"].drop(columns="split")
    return make_subject(found.network, cache, test.merge(split, on="id"), 0.5)
