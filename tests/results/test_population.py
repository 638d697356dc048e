"""Ranks of cells among random ones, by planted AUCs."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

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


def test_ranks_and_the_population_are_those_of_planted_aucs():
    (row,) = population.ranking(_trials(AUCS)).itertuples()
    assert (row.model, row.title, row.rank, row.random_cells) == ("s", "S", 4, 7)  # r4, r5, r6
    random = np.array([0.6 + i / 20 for i in range(7)])
    assert row.random_auc == pytest.approx(random.mean())
    # a prediction interval contains one more draw in 95 % of cases, whatever mean and deviation
    draws = stats.norm.rvs(3, 2, size=(4000, 8), random_state=0)
    margins = [population._margin(pd.Series(own[:7])) for own in draws]
    inside = abs(draws[:, 7] - draws[:, :7].mean(axis=1)) < margins
    assert inside.mean() == pytest.approx(0.95, abs=0.015)


def test_the_sentences_say_the_rank_of_each_searched_cell():
    (said,) = population.findings(_trials(AUCS))
    assert "S has rank 4 among 7" in said and "4 of 8" in said and "80.0 against 75.0" in said
    assert population.findings(pd.DataFrame()) == []
    # two random cells gave "95 % of random cells are within 616.2 points"
    assert np.isnan(population._margin(pd.Series([0.6, 0.9])))


def test_the_picture_has_a_panel_for_each_rung_and_a_row_for_each_cell():
    trials = _trials(AUCS)
    axes = population.plot(trials).axes
    assert [len(ax.collections[0].get_offsets()) for ax in axes] == [9, 3]
    labels = [label.get_text() for label in axes[0].get_yticklabels()]
    assert labels[0] in ("P", "R0") and labels[-1] == "R6"
    band = axes[0].patches[0].get_extents().transformed(axes[0].transData.inverted())
    margin = population._margin(trials.val_auc[(trials.kind == "random") & (trials.epochs == 2)])
    assert (band.x0, band.x1) == pytest.approx((0.75 - margin, 0.75 + margin))
    assert not axes[1].patches  # two random cells
