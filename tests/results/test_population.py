"""Ranks of cells among random ones, by planted AUCs."""

import pandas as pd

from helpers.results import population


def test_the_rank_of_each_searched_cell_is_that_among_the_random_ones_of_the_first_rung():
    aucs = {"s": 0.80, "p": 0.60, **{f"r{i}": 0.6 + i / 20 for i in range(7)}}  # r4 ties with s
    kinds = {"s": "searched", "p": "published", "r": "random"}  # the first letter of a name
    first = pd.DataFrame({"epochs": 2, "title": aucs.keys(), "val_auc": aucs.values()})
    trials = pd.concat([first, first[first.title != "r5"].assign(epochs=6)])
    trials["kind"] = trials.title.str[0].map(kinds)
    (found,) = population.ranks(trials)  # r4, r5 and r6 are not worse
    assert found.what == "s: rank among 7 random cells after 2 epochs"
    assert (found.estimate, found.unit) == (4, "")
