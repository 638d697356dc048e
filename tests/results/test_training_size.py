"""The AUC against the number of training images, and the gain of each step."""

import numpy as np
import pandas as pd
import pytest

from helpers.core import metrics
from helpers.results import training_size

IDS = [f"{i:03d}" for i in range(200)]
SPLIT = pd.DataFrame({"id": IDS, "label": np.arange(200) % 2, "group": np.arange(200) // 20})


def _scores(images, draw, quality):
    noise = np.random.default_rng(images + draw).normal(size=200)
    frame = pd.DataFrame({"id": IDS, "defect_score": quality * SPLIT.label + noise})
    return frame.assign(share=images / 400, images=images, draw=draw)


SCORES = pd.concat([_scores(100, 0, 0.5), _scores(100, 1, 0.5), _scores(400, 0, 2.0)])


def test_aucs_are_means_over_the_draws_and_gains_those_of_paired_tests():
    table = training_size.size_table(SCORES, SPLIT)
    assert table.images.tolist() == [100, 400] and table.draws.tolist() == [2, 1]
    aucs = [
        metrics.roc_auc(SPLIT.label, own.defect_score)
        for _, own in SCORES.groupby(["images", "draw"])
    ]
    assert table.auc.tolist() == pytest.approx([np.mean(aucs[:2]), aucs[2]])
    assert table.gain[1] == pytest.approx(aucs[2] - np.mean(aucs[:2]))
    assert np.isnan(table.gain[0]) and 0 < table.gain_low[1] < table.gain[1] < table.gain_high[1]


def test_groups_widen_the_intervals_and_no_scores_make_no_rows():
    table = training_size.size_table(SCORES, SPLIT, by_groups=True)
    assert (table.low < table.auc).all()
    assert training_size.size_table(SCORES[:0], SPLIT).empty


def test_the_figure_shows_every_size_once():
    figure = training_size.figure(training_size.size_table(SCORES, SPLIT), "test", "title")
    (ax,) = figure.axes
    assert [t.get_text() for t in ax.get_xticklabels()] == ["100", "400"]
    assert ax.figure.get_suptitle() == "title" and len(ax.texts) == 2
