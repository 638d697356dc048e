"""Sentences about maps and embeddings say what planted tables hold."""

import numpy as np
import pandas as pd
import torch

from helpers.explain import findings, map_quality


def test_measures_are_better_worse_or_not_told_apart():
    columns = ["measure", "parts", "images", "maps", "gain", "low", "high"]
    rows = [
        ("insertion area", "called bad", 20, 0.8, 0.1, 0.05, 0.15),
        ("deletion area", "called bad", 20, 0.3, -0.1, -0.15, -0.05),
        ("insertion area", "called good", 20, 0.9, 0.01, -0.02, 0.04),
        (map_quality.CORRELATION, "called good", 18, 0.31, np.nan, np.nan, np.nan),
        (map_quality.CORRELATION, "called bad", 20, 0.05, np.nan, np.nan, np.nan),
    ]
    found, rank = findings.maps(pd.DataFrame(rows, columns=columns))
    assert found == (
        "For parts called bad Grad-CAM is better than random maps in insertion area, worse than "
        "random maps in deletion area."
    )
    assert rank == (
        "Maps of random weights have a mean rank correlation of 0.31 (18 parts called good) and "
        "0.05 (20 parts called bad) with the trained ones (near 0: maps depend on what the "
        "network has learned)."
    )
    stays = pd.DataFrame([(*rows[3][:3], 0.9, *rows[3][4:])], columns=columns)
    assert "correlation of 0.90 (18 parts called good) with" in findings.maps(stays)[0]
    assert findings.maps(stays[:0]) == [] == findings.maps(stays.assign(images=0, maps=np.nan))


def _curves(insertion):
    return {0: ({"insertion": insertion}, {"insertion": torch.zeros(1, 11)})}


def test_insertion_says_nothing_where_the_blurred_image_is_already_called_good():
    sure, unsure = torch.full((3, 11), 0.95), torch.full((3, 11), 0.5)
    assert findings.blurred_start(_curves(sure)).endswith(
        "0.95 ± 0.00 (standard error): insertion says nothing about them."
    )
    assert findings.blurred_start(_curves(unsure)).endswith("0.50 ± 0.00 (standard error).")
    assert findings.blurred_start(_curves(sure[:1])) == "" == findings.blurred_start({})


def test_anomaly_maps_are_compared_with_their_interval():
    row = {"measure": "pointing game", "images": 40, "gradcam": 0.5, "patchcore": 0.7}
    row |= {"chance": 0.06, "difference": 0.2, "low": 0.05, "high": 0.35}
    said = findings.localisation(pd.DataFrame([row]))
    assert said == (
        "On 40 bad parts with masks, PatchCore against Grad-CAM: pointing game 0.700 against 0.500 "
        "(chance 0.060, difference +0.200 [+0.050, +0.350])."
    )
    assert findings.localisation(pd.DataFrame([row])[:0]) == ""


def test_neighbours_before_and_after_fine_tuning_have_a_standard_error():
    rows = [("val", "pretrained", 0.75, 0.0, 0.57), ("val", "fine-tuned", 0.9, 0.014, 0.57)]
    columns = ["side", "embedding", "label_agreement", "change_error", "chance_agreement"]
    table = pd.DataFrame(rows, columns=columns)
    assert findings.embeddings(table) == (
        "75.0 % of a validation part's nearest neighbours have its label before fine-tuning, and "
        "90.0 % after it: +15.0 ± 1.4 points (p < .001); by chance it would be 57 %."
    )
    assert findings.embeddings(table[:1]) == ""
