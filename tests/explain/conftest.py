"""A trained network for the tests of this room."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers.core.paths import HOME_VARIABLE
from helpers.datasets.cache import open_cache
from helpers.explain.maps import make_subject
from helpers.models import backbones
from helpers.training.batches import normalise, to_float
from tests.conftest import split_of, write_parts

SIZE_PX = 32


@pytest.fixture(scope="session")
def split(tmp_path_factory):
    """120 parts, a third on each side; the bad ones have a bright spot."""
    parts = write_parts(tmp_path_factory.mktemp("explained") / "parts")
    return split_of(parts).assign(split=["train", "val", "test"] * 40)


def trained(split, cache):
    """Return a two-layer CNN that was trained on the side `train`, and its scores of all parts."""
    torch.manual_seed(0)
    spec = backbones.spec_of("cnn", 2, SIZE_PX, cache.channels)
    model = backbones.build(spec)
    pixels = cache.take(cache.rows(split.id))
    images = normalise(to_float(torch.from_numpy(pixels), torch.device("cpu")), spec)
    labels = torch.tensor(split.label.to_numpy(dtype=np.int64))
    train = np.flatnonzero(split.split == "train")
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(8):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[train]), labels[train]).backward()
        optimiser.step()
    with torch.no_grad():
        return model.eval(), model.eval()(images).softmax(dim=1)[:, 1].double().numpy()


@pytest.fixture(scope="session")
def subject(split, tmp_path_factory):
    """The network and its test parts."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        cache = open_cache(split, SIZE_PX, home / "cache")
        model, scores = trained(split, cache)
    test = split.assign(defect_score=scores)[split.split == "test"].reset_index(drop=True)
    return make_subject(model, cache, test, 0.5)
