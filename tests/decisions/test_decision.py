"""Thresholds and temperatures come from validation, what they do is counted on test."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from helpers.core import metrics
from helpers.core.members import Member
from helpers.decisions import decision
from helpers.decisions.settings import DecisionSettings
from helpers.models.record import Model
from helpers.results import results_table
from helpers.results.predictions import Scored

RATES = (0.31, 0.02)
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
    val, test = (row for _, row in table[:2].iterrows())
    assert (val.side, test.side) == ("val", "test")
    for row in (val, test):
        assert 0.25 < row.threshold < 0.3 and row.reject_threshold == row.threshold
        assert (row.promised, row.is_kept) == (pytest.approx(1 / 11), True)
    assert (val.escapes, val.bad, val.overkilled, val.good) == (0, 10, 4, 10)
    assert (test.escapes, test.bad) == (1, 2)
    assert (test.overkilled, test.good) == (2, 3)
    exact = metrics.exact_interval(1, 2)
    assert (test.escape_rate_low, test.escape_rate_high) == (exact.low, exact.high)
    assert table.rule[::2].tolist() == ["expected", "confident", "most accurate"]
    assert "cost" not in table
    hidden = dataclasses.replace(scored(), test=scored().test.assign(label=pd.NA))
    assert {*decision.operating_table({"m": hidden}, settings, 0.3).side} == {"val"}


@pytest.mark.parametrize(
    ("bad_rate", "cheapest", "most_accurate"),
    [(0.25, 0.475, 0.475), (0.4, 0.275, 0.475), (0.6, 0.275, 0.275)],
)
def test_thresholds_weigh_mistakes_by_cost_and_as_on_the_line(bad_rate, cheapest, most_accurate):
    # between the two, each step up spares one good part of 10 and lets one bad part of 10 escape
    settings = DecisionSettings(escape_cost=2, false_alarm_cost=1, review_share=0.0)
    found = decision.decisions(scored(), settings, bad_rate)
    rows = decision.operating_table({"m": scored()}, settings, bad_rate)
    assert rows.rule[::2].tolist() == [*found]
    by_hand = 1000 * (bad_rate * 2 * rows.escape_rate + (1 - bad_rate) * rows.overkill_rate)
    assert rows.cost.tolist() == pytest.approx(by_hand.tolist())
    assert found["cheapest"][0] == pytest.approx((cheapest, cheapest))
    assert found["most accurate"][0] == pytest.approx((most_accurate, most_accurate))
    in_the_table = results_table.evaluate(scored(), bad_rate)["threshold"]
    assert found["most accurate"][0] == (in_the_table, in_the_table)


def test_brier_scores_before_and_after_the_temperature_of_validation():
    rng = np.random.default_rng(0)
    sides = []
    for n in (400, 300):
        logits = rng.normal(0, 2, n)
        labels = (rng.random(n) < special.expit(logits)).astype(int)
        sides.append((labels, special.expit(3 * logits)))
    row = decision.calibration_table({"m": scored("m", *sides)}, 0.3).iloc[0]
    assert row.temperature == decision.temperature_scale(*sides[0], bad_rate=0.3)
    labels, scores = sides[1]
    assert row.brier == pytest.approx(np.mean((scores - labels) ** 2))
    scaled = decision.apply_temperature(scores, row.temperature)
    assert row.brier > row.brier_scaled == pytest.approx(brier_score_loss(labels, scaled))


def test_rates_are_by_groups_wherever_they_are_known_though_the_split_is_random():
    # 200 bad parts of 11 modules, none escapes: 0 of 11, not 0 of 200
    labels, scores = np.repeat([0, 1], 200), np.repeat([0.1, 0.9], 200)
    own = scored(val=(labels, scores), test=(labels, scores))
    modules = own.test.assign(group=[f"module{i % 11}" for i in range(400)])
    by_module = dataclasses.replace(own, test=modules)
    assert not by_module.groups_apart
    alone, grouped = (
        decision.operating_table({"m": one}, DecisionSettings(), 0.3).iloc[1]
        for one in (own, by_module)
    )
    assert alone.escape_rate_high == metrics.exact_interval(0, 200).high < 0.02
    assert grouped.escape_rate_high == pytest.approx(metrics.exact_interval(0, 11).high)


def test_a_broken_promise_is_called_so_and_chance_is_not():
    settings = DecisionSettings(max_escape_rate=0.1)
    labels = [0] * 9 + [1] * 9
    tests = {name: (labels, [0.1] * 9 + [score] * 9) for name, score in (("m", 0.9), ("n", 0.2))}
    models = {name: scored(name, test=test) for name, test in tests.items()}
    points = decision.operating_table(models, settings, 0.3)

    def verdicts(points):
        return decision.broken(points).tolist()

    assert decision.broken(points).to_dict() == {"m": False, "n": True}
    of_m = points[(points.model == "m") & (points.rule == "expected")]

    def case(escapes, low, held_out):
        counts = of_m.bad.where(of_m.side == "test", held_out).where(of_m.side == "val", 100)
        changed = {"promised": 0.01, "escapes": escapes, "escape_rate_low": low, "bad": counts}
        return of_m.assign(**changed)

    assert verdicts(case(4, 0.011, 9999)) == [True]  # a rate that is known: p = .018
    assert verdicts(case(4, 0.011, 99)) == [False]  # k = 0: p = .06
    kept = case(0, 0.0, 9999).assign(model="n")
    both = pd.concat([case(4, 0.011, 9999), kept])
    assert verdicts(both) == [False] * 2  # by chance, among two
    assert verdicts(points[points.side == "val"]) == []


@pytest.mark.parametrize(
    ("bad", "asked", "said"),
    [
        ((10,), 0.01, "10: too few: 9.1 % is promised, 1 % needs 99, 89 more"),
        ((17, 16, 15), 0.06, "17 of 48 in all folds: enough"),
        ((24, 24), 0.01, "too few: 4 % is promised, 1 % needs 99 (198 in all folds), 150 more"),
        (
            (17, 16, 15),
            0.01,
            "needs 99 (280 in all folds), 232 more (150 with CROSS_FIT=2)",
        ),  # 279.5
        ((30, 90, 90), 0.02, "needs 49 (343 in all folds), 133 more (0 with CROSS_FIT=2)"),
    ],
)
def test_the_bad_parts_that_lack_are_counted_in_all_folds_by_hand(bad, asked, said):
    def one(n, *members):
        own = scored(val=([0] * n + [1] * n, [0.1] * n + [0.9] * n))
        return dataclasses.replace(own, model=Model("m", members=members))

    parts = tuple(one(n, Member(0, fold)) for fold, n in enumerate(bad))
    whole = one(sum(bad), *(part.model.members[0] for part in parts))
    whole = dataclasses.replace(whole, members=parts)
    settings = DecisionSettings(max_escape_rate=asked)
    point = decision.operating_table({"m": whole.deployed}, settings, 0.3).iloc[0]
    found = decision.held_out(whole, point)
    assert f"{found.number}: {found.verdict}".endswith(said)


def test_good_parts_alone_choose_the_threshold_and_are_counted_by_hand():
    # of ten good parts with scores to .45 one may be stopped at 20 %: (1 + 1) / (10 + 1)
    own = dataclasses.replace(scored(), val=scored().val.assign(group=["a", "b"] * 10))
    settings = DecisionSettings(max_escape_rate=0.03, max_overkill_rate=0.2)
    (row,) = decision.good_alone(own, settings).to_dict("records")
    assert (row["model"], row["rule"], row["asked"]) == ("m", "expected", 0.03)
    assert 0.4 < row["threshold"] < 0.45 and row["reject_threshold"] == decision.NEVER
    assert row["overkill_promised"] == pytest.approx(2 / 11)
    assert (row["overkill_asked"], row["is_kept"], row["promised"]) == (0.2, True, 1.0)
    assert (row["good"], row["good_stopped"], row["side"]) == (10, 1, "val")
    assert (row["bad"], row["bad_stopped"]) == (10, 7)  # scores of .45 and more
    assert row["overkill_rate"] == 0.0  # nothing is rejected


@pytest.mark.parametrize("bad_rate", [0.5, 0.1])
def test_temperature_is_the_slope_of_a_logistic_regression_on_platt_s_targets(bad_rate):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 60)
    labels = (rng.random(60) < special.expit(logits)).astype(int)
    scores = special.expit(3 * logits)  # three times too sure
    n_bad, n_good = labels.sum(), (1 - labels).sum()
    target = np.where(labels == 1, (n_bad + 1) / (n_bad + 2), 1 / (n_good + 2))
    weight = np.where(labels == 1, bad_rate / labels.mean(), (1 - bad_rate) / (1 - labels.mean()))
    # each part twice: as a bad one with the weight of its target, as a good one with the rest
    slope = LogisticRegression(C=1e12, fit_intercept=False, tol=1e-10).fit(
        np.tile(special.logit(scores), 2)[:, None],
        np.repeat([1, 0], 60),
        sample_weight=np.concatenate([weight * target, weight * (1 - target)]),
    )
    temperature = decision.temperature_scale(labels, scores, bad_rate)
    assert temperature == pytest.approx(1 / slope.coef_[0, 0], rel=1e-5)


def test_a_temperature_divides_the_logit_and_is_finite_for_certain_scores():
    # logit(0.9) = log 9, half of it is log 3.
    assert decision.apply_temperature([0.9, 0.5], 2) == pytest.approx([0.75, 0.5])
    assert (decision.apply_temperature(np.float32([0, 1]), 2) % 1 > 0).all()  # not rounded
    assert 1 < decision.temperature_scale([0, 0, 1, 1], [0.0, 0.1, 0.8, 1.0], 0.5) <= 20


def test_at_the_bad_rate_of_a_line_the_odds_change_by_the_ratio_of_the_odds_of_both_rates():
    like_bad, like_good = 0.1, 0.05  # of such a score
    data, line = (rate * like_bad / (rate * like_bad + (1 - rate) * like_good) for rate in RATES)
    assert decision.at_bad_rate([data], *RATES) == pytest.approx([line])
    for rate in (0.0, 0.3, 1.0):
        same = decision.at_bad_rate([0.0, 0.7, 1.0], rate, rate)
        assert same == pytest.approx([0, 0.7, 1])


def test_lots_are_counted_only_if_that_of_each_bad_part_is_known():
    val = scored().val.assign(group=[f"lot{number // 2}" for number in range(20)])
    known = dataclasses.replace(scored(), val=val, groups_apart=True)
    assert decision.bad_lots(known) == 5
    assert decision.bad_lots(dataclasses.replace(known, groups_apart=False)) == 0
    some = dataclasses.replace(
        known, val=val.assign(group=val.group.mask(val.index == 3))
    )  # a good one
    assert decision.bad_lots(some) == 5
    lost = dataclasses.replace(known, val=val.assign(group=val.group.mask(val.index == 13)))
    assert decision.bad_lots(lost) == 0
    for own, rule in ((known, "next lot"), (lost, "expected")):
        table = decision.operating_table({"m": own}, DecisionSettings(**UNKNOWN), 0.3)
        assert decision.of_lots(table) == rule
