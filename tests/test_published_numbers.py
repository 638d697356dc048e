"""Numbers in the text of the notebooks are those of the published scores and tables."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers.core import paths
from helpers.core.metrics import exact_interval
from helpers.darts import genotypes
from helpers.results.order_and_rate import decomposition
from helpers.results.out_of_fold import read_folder, three_columns
from tests.benchmarks import cells, lots, replays
from tests.test_readme_numbers import PROMISED

SCORES = read_folder(paths.published_scores())
AUCS = 100 * three_columns(SCORES).set_index("model")[["seen_auc", "unseen_auc", "inside_auc"]]
CODE = re.compile(r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\]\([^)]*\)|arXiv [\d.]+", re.S)
DECIMAL = re.compile(r"(?<![\w.])\d*\.\d+(?!\w)")
# what no run of this repository has found: licences, settings, other people's results
FACTS = {
    "00_start": {"4.0"},
    "02_features_baselines": {"0.5"},
    "03_finetuning": {"0.5", ".5", ".25"},
    "05_genotype_retraining": {"1.08"},
    "06_analysis": {"89.8", "2.0", "82.5", "82.4", "88.4", "1.85", "91.7", ".05"},
    "07_decision": {"0.8"},
}


def said(notebook):
    """Return the text of a notebook without code, formulas and addresses."""
    path = paths.notebooks_root() / f"{notebook}.ipynb"
    cells = json.loads(path.read_text("utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return " ".join(CODE.sub("", text).split())


def forms(*numbers, digits=1):
    """Return numbers as text, with and without the zero before the point."""
    texts = {f"{abs(number):.{digits}f}" for number in numbers}
    return texts | {text.removeprefix("0") for text in texts}


def of_searches():
    """Return the numbers of 04: edges that searches share, and how cells of ELPV differ."""
    lines = (paths.published_scores() / "searched_cells.jsonl").read_text("utf-8").splitlines()
    found = [genotypes.from_json(json.loads(line)["cell"]) for line in lines]
    drawn = [genotypes.random_genotype(number) for number in range(2000)]
    shares = []
    for pairs in (itertools.combinations(found, 2), zip(drawn[::2], drawn[1::2], strict=True)):
        edges = [[genotypes.all_edges(cell) for cell in pair] for pair in pairs]
        shares.append(np.mean([len(one & other) for one, other in edges]))
    table = pd.read_csv(cells.TABLE)
    last = table[(table.set == "elpv") & (table.epochs == cells.EPOCHS["elpv"])]
    last = last[last.cell.isin(cells.REPEATED)].assign(auc=last.test_auc.fillna(last.val_auc))
    wide = last.pivot_table("auc", "cell", "seed").dropna(axis=1)
    means = 100 * wide.mean(axis=1)
    return forms(*shares, means.min(), means.max()) | forms(
        *replays.intraclass(wide.to_numpy(), same_seeds=True), digits=2
    )


def of_the_table_of_cells():
    """Return the numbers of 05: what searches gain on the table of cells."""
    table = replays.Table(pd.read_csv(cells.TABLE))
    random = table.array("test_auc")[:, 2].mean(axis=1)
    own = replays.searches(table)
    auc = own.auc[~own.strategy.str.startswith("maps48")]
    gain, error = auc.mean() - random.mean(), np.hypot(stats.sem(auc), stats.sem(random))
    rows = pd.read_csv(replays.__file__.replace(".py", ".csv")).set_index("strategy")
    equal = rows.loc["search: all"]
    kept = rows[(rows.cells == 9) & ~rows.index.str.contains("maps48|random|single_path")]
    last = table.found.xs(table.epochs[-1], level="epochs").test_auc.groupby("cell").mean()
    numbers = [gain, error, equal.gain, equal.gain_low, equal.gain_high]
    numbers += [kept.visible.min(), kept.visible.max(), last["DARTS_V2"], last["by_hand"]]
    return forms(*(100 * number for number in numbers))


def of_the_promise():
    """Return the numbers of 07: what FBP passes by thresholds of other lots, and of nine groups."""
    table = PROMISED[PROMISED.set == "elpv"]
    of_no_escape = exact_interval(0, 9).high  # in nine groups
    at_best = 1 / (1 + table.lots.max())
    return forms(*(100 * number for number in (*table.good_passed, of_no_escape, at_best)))


def of_elpv():
    """Return the numbers of 00, 02, 03, 05 and 06: AUCs of scores out of fold."""
    fbp = {protocol: {"fbp": models["fbp"]} for protocol, models in SCORES.scores.items()}
    (row,) = decomposition(dataclasses.replace(SCORES, scores=fbp)).itertuples()
    parts = 100 * np.array([row.rebuilt, row.inside_gain, row.unexplained])
    moved = pd.read_csv(lots.__file__.replace(".py", "_moved.csv"))
    labelled = moved[(moved.set == "elpv") & moved.known.isin([10, 20])].auc
    rates = forms(row.seen_rate, row.unseen_rate, digits=2)
    return forms(*AUCS.to_numpy().ravel(), *parts, *labelled) | rates


@pytest.mark.parametrize(
    "path", sorted(paths.notebooks_root().glob("*.ipynb")), ids=lambda p: p.stem
)
def test_numbers_in_the_text_are_those_of_the_published_tables(path):
    known = {"04_darts_search": of_searches, "05_genotype_retraining": of_the_table_of_cells}
    known["07_decision"] = of_the_promise
    computed = of_elpv() | known.get(path.stem, set)()
    assert {*DECIMAL.findall(said(path.stem))} <= computed | FACTS.get(path.stem, set())
