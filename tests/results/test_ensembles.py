"""Ensembles are kept by validation alone, and never see a test label."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

from helpers.core import metrics
from helpers.core.members import Member
from helpers.core.metrics import roc_auc
from helpers.models.record import ENSEMBLES, Model
from helpers.results import ensembles
from helpers.results.predictions import Scored, common


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


def build(scored, split, seed=0):
    return {own.model.base: own for own in ensembles.build(scored, split, seed)}


def test_models_with_independent_errors_are_joined_kept_and_better_on_test():
    split = split_of()
    scored = three(split)
    built = build(scored, split)
    assert list(built) == list(ENSEMBLES)
    aucs = {name: roc_auc(*own.labels_scores("val")) for name, own in scored.items()}
    best = max(aucs, key=aucs.get)
    labels, test_labels = (
        scored["svm"].labels_scores("val")[0],
        scored["svm"].test.label.astype(int),
    )
    highest = max(roc_auc(*own.labels_scores("test")) for own in scored.values())
    for own in built.values():
        assert own.kept and own.best == best
        val, test = (own.predictions[own.predictions.split == side] for side in ("val", "test"))
        assert val.id.tolist() == scored["svm"].val.id.tolist()
        assert own.val_auc == roc_auc(labels, val.defect_score)
        gain = metrics.auc_difference(labels, val.defect_score, scored[best].val.defect_score)
        error = (gain.high - gain.low) / 2 / stats.norm.ppf(0.975)
        assert (own.gain, own.error) == (gain.difference, pytest.approx(error))
        assert roc_auc(test_labels, test.defect_score) > highest + 0.02


def test_copies_of_one_model_and_a_perfect_model_are_not_improved():
    split = split_of()
    one = scored_of(split, "a", 1.5, 0)
    copies = {"a": one}
    for name, power in (("b", 2), ("c", 3)):
        val, test = (t.assign(defect_score=t.defect_score**power) for t in (one.val, one.test))
        copies[name] = Scored(Model(name), val, test)
    assert not any(own.kept for own in build(copies, split).values())
    perfect = {"perfect": scored_of(split, "perfect", 1e3, 8), **three(split)}
    built = build(perfect, split)
    assert not any(own.kept for own in built.values())
    assert built["rank_average"].weights["perfect"] == 1 and built["stacking"].best == "perfect"


def test_a_random_model_gets_no_vote_and_spoils_nothing():
    split = split_of()
    clean = build(three(split), split)
    built = build(three(split) | {"random": scored_of(split, "random", 0, 9)}, split)
    assert built["rank_average"].weights["random"] == 0
    assert abs(built["stacking"].weights["random"]) < 0.2
    labels = split.label[split.split == "test"].astype(int)
    for name, own in built.items():
        aucs = [
            roc_auc(labels, one.predictions[one.predictions.split == "test"].defect_score)
            for one in (own, clean[name])
        ]
        assert own.kept and aucs[0] == pytest.approx(aucs[1], abs=0.01)


def test_out_of_fold_scores_ignore_the_label_of_the_part_itself(monkeypatch):
    sizes = []

    class Memory(ensembles.RankAverage):
        """Knows every label that it was fitted on by the part's score."""

        def fit(self, scores, labels):
            self.known = dict(zip(scores[:, 0].tolist(), labels.tolist(), strict=True))
            self.coef_ = np.ones((1, scores.shape[1]))
            sizes.append(len(labels))
            return self

        def predict_proba(self, scores):
            known = np.array([self.known.get(score, 0.5) for score in scores[:, 0].tolist()])
            return np.stack([1 - known, known], axis=1)

    monkeypatch.setattr(ensembles, "RankAverage", Memory)
    split = split_of()
    own = build(three(split), split)["rank_average"].predictions
    assert (own.defect_score[own.split == "val"] == 0.5).all()
    assert sizes == [300, *[240] * 5]


def test_stacking_is_a_logistic_regression_on_logits():
    scored = three(split_of(), sharpness=5)
    labels = scored["svm"].labels_scores("val")[0]
    scores = np.stack([own.val.defect_score for own in scored.values()], axis=1)
    fitted = ensembles.stacking().fit(scores, labels)
    oracle = LogisticRegression().fit(special.logit(np.clip(scores, 1e-6, 1 - 1e-6)), labels)
    np.testing.assert_allclose(fitted[-1].coef_, oracle.coef_, atol=1e-3)


@pytest.mark.parametrize(
    ("third", "weights"),
    [([0.5, 0.1, 0.6, 0.7], [0, 0, 1]), ([0.2, 0.1, 0.3, 0.15], [0.5, 0, 0.5])],
)
def test_rank_average_takes_in_only_models_that_raise_the_auc(third, weights):
    scores = np.array([[0.2, 0.6, 0.5, 0.9], [1, 0.9, 0, 0], third]).T
    fitted = ensembles.RankAverage().fit(scores, np.array([0, 0, 1, 1]))
    assert fitted.coef_[0].tolist() == weights


