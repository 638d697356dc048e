"""Simulate escape rates promised by one fold and by all: `python -m tests.benchmarks.promises`.

n bad parts are in K folds, and model j is trained without fold j. For each rule, k is the largest
number whose promise is at most the rate that is asked for, or 0. A new part passes

- by `one` if model 0 scores it below the (k + 1)-th smallest of the m scores of fold 0. The promise
  (k + 1) / (m + 1) is exact.
- by `cv` (CV+, arXiv 1905.02928) if at most k of the n parts have a score of at most its own, each
  compared by the model of its fold. The promise is (2k + q) / (n + q). Proof for q = K: the number
  of such parts in a fold of m is uniform on 0 to m, and K such numbers, however they depend on each
  other, have a sum of at most k with no larger chance. If folds are equal and trainings ignore the
  order of parts, the tournament of theorem 4 gives q = n / K.
- by `mean` if its mean score is below the (k + 1)-th smallest of n: (k + 1) / (n + 1), unproved.
"""

from pathlib import Path

import numpy as np

from tests.benchmarks import rows

KEY = ["learner", "bad", "folds", "held_out", "icc", "asked"]
SIZES = (48, 3, 17), (48, 5, 10), (150, 3, 50), (150, 5, 30)
CASES = [("lda", *size, icc, 0.1) for size in SIZES for icc in (0.0, 0.2)]
FEW = (48, 2, 24, 0.03), (48, 3, 17, 0.03), (48, 48, 1, 0.03), (24, 5, 5, 0.33)
CASES += [("lda", *size, 0.0, asked) for *size, asked in FEW]
CASES += [("opposed", 3000, 2, 1500, 0.0, 0.1), ("blind", 150, 5, 30, 0.0, 0.1)]
DRAWS, NEW, GOOD, FEATURES, AWAY, LOW, BLIND = 2000, 2000, 300, 10, 0.8, 0.085, 0.08


def scores(learner, rng, folds, icc):
    """Return scores (K, n + 2 NEW) of the bad parts, of new bad and of new good ones."""
    n_folds, n = folds[-1] + 1, folds.size
    found = rng.uniform(0.9, 1, n + 2 * NEW) * np.repeat([1, 0], [n + NEW, NEW])
    if learner == "opposed":  # two models rank the lowest bad parts in opposite ways
        ranks = np.maximum(10 * found - 9, 0)
        return np.array([ranks, np.where(ranks < LOW, LOW - ranks, ranks)])
    if learner == "blind":  # each model misses a few bad parts by chance
        return np.where(rng.random((n_folds, found.size)) < BLIND, found / 9, found)
    lots = rng.normal(size=(n_folds, n, FEATURES))[folds, np.arange(n) // 5]  # five parts at most
    bad = AWAY + icc**0.5 * lots + (1 - icc) ** 0.5 * rng.normal(size=lots.shape)
    good, found = rng.normal(size=(n_folds, GOOD // n_folds, FEATURES)), []
    judged = np.vstack([bad, *(mean + rng.normal(size=(NEW, FEATURES)) for mean in (AWAY, 0))])
    for fold in range(n_folds):
        classes = bad[folds != fold], np.concatenate(np.delete(good, fold, axis=0))
        means = [own.mean(axis=0) for own in classes]
        spread = np.vstack([own - mean for own, mean in zip(classes, means, strict=True)])
        slope = np.linalg.solve(np.cov(spread.T), means[0] - means[1])
        found.append(1 / (1 + np.exp((np.mean(means, axis=0) - judged) @ slope)))
    return np.array(found)


def rules(found, folds, asked):
    """Return for each rule its promise, and if the new parts (2 NEW,) pass."""
    n, sizes = folds.size, np.bincount(folds)
    bad, new, decided = found[folds, np.arange(n)], found[:, n:], {}
    for rule, held, own in (("one", bad[folds == 0], new[0]), ("mean", bad, new.mean(axis=0))):
        k = max(0, int(asked * (held.size + 1) + 1e-9) - 1)
        decided[rule] = (k + 1) / (held.size + 1), own < np.sort(held)[k]
    q = min(sizes.size, sizes[0] if np.ptp(sizes) == 0 else n)
    k = max(0, int((asked * (n + q) - q) / 2 + 1e-9))
    below = [np.searchsorted(np.sort(bad[folds == j]), own, "right") for j, own in enumerate(new)]
    return decided | {"cv": ((2 * k + q) / (n + q), np.sum(below, axis=0) <= k)}


def row(learner, n, n_folds, held_out, icc, asked):
    """Return the rest of a row: of each rule the promise, means, their errors, a 95 % quantile."""
    folds = np.r_[np.zeros(held_out, int), 1 + np.sort(np.arange(n - held_out) % (n_folds - 1))]
    rng, found = np.random.default_rng(0), {}
    drawn = [rules(scores(learner, rng, folds, icc), folds, asked) for _ in range(DRAWS)]
    for rule, (promised, _) in drawn[0].items():
        escape, good = np.transpose([one[rule][1].reshape(2, NEW).mean(axis=1) for one in drawn])
        found |= {f"{rule}_promised": promised, f"{rule}_escape_95": np.quantile(escape, 0.95)}
        for name, rates in (("escape", escape), ("overkill", 1 - good)):
            found |= {f"{rule}_{name}": rates.mean(), f"{rule}_{name}_se": rates.std() / DRAWS**0.5}
    return {name: round(value, 4) for name, value in found.items()}


if __name__ == "__main__":
    print(rows.completed(Path(__file__).with_suffix(".csv"), KEY, CASES, row).T.to_string())
