"""Ranks of cells among random ones, by planted AUCs."""

import pandas as pd
import pytest

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
    return table.assign(val_auc=table.model.map(aucs), kind=kind, parameters=100, seconds=1.0)


def test_ranks_and_the_population_are_those_of_planted_aucs():
    table = population.ranking(_trials(AUCS))
    first = table[table.epochs == 2].set_index("model")
    assert first.index.tolist() == ["s", "p"]
    assert first["rank"].to_dict() == {"s": 4, "p": 8}  # r4, r5, r6 and all seven
    random = pd.Series([0.6 + i / 20 for i in range(7)])
    assert first.random_auc.tolist() == pytest.approx([random.mean()] * 2)
    assert first.random_std.tolist() == pytest.approx([random.std(ddof=1)] * 2)
    assert (first.random_cells == 7).all() and (first.random_parameters == 100).all()
    (second,) = table[table.epochs == 6].itertuples()  # with r5 and r6, since it is before r4
    assert (second.model, second.rank, second.random_cells) == ("s", 3, 2)


def test_the_sentences_say_the_rank_of_each_searched_cell_and_the_winner():
    assert population.findings(_trials(AUCS)) == [
        "s has rank 4 of 8 among 7 random cells after 2 epochs (validation AUC 80.0; random cells "
        "75.0 ± 10.8): +5.0 points from their mean, where 95 % of random cells are within 28.3. "
        "If the search were no better than a random draw, such a rank would have p = .500.",
        "The best of all 9 cells by successive halving is r6; in the last round s has rank 3 of 3 "
        "(validation AUC 80.0).",
    ]
    without = {name: auc for name, auc in AUCS.items() if name != "s"}
    assert len(population.findings(_trials(without))) == 1
    assert population.findings(pd.DataFrame()) == []


def test_the_table_of_ranks_reads_without_names_of_code():
    words = population.ranking_words(_trials(AUCS))
    assert words.Rank.tolist() == ["4 of 8", "-", "3 of 3"]
    assert words["Random cells' AUC"].tolist()[0] == "75.0 ± 10.8"
    assert words["Found by"].tolist() == ["this search", "its authors", "this search"]


def test_a_rung_without_random_cells_has_no_rank():
    words = population.ranking_words(
        _trials({"s": 0.9, "p": 0.8, **{f"r{i}": 0.5 for i in range(4)}})
    )
    last = words[words.Epochs == 6].iloc[0]
    own = ["Rank", "Random cells' AUC", "Random cells' parameters"]
    assert last[own].tolist() == ["-"] * 3


def test_the_picture_has_a_line_for_each_named_cell_and_a_dot_for_each_random_one():
    trials = _trials(AUCS)
    (ax,) = population.plot(trials).axes
    assert len(ax.collections[0].get_offsets()) == (trials.kind == "random").sum()
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == ["random cells", "their mean", "s", "p"]
    lines = [line.get_xdata() % 1 for line in ax.lines if len(line.get_xdata())]
    places = [line[0] for line in lines]
    assert len(set(places)) == len(lines) == 2  # none hides another
    assert all(max(line) - min(line) < 1e-9 for line in lines)  # in all rungs
    dots = ax.collections[0].get_offsets()[:, 0]
    assert (dots < dots.round()).all() and len(set(dots)) == len(dots)  # left of the ticks
    assert ax.get_title(loc="left") == "Rank among the random cells: s 4 of 8"
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks == ["2 epochs,\n9 cells", "6 epochs,\n3 cells"]
