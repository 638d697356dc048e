"""The ensemble is kept by validation alone, and never sees a test label."""

import dataclasses

import numpy as np
import pandas as pd
from scipy import special
from sklearn.linear_model import LogisticRegression

from helpers.core import metrics
from helpers.core.metrics import roc_auc
from helpers.models.record import Model
from helpers.results import ensembles
from helpers.results.predictions import Scored
from helpers.results.predictions import scored_of as scored_of_rows


def split_of(n=300, folds=0):
    """`n` parts to train, validate and test, a third of them bad."""
    labels = pd.array(np.arange(3 * n) % 3 == 0, dtype="Int64")
    split = pd.DataFrame({"id": [f"{i:04d}" for i in range(3 * n)], "label": labels})
    split["split"] = np.repeat(["train", "val", "test"], n)
    if folds:
        split["fold"] = pd.array(np.arange(3 * n) % folds, dtype="Int64")
        split.loc[split.split == "test", "fold"] = pd.NA
        split.loc[split.fold == 0, "split"] = "val"
        split.loc[(split.fold > 0).fillna(False), "split"] = "train"
    return split


def scored_of(split, name, quality, seed, sides=("val",), sharpness=1.0):
    """A model with errors of its own, on a side of the split or several."""
    noise = np.random.default_rng(seed).normal(size=len(split))
    logits = sharpness * (noise + quality * (split.label.astype(float) - 0.5))
    parts = split.assign(defect_score=special.expit(logits.to_numpy(dtype=float)))
    columns = [name for name in ("id", "label", "defect_score", "group") if name in parts]
    val, test = parts[parts.split.isin(sides)][columns], parts[parts.split == "test"][columns]
    return Scored(Model(name), val.reset_index(drop=True), test.reset_index(drop=True))


def three(split, **options):
    names = ("svm", "cnn", "fbp")
    return {n: scored_of(split, n, 1.5 - 0.1 * k, k, **options) for k, n in enumerate(names)}


def halves(stacked):
    return (stacked.predictions[stacked.predictions.split == side] for side in ("val", "test"))


def test_models_with_independent_errors_are_joined_kept_and_better_on_test():
    split = split_of()
    scored = three(split)
    stacked = ensembles.stack(scored, split)
    aucs = {name: roc_auc(*own.labels_scores("val")) for name, own in scored.items()}
    best = scored[max(aucs, key=aucs.get)].val.defect_score
    labels, test_labels = (scored["svm"].labels_scores(side)[0] for side in ("val", "test"))
    val, test = halves(stacked)
    assert val.sort_values("id").id.tolist() == scored["svm"].val.id.tolist()
    out_of_fold = val.sort_values("id").defect_score
    assert stacked.kept
    gain = metrics.auc_difference(labels, out_of_fold, best)
    assert stacked.gain == gain.difference
    assert stacked.error == gain.standard_error
    highest = max(roc_auc(*own.labels_scores("test")) for own in scored.values())
    assert roc_auc(test_labels, test.defect_score) > highest + 0.02
    assert len(stacked.joined) == 3


def test_copies_of_one_model_are_not_improved():
    split = split_of()
    one = scored_of(split, "a", 1.5, 0)
    copies = {"a": one}
    for name, power in (("b", 2), ("c", 3)):
        val, test = (t.assign(defect_score=t.defect_score**power) for t in (one.val, one.test))
        copies[name] = Scored(Model(name), val, test)
    assert not ensembles.stack(copies, split).kept


