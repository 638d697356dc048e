"""Images with a known answer, and a search that finds it."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from helpers.darts import planted, verdict
from helpers.darts.space import OPERATIONS
from tests.benchmarks.planted import PROBLEMS, is_hit, log_strengths


@pytest.mark.parametrize(("name", "distance"), [("near", 1), ("middle", 3), ("far", 6)])
def test_pairs_lie_in_rows_if_bad_and_in_columns_if_good(name, distance):
    for label, step in ((1, (0, distance)), (0, (distance, 0))):
        pixels, blank = PROBLEMS[name].draw(np.random.default_rng(label), label)
        places = np.argwhere(pixels > 0)
        assert step in {tuple(b - a) for a in places for b in places} and not blank.any()
        starts = [p for p in places if (p + step < planted.SIZE_PX).all()]
        assert any(pixels[tuple(p + step)] > 0 for p in starts)


def test_signs_agree_more_often_if_bad_and_neighbours_say_nothing():
    rng = np.random.default_rng(0)
    for label, share in ((1, 0.6), (0, 0.4)):
        first, second = np.transpose(
            [PROBLEMS["skip"].draw(rng, label) for _ in range(100)], (1, 0, 2, 3)
        )
        assert (first == second).mean() == pytest.approx(share, abs=0.02)
        assert (first[:, 1:] == second[:, :-1]).mean() == pytest.approx(0.5, abs=0.02)
        assert first.mean() == pytest.approx(0, abs=0.02) == pytest.approx(second.mean(), abs=0.02)


@pytest.mark.parametrize("name", PROBLEMS)
def test_no_sum_of_pixels_tells_the_classes_apart(name):
    halves = planted.halves_of(PROBLEMS[name], planted.settings_of(seed=0))
    x = [half.embeddings.reshape(PROBLEMS[name].images // 2, -1) for half in halves]
    fitted = LogisticRegression(C=0.01, max_iter=1000).fit(x[0], halves[0].labels)
    assert halves[0].labels.mean() == 0.5
    assert 0.4 < roc_auc_score(halves[1].labels, fitted.decision_function(x[1])) < 0.6


def test_permuted_labels_are_those_of_alphas_half_alone():
    given = planted.settings_of(seed=1)
    plain = planted.halves_of(PROBLEMS["near"], given)
    permuted = planted.halves_of(PROBLEMS["near"], given, permuted=True)
    assert np.array_equal(plain[0].labels, permuted[0].labels)
    assert np.array_equal(plain[1].embeddings, permuted[1].embeddings)
    assert 0.4 < (plain[1].labels == permuted[1].labels).mean() < 0.6
    assert plain[1].labels.sum() == permuted[1].labels.sum()


def test_each_input_of_the_cell_sees_its_own_channel_pixel_by_pixel():
    net, images = planted.OneCell(partial=1), torch.randn(4, 2, 10, 10)
    before = net.inputs(images)
    images[:, 0, 3, 3] += 1.0
    after = net.inputs(images)
    assert torch.equal(before[1], after[1])
    # batch norm moves and scales all pixels alike: apart from this the others stay
    change = (after[0][:, 0] - before[0][:, 0]) / before[0][:, 0].std()
    others = change.clone()
    others[:, 3, 3] = 0
    assert change[:, 3, 3].abs().min() > 3 * others.abs().max()


@pytest.mark.parametrize("permuted", [False, True])
def test_the_search_finds_what_was_planted_and_with_permuted_labels_nothing(permuted):
    settings = dataclasses.replace(planted.settings_of(seed=1), epochs=4)
    _, history = planted.search_planted(PROBLEMS["near"], settings, permuted)
    limit = verdict.noise_limit(history, settings)
    assert is_hit(PROBLEMS["near"], log_strengths(history), limit) != permuted
    assert not (permuted and verdict.decided(history, limit))


def test_a_hit_needs_a_right_operation_on_every_edge_that_matters():
    def worth(*names):
        return np.array([[3.0 * (o == name) for o in OPERATIONS] for name in names])

    problem, both = PROBLEMS["differ"], worth("dil_conv_5x5", "sep_conv_3x3")
    assert is_hit(problem, both, margin=2.9) and not is_hit(problem, both, 3.0)
    # another right one may be as good, a wrong one may not
    assert is_hit(problem, both + worth("sep_conv_5x5", "sep_conv_5x5"), margin=2.9)
    assert not is_hit(problem, both + worth("sep_conv_3x3", "sep_conv_5x5"))
    assert not is_hit(problem, worth("dil_conv_5x5", "dil_conv_3x3"))
