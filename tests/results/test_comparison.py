"""Comparisons with the best model, and AUC among parts of one kind."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from helpers.core import metrics
from helpers.models.record import Model
from helpers.results import comparison
from tests.decisions.test_decision import scored

ENDS = ["difference", "difference_low", "difference_high", "p_value", "standard_error"]


def models(hidden=False, n=80):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [50, n - 50])
    signal = labels + rng.normal(size=n)
    raw = {"best": signal, "copy": signal * 0.5, "worse": signal + 2 * rng.normal(size=n)}
    raw["random"] = rng.normal(size=n)
    scores = {k: stats.rankdata(v).round(-1) / (n + 10) for k, v in raw.items()}  # with ties
    given = {k: scored(k, (labels, v), (labels, v)) for k, v in scores.items()}
    if hidden:
        given = {k: replace(own, test=own.test.assign(label=pd.NA)) for k, own in given.items()}
    return labels, scores, given


def test_each_row_is_delong_s_test_of_a_model_against_the_reference():
    labels, scores, given = models()
    table = comparison.compare_with(given, "best").set_index("model")
    assert table.index.tolist() == ["copy", "worse", "random"]
    for name, row in table.iterrows():
        expected = metrics.auc_difference(labels, scores[name], scores["best"])
        assert tuple(row[ENDS]) == expected
    assert tuple(table.loc["copy", ENDS]) == (0, 0, 0, 1, 0)
    assert table.p_holm.tolist() == comparison.holm(table.p_value).tolist()
    assert (table.p_holm > table.p_value).any()
    assert table.columns.tolist() == ["title", *ENDS, "p_holm"]
    given["copy"] = replace(given["copy"], model=Model("module_prior"))  # a reference
    two = comparison.compare_with(given, "best").set_index("model").loc[["worse", "random"]]
    assert two.p_holm.tolist() == comparison.holm(two.p_value).tolist()
    alone = comparison.compare_with({"best": given["best"]}, "best")
    assert alone.empty and "p_holm" in alone


def test_two_recipes_are_compared_by_delong_s_test_on_the_images_that_both_have_held_out():
    labels, scores, given = models(hidden=True)
    other = replace(given["worse"], val=given["worse"].val.iloc[::-1][:60])  # in another order
    found = comparison.paired(given["best"], other)
    assert found == metrics.auc_difference(labels[20:], scores["best"][20:], scores["worse"][20:])
    # a table of all models is about these images too
    table = comparison.compare_with(given | {"worse": other}, "best").set_index("model")
    expected = metrics.auc_difference(labels[20:], scores["random"][20:], scores["best"][20:])
    assert tuple(table.loc["random", ENDS]) == expected
    swapped = other.val.assign(label=1 - other.val.label)
    with pytest.raises(ValueError, match="best and worse were judged by different labels"):
        comparison.paired(given["best"], replace(other, val=swapped))


def test_gains_are_findings_whose_verdicts_are_corrected_together():
    _, _, given = models()
    alone = comparison.gain(given["best"], given["random"])
    difference = comparison.paired(given["best"], given["random"])
    assert (alone.estimate, alone.low, alone.high) == difference[:3]
    assert (alone.what, alone.unit) == ("best minus random, test AUC", "points")
    assert alone.verdict == "ahead"
    assert comparison.gain(given["random"], given["best"]).verdict == "behind"
    pairs = [(given["best"], given[name]) for name in ("random", "copy")]
    assert [one.verdict for one in comparison.gains(pairs)] == ["ahead", "no difference seen"]
    assert comparison.gains([]) == []
    p = comparison.paired(given["best"], given["random"]).p_value
    many = comparison.gains([(given["best"], given["random"])] * int(1 + 0.05 / p))
    assert {one.verdict for one in many} == {f"unsure: one of {len(many)} tests"}


def test_fbp_is_used_unless_another_model_is_ahead_by_more_than_the_standard_error():
    _, _, given = models()
    names = ["best", "worse", "random"]
    given = {name: given[name] for name in names}
    assert comparison.ranked(given) == names  # without FBP by AUC
    for base, expected in (("worse", True), ("random", True), ("best", False)):
        trial = dict(given)
        trial[base] = replace(given[base], model=Model("fbp"))
        order = comparison.ranked(trial)
        test = comparison.paired(given["best"], given[base], "val")
        assert (test.difference > test.standard_error) == expected == (order[0] != base)
    labels, rng = np.repeat([0, 1], 40), np.random.default_rng(1)
    near, fbp = (special.expit(labels + rng.normal(size=80)) for _ in range(2))
    given = {"near": scored("near", (labels, near)), "fbp": scored("fbp", (labels, fbp))}
    test = comparison.paired(given["near"], given["fbp"], "val")
    assert 0 < test.difference < test.standard_error
    assert comparison.ranked(given) == ["fbp", "near"]


def test_holm_by_hand():
    # sorted .01 .02 .03 .04 -> x4 x3 x2 x1 = .04 .06 .06 .04, and never falling: .04 .06 .06 .06
    assert comparison.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert comparison.holm([0.6, 0.7]) == pytest.approx([1, 1])
    assert comparison.holm([]).size == 0
