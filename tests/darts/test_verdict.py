"""What a search decided, in sentences, on planted histories."""

import numpy as np
import torch

from helpers.darts import search, verdict
from helpers.darts.space import KINDS
from helpers.darts.supernet import Supernet

RNG = np.random.default_rng(0)
WANTED = RNG.integers(1, 8, size=(2, 14))  # columns of alpha, a winner for each edge
OTHER = (WANTED % 7) + 1  # another winner everywhere


def history(strengths, wanted=WANTED):
    """A record for each epoch, in which the winners of all edges have this alpha, the others 0."""
    net, records = Supernet(4, 3, 2), []
    for strength in strengths:
        with torch.no_grad():
            for kind, columns in zip(KINDS, wanted, strict=True):
                alpha = torch.zeros(14, 8)
                alpha[range(14), columns] = strength + 0.001 * torch.arange(14.0)  # no ties
                getattr(net, f"alpha_{kind}").copy_(alpha)
        records.append(search.architecture(net, -1))
    return records


def worth_of(wanted, sure=14):
    """Worths in which these columns of alpha win."""
    return {
        kind: {
            "operations": (np.eye(8)[columns][:, 1:] / 10 - 0.01).tolist(),
            "leads": [2.1] * sure + [1.9] * (14 - sure),
        }
        for kind, columns in zip(KINDS, wanted, strict=True)
    }


def sentence(records, wanted=WANTED, sure=14):
    return verdict.verdict(records, worth_of(wanted, sure))


def test_a_clear_and_steady_search_that_perturbation_confirms_has_decided():
    text = sentence(history(np.linspace(0, 2, 8)), sure=7)
    assert "decided the cell: " in text and "28 of the 28" in text and "on 14, and 0 of" in text
    assert "decided the cell" in sentence(history([2.0]))  # the shortest history


def test_a_search_that_never_left_the_start_has_decided_hardly_anything():
    still = sentence(history([0.01] * 8), OTHER)
    assert "decided hardly anything: one operation leads clearly on 0 of the 28 edges" in still
    assert "the same operation on 0, and 0 of" in still  # it stays the same and yet says nothing
    assert "decided hardly anything" in sentence(history([0.01] * 8), sure=6)


def test_one_sign_or_a_cell_that_still_moves_decide_a_part():
    steady = history(np.linspace(0, 2, 8))
    assert "decided a part of the cell" in sentence(steady, OTHER)
    assert "decided a part of the cell" in sentence(steady, sure=6)
    half = np.stack([WANTED[0], np.zeros(14, int)])  # `none` wins all edges of reduction cells
    assert "a part of the cell: one operation leads clearly on 14" in sentence(
        history([2.0], half), sure=0
    )
    assert "decided a part of the cell" in sentence(history([0.01] * 8))
    moving = sentence([*history([2.0] * 6, OTHER), *steady[6:]])
    assert "decided a part of the cell" in moving and "16 of the cells' 16 edges changed" in moving
    assert "decided the cell" in sentence([*history([2.0] * 5, OTHER), *steady[5:]])


def test_an_edge_is_clear_from_one_and_a_half_times_the_next_weight_and_none_does_not_count():
    cases = ((np.log(1.6), WANTED, 28), (np.log(1.4), WANTED, 0), (9.0, np.zeros_like(WANTED), 0))
    for strength, wanted, clear in cases:
        assert verdict.clear_edges(history([strength], wanted)[0]) == clear
