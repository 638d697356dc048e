"""One part from file to verdict, a folder of one's own, and what is said about it."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from helpers.datasets import DataError
from helpers.deploy import predictor, your_part
from helpers.deploy.settings import YourPartSettings
from helpers.training.patchcore import PatchCoreNetwork
from tests.deploy_run import save_described, small_cnns

COSTS = YourPartSettings(escape_cost=50.0, false_alarm_cost=5.0, review_cost=1.0)
FREE = YourPartSettings()


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


@pytest.fixture
def model(tmp_path):
    return predictor.TrainedModel(save_described(tmp_path / "net", small_cnns()))


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
    answered = your_part.ask(model, parts)
    table = your_part.by_group(answered, FREE).set_index("Group")
    table = table.loc[["(none)", "lot1", "lot2", "all parts"]]
    assert table.Parts.tolist() == [1, 2, 2, 5] and table.Unreadable.tolist() == [0, 0, 1, 1]
    counts = table[["Pass", "Look again", "Reject", "Unreadable"]]
    assert counts.sum(axis=1).tolist() == [1, 2, 2, 5]
    with pytest.raises(DataError, match="lot2/cut"):
        your_part.most_suspicious(answered[answered.id == "lot2/cut"])
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        your_part.parts_to_ask(pd.DataFrame(), str(folder / "empty"))


def test_the_most_suspicious_part_is_drawn_between_the_thresholds(model, folder):
    answered = your_part.ask(model, your_part.parts_to_ask(pd.DataFrame(), str(folder)))
    part = your_part.most_suspicious(answered)
    assert part.score == answered.score.max()
    pixels, *_ = model.read(part.path)
    heat = your_part.bad_map(model, pixels)
    assert heat.shape == pixels.shape[:2]
    figure = your_part.journey_figure(model, part, np.zeros((40, 48)), pixels, heat)
    assert part.verdict in figure.get_suptitle() and len(figure.axes) == 4
    bands, (low, high) = figure.axes[3].patches, figure.axes[3].get_xlim()
    assert low < part.score < high and len(bands) == 3
    limits = [low, model.description.pass_below, model.description.reject_from]
    assert [band.get_x() for band in bands] == pytest.approx(limits)


def test_costs_follow_the_probabilities_by_hand():
    table = your_part.by_group(_answered(), COSTS).set_index("Group")
    assert table.loc["a", "Cost"] == pytest.approx(50 * 0.03)
    assert table.loc["b", "Cost"] == pytest.approx(5 * 0.1 + 1 + 50 * 0.07)
    assert table.loc["all parts", "Bad expected among passed"] == pytest.approx(0.1)
    assert "Cost" not in your_part.by_group(_answered(), FREE)
    one = your_part.by_group(_answered(groups=[None] * 5), FREE)
    assert one.Group.tolist() == ["(none)"] and one.Parts.tolist() == [5]


PROBABILITIES = (0.01, 0.02, 0.9, 0.4, np.nan)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (None, "0.03 bad parts are expected"),
        ([0, 1, 1, 0, 1], "1 of 2 bad parts pass, and 0 of 2 good parts"),
        ([0, 1, 0, 0, 1], "1 of 1 bad parts pass, and 1 of 3 good parts"),
        ([pd.NA] * 5, "0.03 bad parts are expected"),
    ],
)
def test_verdicts_are_counted_and_compared_with_known_labels(labels, said):
    answered = _answered("pprl-", probabilities=PROBABILITIES)
    answered = answered.assign(label=labels) if labels else answered
    found = your_part.say_verdicts(your_part.by_group(answered, FREE))
    assert found.startswith("Of 4 parts: 2 pass, 1 look again, 1 reject") and said in found
    assert "1 image(s) cannot be read" in found
    nothing = your_part.by_group(_answered("-----", probabilities=[np.nan] * 5), FREE)
    assert your_part.say_verdicts(nothing) == ""


def test_without_a_folder_parts_come_from_the_largest_groups_of_the_test_set():
    sizes = {f"g{k}": 20 for k in range(9)} | {"x": 60, "y": 30, "z": 25, "w": 22}
    group = [name for name, size in sizes.items() for _ in range(size)]
    ids = [f"{k:03d}" for k in range(len(group))]
    split = pd.DataFrame({"id": ids, "path": ids, "group": group, "split": "test"})
    parts = your_part.parts_to_ask(split, "")
    assert parts.group.unique().tolist() == ["x", "y", "z", "w"]
    assert len(parts) == your_part.FROM_THE_RUN
    alone = your_part.parts_to_ask(split.assign(group=None), "")
    assert len(alone) == your_part.FROM_THE_RUN and alone.group.isna().all()


def test_a_group_is_named_only_if_chance_does_not_explain_it():
    def said(held_of_a, held_of_b):
        verdicts = "r" * held_of_a + "p" * (20 - held_of_a) + "r" * held_of_b
        verdicts += "p" * (20 - held_of_b)
        table = your_part.by_group(_answered(verdicts, "a" * 20 + "b" * 20, [0.5] * 40), FREE)
        assert table.Group[0] == ("a" if held_of_a > held_of_b else "b")  # passes least
        return your_part.say_groups(table)

    assert said(4, 3) == ""
    assert "Group b stands out: 15 of its 20 parts do not pass, 2 of 20" in said(2, 15)
    assert "p = .0" in said(9, 2)
    assert your_part.say_groups(your_part.by_group(_answered(groups="aaaaa"), FREE)) == ""


def test_parts_to_look_at_again_are_drawn_and_nothing_if_there_are_none(model, folder):
    for number in range(12):
        shutil.copy(folder / "c.png", folder / f"more{number}.png")
    answered = your_part.ask(model, your_part.parts_to_ask(pd.DataFrame(), str(folder)))
    answered = answered[answered.reason == ""].assign(label=1)
    assert your_part.look_again_figure(model, answered.assign(verdict="pass")) is None
    figure = your_part.look_again_figure(model, answered.assign(verdict="look again"))
    assert f"of {len(answered)}" in figure.get_suptitle()
    titles = [ax.get_title() for ax in figure.axes[:12]]
    assert all("labelled bad" in title for title in titles)
    filled = [not title.endswith("map empty") for title in titles]
    assert (len(figure.axes) == 13) == any(filled)  # the 13th is the scale


def test_the_map_of_patchcore_starts_at_the_usual_score_of_a_good_part(monkeypatch):
    network = PatchCoreNetwork.__new__(PatchCoreNetwork)
    object.__setattr__(network, "spec", None)
    model = SimpleNamespace(network=network, prepared=lambda images: None)
    heat = torch.tensor([[[0.2, 1.0], [1.5, 3.0]]])
    monkeypatch.setattr(your_part, "anomaly_map", lambda *_: heat)
    assert your_part.bad_map(model, None).tolist() == [[0.0, 0.0], [0.5, 2.0]]
