"""What a search decided, in sentences, on planted histories."""

import re

import numpy as np
import pytest
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


STEADY, STILL = history(np.linspace(0, 2, 8)), history([0.01] * 8)
HALF = np.stack([WANTED[0], np.zeros(14, int)])  # `none` wins all edges of reduction cells


@pytest.mark.parametrize(
    ("records", "wanted", "sure", "decided", "numbers"),
    [
        (STEADY, WANTED, 7, "the cell", [28, 28, 14, 0]),
        (history([2.0]), WANTED, 14, "the cell", [28, 28, 28, 0]),  # the shortest history
        ([*history([2.0] * 5, OTHER), *STEADY[5:]], WANTED, 14, "the cell", [28, 28, 28, 0]),
        (STILL, OTHER, 14, "hardly anything", [0, 28, 0, 0]),  # it stays, and yet says nothing
        (STILL, WANTED, 6, "hardly anything", [0, 28, 12, 0]),
        (STEADY, OTHER, 14, "a part of the cell", [28, 28, 0, 0]),
        (STEADY, WANTED, 6, "a part of the cell", [28, 28, 12, 0]),
        (history([2.0], HALF), WANTED, 0, "a part of the cell", [14, 28, 0, 0]),
        (STILL, WANTED, 14, "a part of the cell", [0, 28, 28, 0]),
        (
            [*history([2.0] * 6, OTHER), *STEADY[6:]],
            WANTED,
            14,
            "a part of the cell",
            [28, 28, 28, 16],
        ),
    ],
)
def test_a_search_has_decided_by_its_clear_its_confirmed_and_its_changed_edges(
    records, wanted, sure, decided, numbers
):
    text = verdict.verdict(records, worth_of(wanted, sure))
    assert f"decided {decided}:" in text
    assert [int(number) for number in re.findall(r"\d+", text)] == [*numbers, 16]


def test_an_edge_is_clear_from_one_and_a_half_times_the_next_weight_and_none_does_not_count():
    cases = ((np.log(1.6), WANTED, 28), (np.log(1.4), WANTED, 0), (9.0, np.zeros_like(WANTED), 0))
    for strength, wanted, clear in cases:
        assert verdict.clear_edges(history([strength], wanted)[0]) == clear
