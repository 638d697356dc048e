"""Images with a known answer, and a search that finds it."""

import dataclasses

import numpy as np
import pytest
import torch

from helpers.darts import planted, verdict
from helpers.darts.planted import PROBLEMS


def offsets(pixels):
    """The (row, column) steps from each dot to each other one."""
    places = np.argwhere(pixels > 0)
    return {tuple(b - a) for a in places for b in places}


@pytest.mark.parametrize(("name", "distance"), [("near", 1), ("middle", 3), ("far", 6)])
def test_pairs_lie_in_rows_if_bad_and_in_columns_if_good(name, distance):
    for label, step in ((1, (0, distance)), (0, (distance, 0))):
        pixels, blank = PROBLEMS[name].draw(np.random.default_rng(label), label)
        assert step in offsets(pixels) and not blank.any()
        starts = [p for p in np.argwhere(pixels > 0) if (p + step < planted.SIZE_PX).all()]
        assert any(pixels[tuple(p + step)] > 0 for p in starts)


def test_dots_meet_only_if_bad():
    for label in (0, 1):
        first, second = PROBLEMS["skip"].draw(np.random.default_rng(0), label)
        assert (first > 0).sum() == (second > 0).sum() == planted.DOTS
        assert np.array_equal(first, second) == bool(label)
        if not label:  # each dot has one in the other channel next to it
            for place in np.argwhere(first > 0):
                assert np.abs(np.argwhere(second > 0) - place).sum(axis=1).min() <= 1


@pytest.mark.parametrize("name", PROBLEMS)
def test_no_pixel_alone_tells_the_classes_apart(name):
    half = planted.halves_of(PROBLEMS[name], planted.settings_of(seed=0))[0]
    images, labels = half.embeddings, half.labels
    assert images.shape == (640, 2, planted.SIZE_PX, planted.SIZE_PX) and labels.mean() == 0.5
    bad, good = (np.sort(images[labels == label].ravel())[::500] for label in (1, 0))
    np.testing.assert_allclose(bad, good, atol=0.25)  # the same values, in other places


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
    settings = dataclasses.replace(planted.settings_of(seed=0), epochs=4)
    _, history = planted.search_planted(PROBLEMS["near"], settings, permuted)
    sure = {choice.edge: choice.chosen for choice in verdict.decided(history, settings)}
    assert planted.is_hit(PROBLEMS["near"], sure) != permuted
    assert not (permuted and sure)


def test_a_hit_needs_a_right_operation_on_every_edge_that_matters():
    both = {0: "dil_conv_5x5", 1: "sep_conv_3x3"}
    assert planted.is_hit(PROBLEMS["differ"], both)
    assert not planted.is_hit(PROBLEMS["differ"], {0: "dil_conv_5x5"})
    assert not planted.is_hit(PROBLEMS["differ"], both | {1: "dil_conv_3x3"})
