"""One part from file to verdict, a folder of one's own, and what is said about it."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.datasets import DataError
from helpers.deploy import predictor, your_part
from tests.deploy_run import save_described, small_models


def _answered(verdicts="pprlp", groups="aabbb", probabilities=(0.01, 0.02, 0.9, 0.4, 0.07)):
    words = {"p": "pass", "l": "look again", "r": "reject", "-": ""}
    return pd.DataFrame(
        {
            "id": [f"part{number}" for number in range(len(verdicts))],
            "group": list(groups),
            "score": np.linspace(0.1, 0.9, len(verdicts)),
            "probability": list(probabilities),
            "verdict": [words[verdict] for verdict in verdicts],
            "reason": ["cut" if verdict == "-" else "" for verdict in verdicts],
        }
    )


def _ask(model, folder):
    parts = your_part.parts_to_ask(pd.DataFrame(), str(folder))
    return parts.join(model.predict(parts.path.tolist()).drop(columns="file"))


@pytest.fixture
def model(tmp_path):
    return predictor.TrainedModel(save_described(tmp_path / "net", small_models()))


@pytest.fixture
def folder(tmp_path):
    """Two groups of parts, one image of them damaged, and one image beside them."""
    root, rng = tmp_path / "mine", np.random.default_rng(0)
    for place in ("lot1/a.png", "lot1/b.png", "lot2/a.png", "c.png"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 48), dtype=np.uint8)).save(root / place)
    (root / "lot2/cut.png").write_bytes(b"\x89PNG")
    return root


def test_subfolders_are_groups_and_unreadable_images_are_counted(model, folder):
    parts = your_part.parts_to_ask(pd.DataFrame(), str(folder))
    assert parts.id.tolist() == ["c", "lot1/a", "lot1/b", "lot2/a", "lot2/cut"]
    assert parts.group.fillna("-").tolist() == ["-", "lot1", "lot1", "lot2", "lot2"]
    answered = _ask(model, folder)
    table = your_part.by_group(answered).set_index("Group")
    table = table.loc[["(none)", "lot1", "lot2", "all parts"]]
    assert table.Parts.tolist() == [1, 2, 2, 5] and table.Unreadable.tolist() == [0, 0, 1, 1]
    counts = table[["Pass", "Look again", "Reject", "Unreadable"]]
    assert counts.sum(axis=1).tolist() == [1, 2, 2, 5]
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        your_part.parts_to_ask(pd.DataFrame(), str(folder / "empty"))


def test_a_part_of_each_verdict_is_drawn_between_the_thresholds(model, folder):
    answered = _ask(model, folder)
    parts = answered[answered.reason == ""].head(3).assign(label=1)
    figure = your_part.journey_figure(model, parts)
    axes = {ax.get_label(): ax for ax in figure.axes}
    assert axes["A"].get_title().startswith("c, labelled bad\nA: ")
    heat = model.bad_map(model.read(parts.path.iloc[0])[0])
    assert ("empty" in axes["map of A"].get_title()) == (not heat.max() > 0)
    bands, (low, high) = axes["score"].patches, axes["score"].get_xlim()
    assert low < parts.score.min() and parts.score.max() < high and len(bands) == 3
    limits = [low, model.description.pass_below, model.description.reject_from]
    assert [band.get_x() for band in bands] == pytest.approx(limits)
    verdicts = ["pass", "pass", "look again", "look again", "look again", "reject", "reject"]
    ranked = pd.DataFrame({"score": np.arange(7) / 7, "verdict": verdicts})[::-1]
    assert [*your_part.one_of_each_verdict(ranked).index] == [0, 3, 6]
    assert [*your_part.one_of_each_verdict(ranked.assign(verdict="")).index] == [6]


def test_groups_count_verdicts_expected_bad_parts_and_known_labels():
    table = your_part.by_group(_answered()).set_index("Group")
    assert table.loc["all parts", "Bad expected among passed"] == pytest.approx(0.1)
    assert table.index.tolist() == ["b", "a", "all parts"]
    one = your_part.by_group(_answered(groups=[None] * 5))
    assert one.Group.tolist() == ["(none)"] and one.Parts.tolist() == [5]
