"""Promise, choose and move scores with lots as units: `python -m tests.benchmarks.lots [RUN ...]`.

- `simulated`: K lots of 1 to 29 bad and 20 good parts, ten features whose means differ by AWAY and
  whose lots correlate by ICC; five folds of lots, an LDA for each. All lots, each scored by the LDA
  that has not seen it, choose the threshold (by lots, and by parts); the LDA without fold 0 judges
  the bad parts of new lots.
- `promised`: published scores (FBP), each lot judged by the threshold of the others.
- `chosen`: K lots of ELPV choose a model, all other lots judge it: the points that it is behind the
  model with the highest AUC there. K = 0: one fold chooses, another judges.
- `moved`: the AUC of the other parts of all lots, if n parts of each are labelled, drawn at random;
  a, b and tau come from lots of other folds. A RUN with folds adds its logistic regression.

Each part is a file of rows; those that are there are not computed again.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.core import metrics, paths
from helpers.core.files import load_csv
from helpers.decisions import lot_offset, operating_point
from helpers.results.order_and_rate import logits
from helpers.results.out_of_fold import read_folder
from tests.benchmarks import rows

AWAY, FEATURES, FOLDS, DRAWS, NEW, REPEATS = 0.8, 10, 5, 400, 60, 20
SIMULATED = [
    (k, icc, asked) for k in (9, 20, 44) for icc in (0.0, 0.2, 0.5) for asked in (0.05, 0.1)
]
RULES = ("best", "1 se", "2 se", "fbp")


def table(name, model="fbp"):
    """Return id, label, group, fold and score (mean of the seeds) of a set's images."""
    if name == "elpv":
        found = read_folder(paths.published_scores())
        own = found.folds.rename(columns={"groups": "fold"})
        return own.assign(score=found.scores["groups"][model].mean(axis=1).to_numpy())
    if name == "bsdata":
        root = paths.notebooks_root() / "results/bsdata"
        own = load_csv(root / "folds_groups.csv", ("id", "label"), text=["group"])
        scores = load_csv(root / f"groups/{model}.csv", ("id",)).set_index("id").mean(axis=1)
        return own.assign(score=own.id.map(scores))
    run = paths.RunPaths(name)
    own = load_csv(run.split_csv, ("id", "label", "fold"), text=["group"]).dropna(subset="fold")
    scores = load_csv(run.predictions("lr"), ("id",)).groupby("id").defect_score.mean()
    return own.assign(score=own.id.map(scores))


def simulated(k, icc, asked):
    """Return promises and the escapes of new lots, by lots and by parts."""
    rng, found = np.random.default_rng(0), {"lots": [], "parts": []}
    for _ in range(DRAWS):
        sizes = np.r_[rng.integers(1, 30, k), np.full(NEW, 20)]
        lot = np.repeat(np.arange(k + NEW), sizes)
        bad = AWAY + icc**0.5 * rng.normal(size=(k + NEW, FEATURES))[lot]
        bad += (1 - icc) ** 0.5 * rng.normal(size=bad.shape)
        good, fold = rng.normal(size=(k * 20, FEATURES)), np.arange(k) % FOLDS
        score = np.empty(lot.size)
        for left in reversed(range(FOLDS)):
            kept = np.isin(lot, np.flatnonzero(fold != left)), np.repeat(fold != left, 20)
            own = bad[kept[0]], good[kept[1]]
            spread = np.vstack([part - part.mean(axis=0) for part in own])
            slope = np.linalg.solve(np.cov(spread.T), own[0].mean(axis=0) - own[1].mean(axis=0))
            middle = (own[0].mean(axis=0) + own[1].mean(axis=0)) / 2
            judged = np.isin(lot, np.flatnonzero(fold == left)) | ((lot >= k) & (left == 0))
            score[judged] = (bad[judged] - middle) @ slope
        own = score[lot < k]
        known = np.append(own, own + 1e-9), np.tile(lot[lot < k], 2)  # a good part at each score
        labels = np.repeat([1, 0], own.size)
        for unit in found:
            if unit == "lots":
                promise = operating_point.threshold_for_lots(labels, *known, asked)
            else:
                promise = operating_point.threshold_for_escape_rate(labels, known[0], asked)
            lost = pd.Series(score[lot >= k] < promise.threshold).groupby(lot[lot >= k]).mean()
            found[unit].append((promise.rate, lost.mean(), lost.quantile(0.95)))
    row = {}
    for unit, each in found.items():
        promised, lost, high = np.transpose(each)
        row |= {f"{unit}_promised": promised.mean(), f"{unit}_escape": lost.mean()}
        row |= {f"{unit}_escape_se": lost.std() / DRAWS**0.5, f"{unit}_lot_95": high.mean()}
    return {name: round(value, 4) for name, value in row.items()}


