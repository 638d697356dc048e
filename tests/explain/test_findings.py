"""Sentences about maps and embeddings say what planted tables hold."""

import numpy as np
import pandas as pd

from helpers.explain import findings, map_quality


def test_measures_are_better_worse_or_not_told_apart():
    columns = ["measure", "called", "maps", "gain", "low", "high"]
    rows = [
        ("insertion area", "bad", 0.8, 0.1, 0.05, 0.15),
        ("deletion area", "bad", 0.3, -0.1, -0.15, -0.05),
        ("insertion area", "good", 0.9, 0.01, -0.02, 0.04),
        (map_quality.CORRELATION, "good", 0.31, np.nan, np.nan, np.nan),
    ]
    said = findings.maps(pd.DataFrame(rows, columns=columns))
    assert "better than random maps in insertion area (parts called bad)" in said
    assert "worse than random maps in deletion area (parts called bad)" in said
    assert "not shown to differ from random maps in insertion area (parts called good)" in said
    assert map_quality.CORRELATION not in said
    assert findings.maps(pd.DataFrame(rows[3:], columns=columns)) == ""


def test_anomaly_maps_are_compared_with_their_interval():
    row = {"measure": "pointing game", "images": 40, "chance": 0.06}
    row |= {"gradcam": 0.5, "gradcam_low": 0.4, "gradcam_high": 0.6}
    assert "pointing game 50.0 [40.0, 60.0] (chance 6.0)" in findings.localisation(
        pd.DataFrame([row])
    )
    row |= {"patchcore": 0.7, "difference": 0.2, "difference_low": 0.05, "difference_high": 0.35}
    assert "+20.0 [+5.0, +35.0]" in findings.localisation(pd.DataFrame([row]))
    assert findings.localisation(pd.DataFrame()) == ""


def test_neighbours_before_and_after_fine_tuning_have_a_standard_error():
    rows = [("val", "pretrained", 0.75, 0.0, 0.57), ("val", "fine-tuned", 0.9, 0.014, 0.57)]
    columns = ["side", "embedding", "label_agreement", "change_error", "chance_agreement"]
    table = pd.DataFrame(rows, columns=columns)
    assert "+15.0 ± 1.4 points (p < .001)" in findings.embeddings(table)
    assert findings.embeddings(table[:1]) == ""
