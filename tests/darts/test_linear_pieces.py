"""A network held on one of its linear pieces."""

import pytest
import torch

from helpers.darts.linear_pieces import LinearPieces, relu
from tests.toy_search import TRAIN, VAL, search


def test_no_units_are_held_outside_the_finite_difference():
    net, _ = search()
    expected = net(VAL[0])
    pieces = LinearPieces()
    with pieces:
        assert torch.equal(net(VAL[0]), expected)
        pieces.replay()
        assert torch.equal(net(VAL[0]), expected)
    with pieces:
        pieces.replay()
        held = net(TRAIN[0])  # the switches of other images
    assert not torch.allclose(held, net(TRAIN[0]))


def test_a_pass_that_calls_other_units_than_the_recorded_one_is_refused():
    pieces = LinearPieces()
    with pieces:
        relu(torch.randn(3))
        pieces.replay()
        relu(torch.randn(3))
        with pytest.raises(RuntimeError, match="the recorded pass had 1 ReLUs and max pools"):
            relu(torch.randn(3))
        pieces.replay()
        with pytest.raises(RuntimeError, match="not of the shape"):
            relu(torch.randn(4))


def test_a_second_recording_inside_a_first_is_refused():
    with LinearPieces(), pytest.raises(RuntimeError, match="open already"):
        LinearPieces().__enter__()
