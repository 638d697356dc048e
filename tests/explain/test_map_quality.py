"""Deletion: by hand, by chance, and of a network that has learned the defect."""

import copy
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import nn

from helpers.explain import map_quality
from helpers.explain.maps import judged


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


def test_the_area_of_a_perfect_map_by_hand():
    # Four steps of four pixels: the first quarter holds all that the model looks at.
    areas = map_quality.deletion_areas(BrightSpot(), IMAGES, 0 * IMAGES, SPOT, 1, 4)
    sure = torch.sigmoid(torch.tensor(4.0)).item()  # once, and .5 four times
    assert areas.tolist() == pytest.approx([(0.5 * sure + 1.75) / 4] * 3)


def test_pixels_of_equal_importance_do_not_go_from_the_top_left():
    rank = map_quality._importance_rank(torch.zeros(1, 8, 8), seed=0)
    assert sorted(rank.flatten().tolist()) == list(range(64))
    assert abs(rank[0, :4].float().mean().item() - 31.5) < 6
    assert torch.equal(rank, map_quality._importance_rank(torch.zeros(1, 8, 8), seed=0))
    maps = torch.tensor([[[0.1, 0.9], [0.5, 0.3]]])
    assert map_quality._importance_rank(maps, seed=0).tolist() == [[[3, 0], [1, 2]]]


def test_random_maps_are_as_coarse_as_those_of_a_network_and_depend_on_the_seed():
    first, other = (map_quality.random_maps(torch.zeros(9, 28, 28), seed) for seed in (1, 2))
    assert first.diff(dim=2).abs().max() <= 0.25  # of 7 cells each has four pixels
    assert (first - other).abs().max() > 0.5


def test_the_table_holds_means_chance_and_intervals_over_the_parts(subject, monkeypatch):
    monkeypatch.setattr(map_quality, "judging_precision", lambda *_: "no")  # as below
    model = copy.deepcopy(subject.model)
    model.head.weight.data /= 10  # the trained one is so sure that nothing varies
    subject = replace(subject, model=model)
    table = map_quality.measure(subject, 20).set_index("called")
    assert len(table) == 2
    order = map_quality.seeding.numpy_stream(0, "parts behind the maps").permutation(40)
    sample = subject.parts.iloc[order]
    ids = sample.id[sample.called == 1][:10]
    images, heats = subject.images(ids), subject.maps(ids, 1)
    hidden = map_quality.blurred(images)
    reached, chance = (
        map_quality.deletion_areas(subject.model, images, hidden, some, 1)
        for some in (heats, map_quality.random_maps(heats, 0))
    )
    row = table.loc["bad"]
    assert (row.maps, row.chance) == pytest.approx((reached.mean().item(), chance.mean().item()))
    gains = (chance - reached).numpy()
    interval = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert (row.gain, row.low, row.high) == pytest.approx((gains.mean(), *interval), abs=1e-5)
    assert row.low > 0  # it has learned the defect


def test_a_class_that_no_part_was_called_has_no_row(subject):
    nobody = replace(subject, parts=judged(subject.parts, 2.0))
    assert set(map_quality.measure(nobody, 8).called) == {"good"}
