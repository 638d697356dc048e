"""Rank searched and published cells among random ones (Yang et al. 2020, arXiv 1912.12522).

The tables `trials` are those of successive halving: a row for each training, with epochs, model,
kind (searched, file, published or random), val_auc, parameters, and kept (the cell continues, or
has won).
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from scipy.stats import t

from helpers.core.style import p_value, percent, percent_axis
from helpers.models.names import display_name, model_colours

FOUND_BY = {"searched": "this search", "published": "its authors", "file": "its file"}


def ranking(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the rank of each searched and published cell among the random cells of its rung.

    Rank 1 is better than all of them; a random cell with the same AUC counts as better. If the
    search is no better than a random draw, all ranks of the first rung are equally probable. Later
    rungs hold the best random cells only.

    Columns: epochs, model, kind, parameters, val_auc, rank, random_cells (how many there are), and
    of them random_auc and random_std (mean and standard deviation), random_parameters (mean).
    """
    columns, rungs = ["epochs", "model", "kind", "parameters", "val_auc"], []
    for _, rung in trials.groupby("epochs"):
        random = rung[rung.kind == "random"]
        own = rung.loc[rung.kind != "random", columns].sort_values("val_auc", ascending=False)
        own["rank"] = [1 + int((random.val_auc >= auc).sum()) for auc in own.val_auc]
        own["random_cells"] = len(random)
        own["random_auc"], own["random_std"] = random.val_auc.mean(), random.val_auc.std()
        rungs.append(own.assign(random_parameters=random.parameters.mean()))
    return pd.concat(rungs, ignore_index=True).astype({"rank": int})


def ranking_words(trials: pd.DataFrame) -> pd.DataFrame:
    """Return `ranking` for the eye."""
    table = ranking(trials)
    spread = table.random_std.map(lambda sd: f" ± {percent(sd)}").where(
        table.random_std.notna(), ""
    )
    rank = table["rank"].astype(str) + " of " + (table.random_cells + 1).astype(str)
    none = table.random_cells == 0  # has survived so far
    # random cells are as large as the searched ones, not as the others
    no_rank = none | (table.kind != "searched")
    return pd.DataFrame(
        {
            "Epochs": table.epochs,
            "Cell": table.model.map(display_name),
            "Found by": table.kind.replace(FOUND_BY),
            "Validation AUC": table.val_auc.map(percent),
            "Rank": rank.mask(no_rank, "-"),
            "Random cells' AUC": (table.random_auc.map(percent) + spread).mask(none, "-"),
            "Parameters": table.parameters.map("{:,.0f}".format),
            "Random cells' parameters": table.random_parameters.map("{:,.0f}".format).mask(
                none, "-"
            ),
        }
    )


def findings(trials: pd.DataFrame) -> list[str]:
    """Return sentences: how the searched cells rank among the random ones, and which cell won."""
    if trials.empty:
        return []
    first, won = trials.epochs.min(), trials[trials.kept].model.iloc[-1]
    sentences = []
    searched = ranking(trials).query("kind == 'searched'")
    for row in searched[searched.epochs == first].itertuples():
        total, n = row.random_cells + 1, row.random_cells
        # prediction interval of one more draw from a normal distribution, known by n draws
        margin = t.ppf(0.975, n - 1) * row.random_std * (1 + 1 / n) ** 0.5
        lead, points = 100 * (row.val_auc - row.random_auc), 100 * margin
        sentences.append(
            f"{display_name(row.model)} has rank {row.rank} of {total} among {row.random_cells} "
            f"random cells after {first} epochs (validation AUC {percent(row.val_auc)}; random "
            f"cells {percent(row.random_auc)} ± {percent(row.random_std)}): {lead:+.1f} points "
            f"from their mean, where 95 % of random cells are within {points:.1f}. If the search "
            f"were no better than a random draw, such a rank would have "
            f"{p_value(row.rank / total)}."
        )
    won_by = f"The best of all {trials.model.nunique()} cells by successive halving is "
    won_by += display_name(won)
    is_later = (searched.epochs > first) & (searched.epochs == trials.epochs.max())
    for row in searched[is_later].itertuples():
        won_by += f"; in the last round {display_name(row.model)} has rank {row.rank} of "
        won_by += f"{row.random_cells + 1} (validation AUC {percent(row.val_auc)})"
    return [*sentences, f"{won_by}."]


def plot(trials: pd.DataFrame) -> Figure:
    """Draw the validation AUC by rung: random cells as gray dots, the others as lines."""
    counts = trials.groupby("epochs").size()
    table = trials.assign(cell=trials.model.map(display_name))
    table["rung"] = table.epochs.map(counts.index.get_loc)
    is_random = table.kind == "random"
    # a cell has one place in all rungs: random ones left of the tick, the others right of it
    places = table.groupby(is_random).cell.transform("rank", method="dense", pct=True)
    table["place"] = table.rung + 0.25 * places - 0.3 * is_random
    random, named = table[is_random], table[~is_random]
    figure, ax = plt.subplots(figsize=(9, 4.5))
    ax.scatter(random.place, random.val_auc, color="0.7", label="random cells")
    means = random.groupby("rung").val_auc.mean()
    ax.hlines(means, means.index - 0.3, means.index - 0.02, color="0.3", label="their mean")
    colours = {display_name(name): c for name, c in model_colours(named.model).items()}
    look = {"hue": "cell", "style": "cell", "palette": colours, "markers": True, "dashes": False}
    sns.lineplot(named, x="place", y="val_auc", ms=9, ax=ax, **look)
    ax.set_xticks(range(len(counts)), [f"{e} epochs,\n{n} cells" for e, n in counts.items()])
    ax.set(xlabel="", ylabel="validation AUC")
    percent_axis(ax.yaxis)
    first = ranking(trials).query("kind == 'searched' and epochs == epochs.min()")
    if len(first):
        ranks = [
            f"{display_name(r.model)} {r.rank} of {r.random_cells + 1}" for r in first.itertuples()
        ]
        ax.set_title(loc="left", label=f"Rank among the random cells: {', '.join(ranks)}")
    ax.margins(x=0.2)
    ax.legend(title="", loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure
