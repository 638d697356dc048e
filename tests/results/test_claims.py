"""The report's claims are judged by differences on the images of a run."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from helpers.core.metrics import Interval
from helpers.models.record import Model
from helpers.results import claims
from helpers.runs.record import read_models
from tests import planted


@pytest.fixture
def run(home):
    """Fine-tuned features are no better than pretrained ones, and the published cell is worse."""
    qualities = {"fbp": 3.0, "darts_v2": 1.0, "ll": 1.0, "darts_searched": 2.0}
    qualities |= {Model("random_cell", number=7): 0.5}
    for name in ("lda", "rf", "lr", "svm"):
        qualities |= {name: 1.5, Model(name, features="fbp"): 1.5}
    return planted.run_of(qualities)


def test_reported_differences_are_those_of_the_report_s_table_2():
    reported = [claim.reported for claim in claims.CLAIMS]
    by_hand = [
        97.33 - (58.0 + 54.0 + 55.3 + 57.0 + 60.67) / 5,
        (96.0 + 3 * 95.6) / 4 - (58.0 + 54.0 + 55.3 + 57.0) / 4,
        77.0 - 60.67,
        97.33 - 95.33,
        99.06 - 98.30,
        98.57 - 98.30,
        *[np.nan] * 6,  # said without a number
    ]
    np.testing.assert_allclose(100 * np.array(reported), by_hand)


def test_gains_are_paired_differences_and_judged_beside_the_reported_ones(run):
    scored = read_models(run)
    table = claims.claims_table(scored, {claims.FOCUS: Interval(0.1, 0.05, 0.15)})
    assert table.verdict.tolist() == [
        *("weaker", "not seen", "untested", "holds", "reversed"),
        *("reversed", "holds", "untested", "holds"),
        *["untested"] * 3,  # of maps
    ]
    labels = scored["fbp"].labels_scores("val")[0]
    is_right = {}  # at the best threshold
    for name, model in scored.items():
        scores = model.val.defect_score.to_numpy()
        is_right[name] = max(((scores >= cut) == labels for cut in [*scores, 2]), key=np.mean)
    row, gains = table.iloc[3], is_right["fbp"] * 1.0 - is_right["darts_v2"]
    assert row.gain == pytest.approx(gains.mean())
    error = stats.sem(gains)
    assert row.gain_high - row.gain_low == pytest.approx(2 * 1.97 * error, rel=0.05)
    row, test = table.iloc[4], {name: model.labels_scores("test") for name, model in scored.items()}
    aucs = {name: roc_auc_score(*pair) for name, pair in test.items()}
    assert row.gain == pytest.approx(aucs["darts_v2"] - aucs["fbp"])
    random = table.iloc[6]  # whichever random cell the run has
    assert random.gain == pytest.approx(aucs["darts_searched"] - aucs["random_cell_7"])


@pytest.mark.parametrize(
    ("reported", "gain", "verdict"),
    [
        (0.4, Interval(0.35, 0.3, 0.41), "holds"),
        (0.4, Interval(0.6, 0.5, 0.7), "holds"),  # more than reported
        (0.4, Interval(0.1, 0.05, 0.2), "weaker"),
        (0.4, Interval(0.0, -0.1, 0.1), "not seen"),
        (0.4, Interval(0.0, -0.1, 0.5), "undecided"),
        (0.01, Interval(-0.1, -0.2, -0.05), "reversed"),
        (np.nan, Interval(0.1, 0.05, 0.2), "holds"),
        (np.nan, Interval(0.0, -0.1, 0.1), "not seen"),
        (0.4, Interval(np.nan, np.nan, np.nan), "untested"),
    ],
)
def test_a_verdict_compares_the_interval_with_zero_and_with_the_reported_number(
    reported, gain, verdict
):
    assert claims.verdict(reported, gain) == verdict
