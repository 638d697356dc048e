"""Ranks of cells among random ones, by planted AUCs."""

import pandas as pd

from helpers.results import population

AUCS = {"s": 0.80, "p": 0.60, **{f"r{i}": 0.6 + i / 20 for i in range(7)}}  # r4 ties with s


def test_the_sentences_say_the_rank_of_each_searched_cell():
    kinds = {"s": "searched", "p": "published", "r": "random"}  # the first letter of a name
    best = sorted(AUCS, key=lambda name: -AUCS[name])  # two rungs, the second of the best third
    rows = [(2, name, name in best[:3]) for name in AUCS]
    rows += [(6, name, name in best[:1]) for name in best[:3]]
    trials = pd.DataFrame(rows, columns=["epochs", "model", "kept"])
    trials = trials.assign(title=trials.model.str.upper(), val_auc=trials.model.map(AUCS))
    trials = trials.assign(kind=trials.model.str[0].map(kinds), parameters=100, seconds=1.0)
    (said,) = population.findings(trials)  # r4, r5 and r6 are not worse
    assert "S has rank 4 among 7" in said and "4 of 8" in said and "80.0 against 75.0" in said
    assert population.findings(pd.DataFrame()) == []
