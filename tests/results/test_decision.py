"""Thresholds and temperatures come from validation, what they do is counted on test."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss

from helpers.core import metrics, tables
from helpers.models.record import Model
from helpers.results import calibration, decision, results_table
from helpers.results.predictions import Scored, scored_of
from helpers.results.settings import DecisionSettings

UNKNOWN = {"escape_cost": 0, "false_alarm_cost": 0, "review_cost": 0}


def scored(name="m", val=None, test=None):
    """Ten good and ten bad parts on validation, other ones on test, scores in tenths."""
    val = val or ([0] * 10 + [1] * 10, [*np.arange(0, 0.5, 0.05), *np.arange(0.3, 0.8, 0.05)])
    test = test or ([0, 0, 0, 1, 1], [0.1, 0.32, 0.6, 0.2, 0.9])
    frames = [
        pd.DataFrame({"id": [str(i) for i in range(len(y))], "label": y, "defect_score": s})
        for y, s in (val, test)
    ]
    frames = [frame.astype({"label": "Int64"}) for frame in frames]
    return Scored(Model(name), *frames)


def test_the_threshold_is_validation_s_and_the_counts_are_test_s_by_hand():
    # validation: of 10 bad parts none may escape at 10 %, so the threshold is just below 0.3
    settings = DecisionSettings(max_escape_rate=0.1, review_share=0.0, **UNKNOWN)
    table = decision.operating_table({"m": scored()}, settings, 0.3)
    row = table.iloc[0]
    assert 0.25 < row.threshold < 0.3 and row.reject_threshold == row.threshold
    assert (row.promised, row.is_kept) == (pytest.approx(1 / 11), True)
    assert (row.val_escapes, row.val_bad, row.val_overkilled, row.val_good) == (0, 10, 4, 10)
    assert (row.test_escapes, row.test_bad) == (1, 2)
    assert (row.test_overkilled, row.test_good) == (2, 3)
    exact = metrics.exact_interval(1, 2)
    assert (row.test_escape_rate_low, row.test_escape_rate_high) == (exact.low, exact.high)
    assert table.rule.tolist() == ["expected", "confident", "most accurate"]
    assert "test_cost" not in table


def test_costs_add_a_cheapest_rule_with_the_expected_cost_per_thousand_parts():
    settings = DecisionSettings(escape_cost=20, false_alarm_cost=2, review_share=0.0)
    table = decision.operating_table({"m": scored()}, settings, 0.25)
    assert table.rule.tolist() == ["expected", "confident", "cheapest", "most accurate"]
    row = table.iloc[2]
    by_hand = 1000 * (0.25 * 20 * row.test_escape_rate + 0.75 * 2 * row.test_overkill_rate)
    assert row.test_cost == pytest.approx(by_hand)
    rows = decision.operating_rows(table.assign(test_cost=1234.56), "m")
    costs = tables.filled(rows[rows.side == "test"], decision.COST)["Cost per 1,000"]
    assert set(costs) == {"1,234.6"}


@pytest.mark.parametrize(
    ("bad_rate", "cheapest", "most_accurate"),
    [(0.25, 0.475, 0.475), (0.4, 0.275, 0.475), (0.6, 0.275, 0.275)],
)
def test_thresholds_weigh_mistakes_by_cost_and_as_on_the_line(bad_rate, cheapest, most_accurate):
    # between the two, each step up spares one good part of 10 and lets one bad part of 10 escape
    settings = DecisionSettings(escape_cost=2, false_alarm_cost=1, review_share=0.0)
    found = decision.decisions(scored(), settings, bad_rate)
    assert found["cheapest"].bins == pytest.approx((cheapest, cheapest))
    assert found["most accurate"].bins == pytest.approx((most_accurate, most_accurate))
    in_the_table = results_table.evaluate(scored(), bad_rate)["threshold"]
    assert found["most accurate"].bins == (in_the_table, in_the_table)


def test_hidden_test_labels_leave_the_test_columns_out():
    own = scored()
    hidden = Scored(Model("m"), own.val, own.test.assign(label=pd.NA))
    table = decision.operating_table({"m": hidden}, DecisionSettings(), 0.3)
    assert "val_escapes" in table and not [c for c in table if c.startswith("test")]
    assert set(decision.operating_rows(table, "m").side) == {"validation"}
    few = decision.operating_table({"m": own}, DecisionSettings(max_escape_rate=0.0), 0.3).iloc[0]
    assert decision.rule_text(few).endswith("(0 % cannot be promised)")


def test_the_page_shows_counts_per_cent_and_interval():
    settings = DecisionSettings(max_escape_rate=0.1, review_share=0.0, **UNKNOWN)
    table = decision.operating_table({"fbp": scored("fbp")}, settings, 0.3)
    rows = tables.filled(decision.operating_rows(table, "fbp"), decision.OPERATING)
    assert len(rows) == 4 and len(table) == 3  # two rules choose the same thresholds
    valid, test = rows[:2].to_dict("records")
    assert (valid["On"], test["On"]) == ("validation", "test")
    assert test["Threshold chosen by"] == (
        "at most 10 % promised on average; "
        "26 % promised at 95 % confidence (10 % needs 29 bad parts)"
    )
    assert test["Escapes of the bad"] == "1 of 2: 50.0 [1.3, 98.7] %"
    assert valid["Overkill of the good"].startswith("4 of 10: 40.0 [")


def test_brier_scores_before_and_after_the_temperature_of_validation():
    rng = np.random.default_rng(0)
    sides = []
    for n in (400, 300):
        logits = rng.normal(0, 2, n)
        labels = (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(int)
        sides.append((labels.tolist(), (1 / (1 + np.exp(-3 * logits))).tolist()))
    own = scored(val=sides[0], test=sides[1])
    table = decision.calibration_table({"m": own}, 0.3)
    row = table.iloc[0]
    expected = calibration.temperature_scale(*sides[0], bad_rate=0.3)
    assert row.temperature == expected
    labels, scores = np.array(sides[1][0]), np.array(sides[1][1])
    assert row.brier == pytest.approx(np.mean((scores - labels) ** 2))
    scaled = calibration.apply_temperature(scores, expected)
    assert row.brier_scaled == pytest.approx(brier_score_loss(labels, scaled))
    assert row.brier_scaled < row.brier


def test_rates_are_by_groups_wherever_they_are_known_though_the_split_is_random():
    # 200 bad parts of 11 modules, none escapes: 0 of 11, not 0 of 200
    labels, scores = np.repeat([0, 1], 200), np.repeat([0.1, 0.9], 200)
    own = scored(val=(labels.tolist(), scores.tolist()), test=(labels.tolist(), scores.tolist()))
    group = [f"module{i % 11}" for i in range(400)]
    by_module = dataclasses.replace(own, test=own.test.assign(group=group))
    assert not by_module.groups_apart
    alone, grouped = (
        decision.operating_table({"m": one}, DecisionSettings(), 0.3).iloc[0]
        for one in (own, by_module)
    )
    assert alone.test_escape_rate_high == metrics.exact_interval(0, 200).high < 0.02
    assert grouped.test_escape_rate_high == pytest.approx(metrics.exact_interval(0, 11).high)


def test_a_rule_for_new_groups_is_added_if_the_split_keeps_groups_apart():
    own = scored()
    group = [f"g{i // 4}" for i in range(20)]  # the bad parts are in three
    own = dataclasses.replace(own, val=own.val.assign(group=group))
    rules = [*decision.decisions(own, DecisionSettings(**UNKNOWN), 0.3)]
    assert rules == [*decision.PROMISES, "most accurate"]
    apart = {"m": dataclasses.replace(own, groups_apart=True)}
    table = decision.operating_table(apart, DecisionSettings(max_escape_rate=0.1), 0.3)
    row = table.set_index("rule").loc["expected by groups"]
    assert (row.promised, row.is_kept) == (0.25, False)
    text = "25 % promised for a new group on average (10 % needs 9 groups)"
    assert decision.rule_text(dict(row, rule=row.name)) == text


def cross_fitted(seed, without_bad=()):
    """Four folds of 200 parts each, a half of them bad; all scores out of fold."""
    rng = np.random.default_rng(seed)
    split = pd.DataFrame({"id": np.arange(800).astype(str), "label": np.arange(800) % 2})
    split = split.assign(fold=np.arange(800) // 200, group=np.arange(800) // 20)
    split.loc[split.fold.isin(without_bad), "label"] = 0
    split["split"] = np.where(split.fold == 0, "val", "train")
    scores = 1 / (1 + np.exp(-rng.normal(size=800) - 2 * split.label))
    rows = split[["id", "fold"]].assign(split="val", defect_score=scores)
    return scored_of(rows, split.astype({"label": "Int64", "fold": "Int64"}), Model("m"))


def test_without_a_test_set_halves_of_each_fold_check_the_promise():
    judged = pd.concat([decision.check_promise(cross_fitted(seed), 0.05, 0) for seed in range(20)])
    assert len(judged) == 20 * 400  # each bad part once
    assert np.isclose(judged.promised, 2 / 51).mean() > 0.5  # by 50 bad parts, or by whole groups
    assert 0.6 < judged.escaped.mean() / judged.promised.mean() < 1.1
    # a fold without a bad part says nothing, and does not stop the others
    judged = decision.check_promise(cross_fitted(0, without_bad=[0]), 0.05, 0)
    assert len(judged) == 300 and (judged.groupby("half").size() == 50).all()
    tiny = dataclasses.replace(scored(), val=scored().val.iloc[[0, 1, 19]])
    assert decision.check_promise(tiny, 0.05, 0).empty


def test_good_parts_alone_choose_the_threshold_and_are_counted_by_hand():
    # of ten good parts with scores to .45 one may be stopped at 20 %: (1 + 1) / (10 + 1)
    own = dataclasses.replace(scored(), val=scored().val.assign(group=["a", "b"] * 10))
    settings = DecisionSettings(max_escape_rate=0.03, max_overkill_rate=0.2)
    (row,) = decision.good_alone(own, settings).to_dict("records")
    assert (row["model"], row["rule"], row["asked"]) == ("m", "expected", 0.03)
    assert 0.4 < row["threshold"] < 0.45 and row["reject_threshold"] == decision.NEVER
    assert row["overkill_promised"] == pytest.approx(2 / 11)
    assert (row["overkill_asked"], row["is_kept"], row["promised"]) == (0.2, True, 1.0)
    assert (row["val_good"], row["val_good_stopped"]) == (10, 1)
    assert (row["val_bad"], row["val_bad_stopped"]) == (10, 7)  # scores of .45 and more
    assert (row["val_good_groups"], row["val_overkill_rate"]) == (0, 0.0)
    apart = dataclasses.replace(own, groups_apart=True)
    assert decision.good_alone(apart, settings).val_good_groups[0] == 2