def test_out_of_fold_scores_ignore_the_label_of_the_part_itself():
    split = split_of()
    before, _ = halves(ensembles.stack(three(split), split))
    flipped = split.assign(label=split.label.mask(split.id == "0300", 1 - split.label))
    scored = three(split)
    for name, own in scored.items():
        val = own.val.assign(label=flipped.label[flipped.split == "val"].to_numpy())
        scored[name] = dataclasses.replace(own, val=val)
    labels = scored["svm"].labels_scores("val")[0]
    folds = ensembles.stratified_folds(labels, 5, 0)
    after, _ = halves(ensembles.stack(scored, flipped))
    merged = before.merge(after, on="id", suffixes=("", "_after")).sort_values("id")
    same = merged.defect_score.to_numpy() == merged.defect_score_after.to_numpy()
    assert len(np.unique(folds)) == 5 and not same.all()
    # by hand: the fold of the part is scored by a regression on the other folds
    z = special.logit(np.stack([own.val.defect_score for own in scored.values()], axis=1))
    own = folds == folds[0]
    oracle = LogisticRegression(max_iter=1000).fit(z[~own], labels[~own])
    expected = oracle.predict_proba(z[own])[:, 1]
    found = merged.defect_score_after.to_numpy()[own]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_ensembles_of_cross_fitted_models_are_cross_fitted_over_the_same_folds():
    split = split_of(folds=5)
    scored = three(split, sides=("train", "val"))
    scored["ll"] = scored_of(split, "ll", 3.0, 9)  # fewer validation images: not joined
    stacked = ensembles.stack(scored, split)
    assert set(stacked.joined) == {"svm", "cnn", "fbp"}
    blocks = stacked.predictions.groupby("fold")
    assert list(blocks.groups) == [0, 1, 2, 3, 4]
    fold = split.set_index("id").fold
    for number, rows in blocks:
        held_out = rows[rows.split == "val"]
        assert (fold[held_out.id] == number).all() and (rows.split == "test").sum() == 300


def test_folds_and_the_error_of_the_gain_are_by_groups_if_the_split_keeps_them_apart():
    split = split_of().assign(group=lambda table: table.index // 30)
    apart = {n: dataclasses.replace(own, groups_apart=True) for n, own in three(split).items()}
    assert ensembles.stack(apart, split).error != ensembles.stack(three(split), split).error
    # all bad parts are in one group: folds of groups would have none, so parts are dealt out
    split = split.assign(group=split.label.astype(int))
    apart = {n: dataclasses.replace(own, groups_apart=True) for n, own in three(split).items()}
    del apart["cnn"]
    alone = {n: dataclasses.replace(own, groups_apart=False) for n, own in apart.items()}
    found, plain = (ensembles.stack(given, split, seed=3) for given in (apart, alone))
    pd.testing.assert_frame_equal(found.predictions, plain.predictions)
    assert [*found.predictions] == ["id", "split", "defect_score"]


def test_one_model_references_or_a_tiny_validation_set_give_no_ensemble():
    split = split_of()
    scored = three(split)
    assert ensembles.stack({"svm": scored["svm"]}, split) is None
    light = dataclasses.replace(scored["cnn"], model=Model("lr", features="brightness"))
    assert ensembles.stack({"svm": scored["svm"], "light": light}, split) is None
    assert [*ensembles.models_to_join({"light": light})] == ["light"]  # if there is no other
    assert ensembles.stack(three(split_of(n=6)), split_of(n=6)) is None
    assert ensembles.stack(three(split_of(n=12)), split_of(n=12))


def test_the_ensemble_of_a_fold_joins_the_trainings_that_have_not_seen_the_fold():
    split = split_of(folds=5)

    def test_scores(shift):
        scored = {}
        for name, own in three(split, sides=("train", "val")).items():
            val = own.val[["id", "defect_score"]].assign(split="val")
            val["fold"] = val.id.map(split.set_index("id").fold)
            tests = [
                own.test[["id", "defect_score"]].assign(split="test", fold=f) for f in range(5)
            ]
            tests[1]["defect_score"] *= shift  # by the trainings without fold 1
            scored[name] = scored_of_rows(pd.concat([val, *tests]), split, Model(name))
        rows = ensembles.stack(scored, split).predictions
        return [own.defect_score.tolist() for _, own in rows[rows.split == "test"].groupby("fold")]

    before, after = test_scores(1.0), test_scores(0.5)
    assert [own != other for own, other in zip(before, after, strict=True)] == [0, 1, 0, 0, 0]