def promised(name, asked):
    """Return what was promised to each lot by the others, and what happened."""
    parts, own = table(name), []
    for name, lot in parts.groupby("group"):
        rest = parts[parts.group != name]
        promise = operating_point.threshold_for_lots(rest.label, rest.score, rest.group, asked)
        own.append(lot.assign(passes=lot.score < promise.threshold, promise=promise.rate))
    parts = pd.concat(own)
    lost = parts[parts.label == 1].groupby("group").passes.mean()
    row = {"lots": len(lost), "promised": parts.promise.max(), "escape": lost.mean()}
    row |= {"escape_se": lost.sem(), "worst": lost.max()}
    return row | {"good_passed": parts[parts.label == 0].passes.mean()}


def chosen(k):
    """Return the mean regret of each rule in points, and how often it takes the best model."""
    seed = "score" if k == 0 else "seed0"
    found = read_folder(paths.published_scores())
    scores = {
        n: t.mean(axis=1) if seed == "score" else t.seed0 for n, t in found.scores["groups"].items()
    }
    own = found.folds.assign(**{n: s.to_numpy() for n, s in scores.items()})
    lots, rng = own.group.unique(), np.random.default_rng(0)
    if k == 0:
        sides = [
            (own.groups == i, own.groups == j) for i in range(FOLDS) for j in range(FOLDS) if i != j
        ]
    else:
        drawn = [own.group.isin(rng.choice(lots, k, replace=False)) for _ in range(100)]
        sides = [(one, ~one) for one in drawn if own.label[one].nunique() == 2]
    regret, hits = {rule: [] for rule in RULES}, dict.fromkeys(RULES, 0)
    for val, test in sides:
        aucs = {
            n: [metrics.roc_auc(own.label[on], own[n][on]) for on in (val, test)] for n in scores
        }
        order = sorted(aucs, key=lambda n: -aucs[n][0])
        best = max(one[1] for one in aucs.values())
        ahead = {"best": 0.0, "1 se": 1.0, "2 se": 2.0, "fbp": np.inf}
        for rule, factor in ahead.items():
            taken = "fbp"
            for name in order[: order.index("fbp")]:
                test_of = metrics.auc_difference(
                    own.label[val], own[name][val], own.fbp[val], own.group[val]
                )
                if test_of.difference > factor * test_of.standard_error:
                    taken = name
                    break
            regret[rule].append(100 * (best - aucs[taken][1]))
            hits[rule] += aucs[taken][1] == best
    row = {f"{rule}_regret": np.mean(regret[rule]) for rule in RULES}
    return row | {f"{rule}_best": hits[rule] / len(sides) for rule in RULES} | {"pairs": len(sides)}


def moved(name, n_known):
    """Return the AUC of the other parts, moved and raw, the gain, and its interval by lots."""
    parts, rng, found = table(name), np.random.default_rng(0), []
    fits = {}
    for fold in parts.fold.unique():
        rest = parts[parts.fold != fold]
        fits[fold] = lot_offset.fit(rest.label, rest.score, rest.group)
    for _ in range(REPEATS if n_known else 1):
        place = parts.groupby("group").score.transform(lambda s: rng.permutation(len(s)))
        shift = pd.Series(0.0, parts.index)
        for lot, own in parts[place < n_known].groupby("group"):
            fitted = fits[own.fold.iloc[0]]
            shift[parts.group == lot] = lot_offset.offset(fitted, own.label, own.score).shift
        others = parts[place >= n_known]
        s = logits(others.score)
        new, groups = s + shift[others.index], others.group
        auc = metrics.auc_interval(others.label, new, groups)
        gain = metrics.auc_difference(others.label, new, s, groups)
        found.append((metrics.roc_auc(others.label, s), *auc, *gain[:3]))
    names = "raw", "auc", "auc_low", "auc_high", "gain", "gain_low", "gain_high"
    return dict(zip(names, 100 * np.mean(found, axis=0), strict=True))


def main(runs):
    """Complete the four tables, and print them."""
    sets = ["elpv", "bsdata", *runs]
    work = {
        "simulated": (("lots", "icc", "asked"), SIMULATED, simulated),
        "promised": (
            ("set", "asked"),
            [(n, a) for n in sets[:2] for a in (0.01, 0.03, 0.05, 0.1)],
            promised,
        ),
        "chosen": (("lots",), [(0,), *((k,) for k in (3, 5, 9, 20))], chosen),
        "moved": (("set", "known"), [(n, k) for n in sets for k in (0, 1, 3, 5, 10, 20)], moved),
    }
    for name, (key, cases, row) in work.items():
        path = Path(__file__).with_name(f"lots_{name}.csv")
        print(rows.completed(path, key, cases, row).round(4).to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1:])
