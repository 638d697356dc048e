"""The measures of maps: by hand, against other libraries, and at chance level."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torchvision.transforms.functional import gaussian_blur

from helpers.explain import map_measures as measures
from helpers.explain.map_measures import area


class BrightSpot(nn.Module):
    """A network whose score of class 1 depends on the four pixels at the bottom right alone."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        y = self.weight * x[:, 0, -2:, -2:].sum((1, 2))
        return torch.stack([torch.zeros_like(y), y], dim=1)


SPOT = torch.zeros(3, 4, 4)
SPOT[:, -2:, -2:] = 1
IMAGES = torch.ones(3, 1, 4, 4)
ZERO = torch.zeros(())


def test_curves_of_a_perfect_map_by_hand():
    # Four steps of four pixels: the first quarter holds all that the model looks at.
    result = measures.insertion_deletion(BrightSpot(), IMAGES, ZERO, SPOT, 1, steps=4)
    sure = torch.sigmoid(torch.tensor(4.0)).item()
    insertion, deletion = result["insertion"], result["deletion"]
    torch.testing.assert_close(insertion[0], torch.tensor([0.5, sure, sure, sure, sure]))
    torch.testing.assert_close(deletion[0], torch.tensor([sure, 0.5, 0.5, 0.5, 0.5]))
    assert area(insertion).tolist() == pytest.approx([(3.5 * sure + 0.25) / 4] * 3)
    assert area(deletion).tolist() == pytest.approx([(0.5 * sure + 1.75) / 4] * 3)


def test_blur_agrees_with_torchvisions_in_any_precision_around_it():
    x = torch.randn(2, 3, 40, 30)  # sigma is a twentieth of 40 pixels
    expected = gaussian_blur(x, 9, 2.0)
    torch.testing.assert_close(measures.blurred(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(measures.blurred(x), expected)


def test_pixels_of_equal_importance_do_not_go_from_the_top_left():
    rank = measures._importance_rank(torch.zeros(1, 8, 8), seed=0)
    assert sorted(rank.flatten().tolist()) == list(range(64))
    assert abs(rank[0, :4].float().mean().item() - 31.5) < 6
    assert torch.equal(rank, measures._importance_rank(torch.zeros(1, 8, 8), seed=0))
    maps = torch.tensor([[[0.1, 0.9], [0.5, 0.3]]])
    assert measures._importance_rank(maps, seed=0).tolist() == [[[3, 0], [1, 2]]]


def test_a_true_map_beats_random_ones_and_a_random_one_does_not():
    bright = torch.rand(40, 1, 28, 28)
    truth = torch.zeros(40, 28, 28)
    truth[:, -2:, -2:] = 1
    noise, others = (measures.random_maps(truth, seed) for seed in (1, 2))
    curves = [
        measures.insertion_deletion(BrightSpot(), bright, ZERO, m, 1, 10)
        for m in (truth, noise, others)
    ]
    for kind, sign in (("insertion", 1), ("deletion", -1)):
        good, random, other = (sign * area(c[kind]) for c in curves)
        assert stats.ttest_1samp(good - random, 0).statistic > 5
        assert abs(stats.ttest_1samp(random - other, 0).statistic) < 3


def test_rank_correlation_is_that_of_the_ranks_and_unknown_for_a_constant_map():
    a = torch.randn(3, 5, 5).relu()  # ties at 0
    b = a + torch.randn(3, 5, 5)
    b[2] = 1
    ranks = [[stats.rankdata(maps[i]) for maps in (a, b)] for i in (0, 1)]
    expected = [np.corrcoef(*both)[0, 1] for both in ranks]
    found = measures.rank_correlation(a, b).tolist()
    assert found == pytest.approx([*expected, float("nan")], nan_ok=True)
    torch.testing.assert_close(measures.rank_correlation(a, a), torch.ones(3).double())


def test_a_randomised_copy_is_seeded_new_everywhere_and_neither_explodes_nor_fades():
    layers = [
        m for _ in range(40) for m in (nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
    ]
    model = nn.Sequential(*layers).eval()
    before = {name: w.clone() for name, w in model.state_dict().items()}
    first, again, other = (measures.randomised_copy(model, s) for s in (1, 1, 2))
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    torch.testing.assert_close(first.state_dict(), again.state_dict(), rtol=0, atol=0)
    for (name, w), u in zip(first.named_parameters(), other.parameters(), strict=True):
        assert w.ndim == 1 or not (torch.equal(w, u) or torch.equal(w, before[name]))
    x = torch.randn(2, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert 1e-6 < first(x).std() < 1e3