def test_rank_average_by_hand():
    scores = np.array([[0.1, 0.5, 0.5, 0.9], [0.2, 0.4, 0.6, 0.8]]).T
    fitted = ensembles.RankAverage().fit(scores, np.array([0, 0, 1, 1]))
    fitted.coef_ = np.array([[0.5, 0.5]])
    # among the first model's scores 0.5 is in the middle (4/8) and 0.1 lowest (1/8)
    found = fitted.predict_proba(np.array([[0.5, 0.6], [0.1, 0.8]]))[:, 1]
    assert found == pytest.approx([(4 / 8 + 5 / 8) / 2, (1 / 8 + 7 / 8) / 2])


def test_rank_average_keeps_the_order_of_parts_beyond_the_validation_scores():
    fitted = ensembles.RankAverage().fit(np.array([[0.4], [0.5]]), np.array([0, 1]))
    ranks = fitted.predict_proba(np.linspace(0, 1, 21)[:, None])[:, 1]
    assert (np.diff(ranks) > 0).all() and ranks.min() >= 0 and ranks.max() <= 1


def test_ensembles_of_cross_fitted_models_are_cross_fitted_over_the_same_folds(monkeypatch):
    split = split_of(folds=5)
    scored = three(split, sides=("train", "val"))
    scored["ll"] = scored_of(split, "ll", 3.0, 9)  # fewer validation images: not joined
    own = build(scored, split)["stacking"]
    assert set(own.weights) == {"svm", "cnn", "fbp"}
    blocks = own.predictions.groupby("fold")
    assert list(blocks.groups) == [0, 1, 2, 3, 4]
    fold = split.set_index("id").fold
    for number, rows in blocks:
        held_out = rows[rows.split == "val"]
        assert (fold[held_out.id] == number).all() and (rows.split == "test").sum() == 300
    joined = ensembles.models_to_join({"svm": scored["svm"], "ll": scored["ll"]})
    assert len(joined["svm"].val) == len(scored["ll"].val)  # one alone is joined with the others


def test_folds_keep_groups_together_if_the_split_keeps_them_apart():
    split = split_of().assign(group=lambda table: table.index // 30)
    scored = {n: dataclasses.replace(own, groups_apart=True) for n, own in three(split).items()}
    built = build(scored, split)
    assert all(own.error > build(three(split), split)[n].error for n, own in built.items())


def test_other_or_hidden_test_labels_change_nothing():
    split = split_of()
    before = build(three(split), split)
    for labels in (pd.NA, 1 - split.label):
        changed = split.assign(label=split.label.mask(split.split == "test", labels))
        scored = {
            name: dataclasses.replace(own, test=own.test.assign(label=pd.NA))
            for name, own in three(split).items()
        }
        for name, own in build(scored, changed).items():
            pd.testing.assert_frame_equal(own.predictions, before[name].predictions)


def test_one_model_references_or_a_tiny_validation_set_give_no_ensemble():
    split = split_of()
    scored = three(split)
    assert ensembles.build({"svm": scored["svm"]}, split) == []
    light = dataclasses.replace(scored["cnn"], model=Model("lr", features="brightness"))
    assert ensembles.build({"svm": scored["svm"], "light": light}, split) == []
    tiny = split_of(n=6)
    assert ensembles.build(three(tiny), tiny) == []
    assert len(ensembles.build(three(split_of(n=12)), split_of(n=12))) == 2


def test_the_table_names_the_weights_the_largest_first():
    split = split_of()
    scored = three(split)
    built = ensembles.build(scored, split)
    table = ensembles.ensemble_table(built, scored)
    assert (
        table.title.tolist() == ["Rank average", "Stacking"] and table.kept.tolist() == ["yes"] * 2
    )
    weights = [float(part.split()[-1]) for part in table.weights[1].split(", ")]
    assert weights == sorted(weights, reverse=True) and len(weights) == 3
    assert ensembles.ensemble_table([], scored).empty


def test_the_members_of_a_model_do_not_matter_only_their_mean():
    split = split_of()
    scored = three(split)
    members = (scored["svm"], scored["cnn"])
    model = Model("svm", members=(Member(0), Member(1)))
    several = scored | {"svm": dataclasses.replace(scored["svm"], model=model, members=members)}
    for one, other in zip(
        ensembles.build(scored, split), ensembles.build(several, split), strict=True
    ):
        pd.testing.assert_frame_equal(one.predictions, other.predictions)
    assert len(common(several)) == 3
