"""Scores and probabilities of a model."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

from helpers.training import inference


class _Images:
    """Two batches of fixed images."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def ordered(self, share=(0, 1)):
        yield from self.images.split(3)


class _LeftMinusRight(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        half = x.shape[-1] // 2
        bad = self.scale * (x[..., :half].mean((1, 2, 3)) - x[..., half:].mean((1, 2, 3)))
        return torch.stack([torch.zeros_like(bad), bad], dim=1)


@pytest.fixture
def images():
    return _Images(torch.randn(5, 1, 4, 4), np.array([0, 1, 0, 1, 1]))


def test_probabilities_are_the_softmax_of_the_raw_scores(images):
    scores = inference.predict_scores(_LeftMinusRight(), images, "no")
    expected = 1 / (1 + np.exp(-scores[:, 1].astype(float)))
    np.testing.assert_allclose(inference.predict(_LeftMinusRight(), images, "no"), expected)


def test_flips_average_the_probabilities_of_four_mirror_images(images):
    once = inference.predict(_LeftMinusRight(), images, "no")
    # mirrored left to right the margin changes its sign, upside down it does not
    np.testing.assert_allclose(
        inference.predict(_LeftMinusRight(), images, "no", flips=True),
        (2 * once + 2 * (1 - once)) / 4,
        atol=1e-7,
    )


def test_validation_numbers_are_those_of_scikit_learn(images):
    model = _LeftMinusRight()
    probability = inference.predict(model, images, "no")
    found = inference.evaluate(model, images, "no")
    assert found["val_auc"] == pytest.approx(roc_auc_score(images.labels, probability))
    assert found["val_loss"] == pytest.approx(log_loss(images.labels, probability), abs=1e-6)
    assert found["val_accuracy"] == np.mean((probability > 0.5) == images.labels)
