"""The measures of a network's maps: computed correctly, high if it has learned the defect."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from helpers.explain import map_quality
from helpers.explain.map_measures import area, randomised_copy, rank_correlation
from helpers.explain.subject import judged

PANELS = [(label, kind) for label in (0, 1) for kind in ("insertion", "deletion")]


@pytest.fixture(scope="module")
def quality(whole_subject):
    return map_quality.measure(whole_subject, 20)


def test_the_table_holds_means_chance_and_intervals_over_the_parts(subject):
    untrained = randomised_copy(subject.model, 7)  # the trained one is so sure that nothing varies
    subject = replace(subject, model=untrained)
    quality = map_quality.measure(subject, 20)
    table, sample = quality.table.set_index(["measure", "called"]), quality.sample
    assert len(table) == 6
    for label, kind in PANELS:
        maps, random = (area(curves[kind]).numpy() for curves in quality.curves[label])
        row = table.loc[(f"{kind} area", ("good", "bad")[label])]
        assert (row.maps, row.chance) == pytest.approx((maps.mean(), random.mean()))
        gains = maps - random if kind == "insertion" else random - maps
        interval = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
        found = (row.gain, row.low, row.high)
        assert found == pytest.approx((gains.mean(), *interval), abs=1e-5)
    for label, word in enumerate(("good", "bad")):
        ids = sample.id[sample.called == label]
        rho = [
            rank_correlation(
                subject.maps(ids, label),
                replace(subject, model=randomised_copy(subject.model, seed)).maps(ids, label),
            )
            for seed in range(map_quality.RANDOM_WEIGHTS)
        ]
        row = table.loc[(map_quality.CORRELATION, word)]
        expected = torch.stack(rho).nanmean(dim=0).nanmean().item()
        assert row.maps == pytest.approx(expected, abs=1e-6) and np.isnan(row.gain)


def test_a_network_that_has_learned_the_defect_has_better_maps_than_random_ones(quality):
    table = quality.table.set_index(["measure", "called"])
    assert table.loc[("insertion area", "bad")].low > 0
    assert table.loc[map_quality.CORRELATION].maps.abs().max() < 0.5


def test_a_class_that_no_part_was_called_has_no_curves(subject):
    nobody = replace(subject, parts=judged(subject.parts, 2.0))
    quality = map_quality.measure(nobody, 8)
    assert list(quality.curves) == [0] and "bad" not in set(quality.table.called)


def test_the_figure_shows_the_mean_curves(quality):
    figure = map_quality.curves_figure(quality, "title")
    for ax, (label, kind) in zip(figure.axes, PANELS, strict=True):
        for line, curves in zip(ax.lines, quality.curves[label], strict=True):
            np.testing.assert_allclose(line.get_ydata(), curves[kind].mean(dim=0))
