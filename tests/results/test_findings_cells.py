"""Sentences about cells are those of planted models, curves and costs."""

import pandas as pd
import pytest

from helpers.core import metrics
from helpers.models.record import Model
from helpers.results import findings, findings_cells
from helpers.runs.run_models import read_all_predictions
from tests import planted


@pytest.fixture
def run_paths(home):
    return planted.make_run(400)


def read(run_paths, **models):
    """Models by name with their separation; all have the same noise, so pairs are close."""
    for name, separation in models.items():
        base, teacher = name.removesuffix("_distilled"), "fbp" if "_distilled" in name else ""
        model = Model(base, teacher=teacher)
        if base.startswith("random_cell"):
            model = Model("random_cell", teacher=teacher, number=int(base[-1]))
        planted.plant(run_paths, model, separation, 0)
    return read_all_predictions(run_paths)


def test_the_best_network_from_scratch_is_compared_with_fbp(run_paths):
    scored = read(run_paths, fbp=3.0, cnn=0.5, darts_searched=1.5)
    text = findings_cells.against_fine_tuning(scored, ["cnn", "darts_searched"])
    labels, own = scored["darts_searched"].labels_scores()
    found = metrics.auc_difference(labels, own, scored["fbp"].labels_scores()[1])
    assert text.startswith(
        "DARTS searched, by validation the best network trained from scratch, is "
        f"{-100 * found.difference:.1f} points of test AUC behind FBP: "
    )
    assert findings_cells.against_fine_tuning(scored, ["gone"]) == ""
    del scored["fbp"]
    assert findings_cells.against_fine_tuning(scored, ["cnn"]) == ""


def test_the_searched_cell_is_compared_with_each_random_one(run_paths):
    scored = read(run_paths, darts_searched=1.5, random_cell_0=1.5, random_cell_1=0.3)
    text = findings_cells.against_random(scored)
    assert text.startswith("DARTS searched is better than Random cell 1: +0.0 [")
    assert text.endswith("2 random cells are too few to judge the search.")
    del scored["darts_searched"]
    assert findings_cells.against_random(scored) == ""


def test_validation_alone_chooses_the_network_from_scratch(run_paths):
    names, scored = ["cnn", "darts_searched"], read(run_paths, fbp=3.0, cnn=1.4, darts_searched=1.5)
    before = findings_cells.against_fine_tuning(scored, names)
    planted.shuffle_test_labels(run_paths)
    after = findings_cells.against_fine_tuning(read_all_predictions(run_paths), names)
    assert "DARTS searched" in before and "DARTS searched" in after and before != after


def test_a_teacher_is_judged_on_test_alone_because_it_has_seen_the_labels_of_validation(run_paths):
    planted.plant(run_paths, "random_cell_0_distilled", 1.0, 1)  # as good, with other mistakes
    assert findings_cells.distillation(read(run_paths, fbp=2.0, darts_searched=1.0)) == ""
    scored = read(run_paths, darts_searched_distilled=1.6, random_cell_0=1.0)
    text = findings_cells.distillation(scored)
    assert text.startswith("FBP as teacher helps DARTS searched: +") and "of test AUC" in text
    planted.hide_test_labels(run_paths)
    assert findings_cells.distillation(read_all_predictions(run_paths)) == ""


COSTS = pd.DataFrame(
    {
        "model": ["fbp", "cnn", "darts_searched"],
        "ms_single": [9.3, 0.5, 0.75],
        "test_views": [None, 1, 1],
        "trainings": [1, 1, 3],
    }
)


def test_the_fastest_network_within_a_point_of_the_best_is_named_with_what_it_costs(run_paths):
    scored = read(run_paths, fbp=2.0, cnn=0.5, darts_searched=1.99)
    text = findings_cells.cheapest(scored, COSTS)
    assert "within a point" in text and "is DARTS searched: 2.25 instead of 9.3 ms" in text
    assert text.endswith(findings.gain(scored, "darts_searched", "fbp"))


TAUGHT = COSTS[COSTS.model == "darts_searched"].assign(model="darts_searched_distilled")


@pytest.mark.parametrize(
    ("aucs", "costs"),
    [
        ({"darts_searched": 1.0}, COSTS),  # too bad
        ({"darts_searched": 1.99}, COSTS.assign(ms_single=9.3 / COSTS.trainings)),  # as slow
        # its teachers have seen the labels that would recommend it
        ({"darts_searched": 1.0, "darts_searched_distilled": 2.5}, pd.concat([COSTS, TAUGHT])),
    ],
)
def test_a_network_that_is_worse_as_slow_or_distilled_is_not_recommended(run_paths, aucs, costs):
    scored = read(run_paths, fbp=2.0, cnn=0.5, **aucs)
    assert findings_cells.cheapest(scored, costs).startswith("No faster network")
    assert findings_cells.cheapest(scored, costs.head(1)) == ""
