"""What a random split shows, rebuilt from the order inside unseen groups and their bad rates."""

import numpy as np
import pandas as pd
import pytest
from scipy import special

from helpers.datasets.group_prior import group_prior
from helpers.models.record import Model
from helpers.results import order_and_rate
from helpers.results.out_of_fold import OutOfFold


@pytest.fixture
def found():
    """2,000 parts in 40 lots; the model of seen lots adds the lot's rate, and learns no more."""
    rng = np.random.default_rng(0)
    lot, level = np.repeat(np.arange(40), 50), rng.normal(0, 1.5, 40)
    labels = (rng.random(2000) < special.expit(level[lot])).astype(int)
    folds = pd.DataFrame({"id": [f"{i:04d}" for i in range(2000)], "label": labels, "group": lot})
    folds = folds.assign(random=np.arange(2000) % 5, groups=lot % 5)
    own = 1.5 * labels + rng.normal(size=2000)
    drift = rng.normal(size=40)[lot]  # tells nothing
    rate = special.logit(group_prior(folds.assign(fold=folds.random)))
    scores = {"random": own + rate, "groups": own + 3 * drift}
    by = {
        protocol: {"fbp": pd.DataFrame({"seed0": special.expit(values)}).set_index(folds.id)}
        for protocol, values in scores.items()
    }
    return OutOfFold(folds, by, {"fbp": Model("fbp")})


def test_a_model_that_only_adds_the_rate_is_rebuilt_and_gains_nothing_inside_a_group(found):
    row = order_and_rate.decomposition(found).iloc[0]
    assert row.unseen < 0.75 < 0.85 < row.rebuilt
    assert abs(row.unexplained) < 0.01 and row.unexplained_low < 0 < row.unexplained_high
    assert row.inside_gain == pytest.approx(0, abs=0.01)
    assert row.seen_rate > 0.95 and abs(row.unseen_rate) < 0.5


def test_weights_are_fitted_without_the_fold_that_they_score(found):
    labels, folds = found.folds.label.to_numpy(), found.folds.random.to_numpy()
    noise = np.random.default_rng(1).normal(size=2000)
    values = order_and_rate.rebuilt(labels, [noise, labels * 1.0], folds)
    turned = np.where(folds == 0, 1 - labels, labels)  # labels of a fold do not reach its scores
    same = order_and_rate.rebuilt(turned, [noise, labels * 1.0], folds)
    assert (values[folds == 0] == same[folds == 0]).all()
    assert (values[folds == 1] != same[folds == 1]).all()
