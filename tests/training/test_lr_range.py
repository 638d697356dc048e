"""The learning-rate range test: the rates, the losses, and a model that stays as it is."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from helpers.training import figures, lr_range
from helpers.training.batches import EmbeddingBatches
from helpers.training.loop import TrainingError
from helpers.training.settings import TrainSettings

SETTINGS = TrainSettings(batch_size=16, optimizer="sgd", momentum=0.0, precision="no", grad_clip=0)


def _problem(n=64):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    x = rng.normal(size=(n, 6)).astype(np.float32)
    x[:, 0] += 2.0 * labels
    return EmbeddingBatches(x, labels, np.arange(n).astype(str), 16)


def _model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def test_the_rate_grows_exponentially_and_the_model_stays_as_it_is():
    model = _model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = lr_range.lr_range_test(model, _problem(), SETTINGS, steps=30)
    low, high = lr_range.RATES
    assert found.lr.iloc[0] == low and found.lr.iloc[-1] == pytest.approx(high) and len(found) == 30
    np.testing.assert_allclose(found.lr[1:] / found.lr.to_numpy()[:-1], (high / low) ** (1 / 29))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert found.loss.min() < found.loss.iloc[0] - 0.1  # it does learn
    torch.rand(3)
    assert found.equals(lr_range.lr_range_test(model, _problem(), SETTINGS, steps=30))


def test_the_smoothed_loss_is_the_running_mean_without_the_bias_of_its_start():
    found = lr_range.lr_range_test(_model(), _problem(), SETTINGS, steps=10)
    share = lr_range.SMOOTHING ** np.arange(10)[::-1]
    for step in range(1, 11):
        weights = share[-step:] / share[-step:].sum()
        assert found.smoothed[step - 1] == pytest.approx((weights * found.loss[:step]).sum())


def test_a_diverging_training_ends_the_test():
    problem = _problem()
    problem.embeddings *= 1000
    found = lr_range.lr_range_test(nn.Linear(6, 2), problem, SETTINGS, steps=400)
    assert len(found) < 400
    assert found.smoothed.iloc[-1] > lr_range.DIVERGED * found.smoothed.min()
    problem.embeddings[:] = np.nan
    with pytest.raises(TrainingError, match="the loss is not finite"):
        lr_range.lr_range_test(nn.Linear(6, 2), problem, SETTINGS)


def test_the_figure_shows_all_losses_and_the_rate_in_use():
    found = lr_range.lr_range_test(_model(), _problem(), SETTINGS, steps=10)
    (ax,) = figures.lr_range(found, 1e-3).axes
    points, line, used = ax.lines
    assert list(points.get_ydata()) == found.loss.tolist()
    assert list(line.get_xdata()) == found.lr.tolist()
    assert list(used.get_xdata()) == [1e-3, 1e-3] and ax.get_xscale() == "log"
    assert ax.get_ylim()[0] < found.loss.min()
    ax.figure.canvas.draw()
    assert "0.001" in [text.get_text() for text in ax.get_xticklabels()]
    plt.close("all")
