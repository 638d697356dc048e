"""model.json: the thresholds beside the checkpoints that they belong to, and what they promise."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from helpers.core import files
from helpers.deploy.description import NAME, Description, read_description, sealed
from tests.deploy_run import CONTENT


@pytest.fixture
def description():
    return sealed(Description(**CONTENT))


def test_a_part_to_look_at_again_says_why(description):
    judged = pd.DataFrame({"score": [0.39, 0.4, 0.49, 0.51, 0.6]})
    judged["verdict"] = description.verdicts(judged.score)
    low, high = "nearer to pass", "nearer to reject"
    assert description.why(judged).tolist() == ["", low, low, high, ""]
    warned = judged.assign(warning=["dark", "", "dark", None, "dark"])
    assert description.why(warned).tolist() == ["", low, "dark", high, ""]
    alone = dataclasses.replace(description, reject_from=1.0).why(judged)
    assert alone.tolist() == ["", *["no part is rejected"] * 3, ""]


def test_a_verdict_changes_exactly_at_the_thresholds(description):
    scores = [0, np.nextafter(0.4, 0), 0.4, np.nextafter(0.6, 0), 0.6, 1, np.nan]
    expected = ["pass", "pass", "look again", "look again", "reject", "reject", ""]
    assert description.verdicts(scores).tolist() == expected
    two = dataclasses.replace(description, reject_from=0.4)
    assert set(two.verdicts(np.linspace(0, 1, 99))) == {"pass", "reject"}


CHANGES = [{"pass_below": 0.41}, {"promised_escape_rate": 0.001}, {"mask": "0,0,8,8"}]
CHANGES += [{"training_ranges": {}}, {"training_ranges": {"width_px": [0.0, 9.0]}}]


@pytest.mark.parametrize("change", CHANGES)
def test_a_description_that_was_edited_by_hand_promises_nothing(tmp_path, description, change):
    files.save_json(tmp_path / NAME, dataclasses.asdict(description))
    assert "at most 1 %" in read_description(tmp_path).promise
    files.save_json(tmp_path / NAME, dataclasses.asdict(description) | change)
    said = read_description(tmp_path).promise
    assert "no escape rate is promised" in said and "at most" not in said


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"reject_from": "high"}, "reject_from"),
        ({"fit": "cut"}, "fit"),
        ({"training_ranges": {"width_px": [1.0]}}, "training_ranges.width_px"),
        ({"run_this": "x"}, "run_this"),
        ({"pass_below": 0.7}, "pass_below 0.7"),  # above reject_from
        ({"pass_below": float("nan")}, "pass_below"),
    ],
)
def test_a_damaged_description_is_named(tmp_path, change, culprit):
    (tmp_path / NAME).write_text(json.dumps(CONTENT | change))
    with pytest.raises(files.ArtifactError, match=rf"model.json is damaged.*{culprit}"):
        read_description(tmp_path)
