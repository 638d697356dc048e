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


def test_a_search_says_its_length_and_the_auc_of_its_supernet():
    about = {"method": "DARTS, first order", "epochs": 3, "seconds": 61.4}
    text = findings_cells.search_summary(about | {"device": "a CPU", "alpha_half_auc": 0.7314})
    assert "3 epochs in 61 s" in text and "73.1" in text


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
    before = findings_cells.against_fine_tuning(
        read(run_paths, fbp=3.0, cnn=1.4, darts_searched=1.5), ["cnn", "darts_searched"]
    )
    planted.shuffle_test_labels(run_paths)
    after = findings_cells.against_fine_tuning(
        read_all_predictions(run_paths), ["cnn", "darts_searched"]
    )
    assert "DARTS searched" in before and "DARTS searched" in after and before != after
    planted.hide_test_labels(run_paths)
    hidden = findings_cells.against_fine_tuning(read_all_predictions(run_paths), ["cnn"])
    assert "validation AUC" in hidden


def test_a_teacher_gains_where_the_difference_is_more_than_chance(run_paths):
    planted.plant(run_paths, "random_cell_0_distilled", 1.0, 1)  # as good, with other mistakes
    scored = read(run_paths, darts_searched=1.0, darts_searched_distilled=1.6, random_cell_0=1.0)
    text = findings_cells.distillation(scored)
    assert text.startswith("FBP as teacher helps DARTS searched: +")


def test_validation_does_not_judge_a_teacher_who_has_seen_its_labels(run_paths):
    scored = read(run_paths, darts_searched=1.0, darts_searched_distilled=1.6)
    assert "points of test AUC" in findings_cells.distillation(scored)
    planted.hide_test_labels(run_paths)
    assert findings_cells.distillation(read_all_predictions(run_paths)) == ""


def test_without_a_teacher_nothing_is_said_about_one(run_paths):
    assert findings_cells.distillation(read(run_paths, fbp=2.0, darts_searched=1.0)) == ""


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


def test_a_distilled_network_is_not_recommended_by_the_labels_that_its_teachers_have_seen(
    run_paths,
):
    scored = read(run_paths, fbp=2.0, cnn=0.5, darts_searched=1.0, darts_searched_distilled=2.5)
    taught = COSTS[COSTS.model == "darts_searched"].assign(model="darts_searched_distilled")
    text = findings_cells.cheapest(scored, pd.concat([COSTS, taught]))
    assert text.startswith("No faster network")


def test_a_fast_network_that_is_too_bad_is_not_recommended(run_paths):
    text = findings_cells.cheapest(read(run_paths, fbp=3.0, cnn=0.5, darts_searched=1.0), COSTS)
    assert text.startswith("No faster network")
    assert findings_cells.cheapest(read_all_predictions(run_paths), COSTS.head(1)) == ""


def test_a_network_of_the_same_speed_is_not_called_faster(run_paths):
    scored = read(run_paths, fbp=2.0, cnn=0.5, darts_searched=1.99)
    equal = COSTS.assign(ms_single=COSTS.ms_single.max() / COSTS.trainings)
    assert findings_cells.cheapest(scored, equal).startswith("No faster network")
