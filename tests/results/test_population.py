"""Ranks of cells among random ones, by planted AUCs."""

import pandas as pd

from helpers.results import population

AUCS = {"s": 0.80, "p": 0.60, **{f"r{i}": 0.6 + i / 20 for i in range(7)}}  # r4 ties with s


def _trials(aucs):
    """Two rungs, of all cells and of the best third; the first letter of a name is its kind."""
    kinds = {"s": "searched", "p": "published", "r": "random"}
    best = sorted(aucs, key=lambda name: -aucs[name])
    third, won = best[: len(best) // 3], best[:1]
    rows = [(2, name, name in third) for name in aucs] + [(6, n, n in won) for n in third]
    table = pd.DataFrame(rows, columns=["epochs", "model", "kept"])
    kind = [kinds[name[0]] for name in table.model]
    return table.assign(
        title=table.model.str.upper(),
        val_auc=table.model.map(aucs),
        kind=kind,
        parameters=100,
        seconds=1.0,
    )


def test_the_sentences_say_the_rank_of_each_searched_cell():
    (said,) = population.findings(_trials(AUCS))  # r4, r5 and r6 are not worse
    assert "S has rank 4 among 7" in said and "4 of 8" in said and "80.0 against 75.0" in said
    assert population.findings(pd.DataFrame()) == []
