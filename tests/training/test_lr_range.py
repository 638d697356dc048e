"""The learning-rate range test: the rates and the losses."""

import numpy as np
import pytest
import torch

from helpers.datasets.cache import open_cache
from helpers.models import backbones
from helpers.training import figures, lr_range
from helpers.training.loop import TrainingError
from helpers.training.settings import TrainSettings
from tests.conftest import split_of

SETTINGS = TrainSettings(
    batch_size=16, optimizer="sgd", momentum=0.0, precision="no", grad_clip=0, augment="none"
)


@pytest.fixture
def given(parts_folder, tmp_path):
    """What builds a network, and images with their table."""
    split = split_of(parts_folder)
    return build, open_cache(split, 16, tmp_path / "cache"), split


def build(seed):
    torch.manual_seed(seed)
    return backbones.TwoLayerCNN(backbones.spec_of("cnn", 2, 16, 1), hidden=20)


def test_the_rate_grows_exponentially_and_the_loss_falls(given):
    found = lr_range.lr_range_test(*given, SETTINGS, steps=30)
    low, high = lr_range.RATES
    assert found.lr.iloc[0] == low and found.lr.iloc[-1] == pytest.approx(high) and len(found) == 30
    np.testing.assert_allclose(found.lr[1:] / found.lr.to_numpy()[:-1], (high / low) ** (1 / 29))
    assert found.loss.min() < found.loss.iloc[0] - 0.05  # it does learn
    torch.rand(3)
    assert found.equals(lr_range.lr_range_test(*given, SETTINGS, steps=30))


def test_a_diverging_training_ends_the_test(given):
    def wild(seed):
        network = build(seed)
        network.head.weight.data *= 1000
        return network

    found = lr_range.lr_range_test(wild, *given[1:], SETTINGS, steps=400)
    assert len(found) < 400

    def broken(seed):
        network = build(seed)
        network.head.weight.data.fill_(torch.nan)
        return network

    with pytest.raises(TrainingError, match="the loss is not finite"):
        lr_range.lr_range_test(broken, *given[1:], SETTINGS)


def test_losses_are_smoothed_without_the_bias_of_their_start_and_all_are_drawn(given):
    found = lr_range.lr_range_test(*given, SETTINGS, steps=10)
    share = lr_range.SMOOTHING ** np.arange(10)[::-1]
    for step in range(1, 11):
        weights = share[-step:] / share[-step:].sum()
        assert found.smoothed[step - 1] == pytest.approx((weights * found.loss[:step]).sum())
    (ax,) = figures.lr_range(found, 1e-3).axes
    points, line, used = ax.lines
    assert list(points.get_ydata()) == found.loss.tolist()
    assert list(line.get_xdata()) == found.lr.tolist()
    assert list(used.get_xdata()) == [1e-3, 1e-3] and ax.get_xscale() == "log"
    assert ax.get_ylim()[0] < found.loss.min()
