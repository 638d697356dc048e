"""Notebook 07: one part from file to verdict, a folder of one's own, and what is said about it."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import helpers
from helpers.commands import run
from helpers.core import files
from helpers.core.rules import SettingsError
from helpers.datasets import DataError
from helpers.datasets.split_file import read_split
from helpers.deploy import your_part
from helpers.deploy.settings import YourPartSettings
from helpers.results import predictions
from helpers.runs import stages
from helpers.runs.keys import stage_key
from helpers.training.memory_bank import PatchCoreNetwork
from tests import faults

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
def folder(described_run, tmp_path):
    """Two groups of parts, one image of them damaged, one beside them."""
    own, parts = tmp_path / "mine", sorted((described_run / "parts").rglob("*.png"))
    for place, part in (("lot1/a.png", 0), ("lot1/b.png", 1), ("lot2/a.png", 2), ("c.png", 3)):
        (own / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(parts[part], own / place)
    (own / "lot2/cut.png").write_bytes(b"\x89PNG")
    return own


def test_subfolders_are_groups_and_unreadable_images_are_counted(described, folder):
    parts = your_part.parts_to_ask(read_split(described.split_csv), str(folder))
    assert parts.id.tolist() == ["c", "lot1/a", "lot1/b", "lot2/a", "lot2/cut"]
    assert parts.group.fillna("-").tolist() == ["-", "lot1", "lot1", "lot2", "lot2"]
    answered = your_part.ask(helpers.load_model("t/net"), parts)
    table = your_part.by_group(answered, FREE).set_index("Group")
    assert sorted(table.index[:-1]) == ["(none)", "lot1", "lot2"]
    table = table.loc[["(none)", "lot1", "lot2", "all parts"]]
    assert table.Parts.tolist() == [1, 2, 2, 5] and table.Unreadable.tolist() == [0, 0, 1, 1]
    counts = table[["Pass", "Look again", "Reject", "Unreadable"]]
    assert counts.sum(axis=1).tolist() == [1, 2, 2, 5]
    with pytest.raises(DataError, match=r"none of the images can be read, e\.g\. lot2/cut: "):
        your_part.most_suspicious(answered[answered.id == "lot2/cut"])
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        your_part.parts_to_ask(read_split(described.split_csv), str(folder / "empty"))


def test_a_part_is_followed_to_the_run_s_own_score(described):
    model, split = helpers.load_model("t/net"), read_split(described.split_csv)
    answered = your_part.ask(model, your_part.parts_to_ask(split, ""))
    assert set(answered.id) <= set(split.id[split.split == "test"])
    part = your_part.most_suspicious(answered)
    own = predictions.read_predictions(described.predictions("net"), split).test.set_index("id")
    assert part.score == answered.score.max()
    assert part.score == pytest.approx(own.defect_score[part.id], abs=1e-6)
    journey = your_part.follow(model, part)
    assert np.mean(journey.each_score) == pytest.approx(journey.score, abs=1e-6)
    assert len(journey.each_score) == 2 and journey.embedding.shape == (1000,)
    assert journey.heat.shape == journey.pixels.shape[:2]
    steps = your_part.steps(journey, model).set_index("Step")["What comes out"]
    assert (
        steps["file"].endswith(".png, 32 x 32 px")
        and "networks (2) and views (4)" in steps["score"]
    )
    assert steps["verdict"].startswith(f"{part.verdict}: pass below ")
    line = steps["its line in a submission"]
    assert line == f"{part.id},{part.score} (if 06 submits this model)"
    figure = your_part.journey_figure(journey, model)
    assert part.verdict in figure.get_suptitle() and len(figure.axes) == 4
    bands, (low, high) = figure.axes[3].patches, figure.axes[3].get_xlim()
    assert low < part.score < high and len(bands) == 3
    own = model.description
    assert [band.get_x() for band in bands] == pytest.approx([low, own.pass_below, own.reject_from])


def test_a_model_without_a_network_is_replaced_by_one_and_a_run_without_any_says_so(
    described, capsys
):
    split = read_split(described.split_csv)
    shutil.copy(described.predictions("net"), described.predictions("lda"))
    name, model = your_part.open_if_any(described, "lda")
    assert (name, model.description.model) == ("net", "net")
    assert capsys.readouterr().out == "LDA has no network: net takes its place\n"
    assert your_part.open_if_any(described, "net")[0] == "net"
    with pytest.raises(SettingsError, match="MODEL='fpb' is not one of"):
        your_part.open_if_any(described, "fpb")
    described.predictions("net").unlink()
    assert your_part.open_if_any(described) == ("", None)
    assert "no network has been trained" in capsys.readouterr().out and len(split)


def test_costs_follow_the_probabilities_by_hand():
    table = your_part.by_group(_answered(), COSTS).set_index("Group")
    assert table.loc["a", "Cost"] == pytest.approx(50 * 0.03)
    assert table.loc["b", "Cost"] == pytest.approx(5 * 0.1 + 1 + 50 * 0.07)
    assert table.loc["all parts", "Bad expected among passed"] == pytest.approx(0.1)
    assert "Cost" not in your_part.by_group(_answered(), FREE)
    one = your_part.by_group(_answered(groups=[None] * 5), FREE)
    assert one.Group.tolist() == ["(none)"] and one.Parts.tolist() == [5]


def test_sentences_are_computed_from_the_tables():
    answered = _answered("pprl-", probabilities=(0.01, 0.02, 0.9, 0.4, np.nan))
    assert your_part.say_verdicts(your_part.by_group(answered, FREE)) == (
        "Of 4 parts: 2 pass, 1 look again, 1 reject; 0.03 bad parts are expected among those that "
        "pass. 1 image(s) cannot be read."
    )
    labelled = your_part.by_group(answered.assign(label=[0, 1, 1, 0, 1]), FREE)
    said = your_part.say_verdicts(labelled)
    assert (
        "By their labels 2 are bad, and 1 of these pass; 2 are good, and 0 of these are rejected. "
        "1 image(s)" in said
    )
    wrong = your_part.by_group(answered.assign(label=[0, 1, 0, 0, 1]), FREE)
    assert (
        "1 are bad, and 1 of these pass; 3 are good, and 1 of these are rejected."
        in your_part.say_verdicts(wrong)
    )
    hidden = your_part.by_group(answered.assign(label=pd.NA), FREE)
    assert "Bad" not in hidden
    assert your_part.say_costs(answered, FREE) == ""
    assert your_part.say_costs(answered, COSTS) == (
        "If an escape costs 50 and a false alarm 5, the verdicts on the 4 parts are expected to "
        "cost 3.0 by their calibrated probabilities; letting all parts pass would cost 66.5, "
        "rejecting all would cost 13.3, looking at all again would cost 4.0."
    )
    nothing = _answered("-----", probabilities=[np.nan] * 5)
    assert your_part.say_verdicts(your_part.by_group(nothing, FREE)) == ""
    assert your_part.say_costs(nothing, COSTS) == ""


def test_without_a_folder_parts_come_from_groups_spread_over_the_test_set():
    sizes = {f"g{k}": 20 for k in range(9)} | {"g4": 3, "x": 60}
    group = [name for name, size in sizes.items() for _ in range(size)]
    ids = [f"{k:03d}" for k in range(len(group))]
    split = pd.DataFrame({"id": ids, "path": ids, "group": group, "split": "test"})
    parts = your_part.parts_to_ask(split, "")
    assert parts.group.unique().tolist() == ["g0", "g3", "g6", "x"]
    assert len(parts) == your_part.FROM_THE_RUN
    alone = your_part.parts_to_ask(split.assign(group=None), "")
    assert len(alone) == your_part.FROM_THE_RUN and alone.group.isna().all()


def test_the_groups_that_pass_least_come_first_and_many_are_cut_off():
    verdicts, groups = "pppr" * 10, [f"lot{number:02d}" for number in range(20) for _ in "ab"]
    table = your_part.by_group(_answered(verdicts, groups, [0.5] * 40), FREE)
    assert table.Group.tolist()[:3] == ["lot01", "lot03", "lot05"]
    shown, more = your_part.shown_groups(table)
    assert len(shown) == 16 and shown.Group.iloc[-1] == "all parts" and more.startswith("; 5 more")
    assert your_part.shown_groups(table.tail(1))[1] == ""


def test_test_images_come_from_the_largest_groups():
    split = pd.DataFrame({"group": [f"g{n}" for n in range(6) for _ in range(n + 1)]})
    split = split.assign(id=split.index.astype(str), path="x", split="test")
    parts = your_part.parts_to_ask(split, "")
    assert set(parts.group) == {"g2", "g3", "g4", "g5"} and len(parts) == 18


def test_a_group_is_named_only_if_chance_does_not_explain_it():
    def said(held_of_a, held_of_b):
        verdicts = "r" * held_of_a + "p" * (20 - held_of_a) + "r" * held_of_b
        verdicts += "p" * (20 - held_of_b)
        answered = _answered(verdicts, "a" * 20 + "b" * 20, [0.5] * 40)
        return your_part.say_groups(your_part.by_group(answered, FREE))

    assert said(4, 3) == ""
    assert said(2, 15) == (
        "Group b stands out: 15 of its 20 parts do not pass, 2 of 20 of the others (p < .001, "
        "Fisher's exact test, Bonferroni over 2 groups)."
    )
    assert "p = .0" in said(9, 2)
    answered = _answered("r" * 30 + "p" * 10, "a" * 20 + "b" * 20, [0.5] * 40)
    labelled = answered.assign(label=[1] * 10 + [0] * 10 + [1] * 10 + [0] * 10)
    assert your_part.say_groups(your_part.by_group(labelled, FREE)).split(". ")[1] == (
        "Group a stands out: 10 of its 10 good parts are rejected, 0 of 10 of the others (p < "
        ".001, Fisher's exact test, Bonferroni over 2 groups)."
    )
    assert your_part.say_groups(your_part.by_group(_answered(groups="aaaaa"), FREE)) == ""


def test_parts_to_look_at_again_are_drawn_and_nothing_if_there_are_none(described):
    model, split = helpers.load_model("t/net"), read_split(described.split_csv)
    answered = your_part.ask(model, your_part.parts_to_ask(split, ""))
    assert your_part.look_again_figure(model, answered.assign(verdict="pass")) is None
    figure = your_part.look_again_figure(model, answered.assign(verdict="look again"))
    assert figure.get_suptitle().endswith("between the thresholds; the 12 of the highest score")
    assert sum(bool(ax.images) for ax in figure.axes) == 12
    for ax in figure.axes[:12]:
        name, label, score = ax.get_title().split("\n")
        part = answered.set_index("id").loc[name]
        assert label == ("labelled good", "labelled bad")[part.label]
        assert score.startswith(f"score {part.score:.3f}")
    filled = [not ax.get_title().endswith("map empty") for ax in figure.axes[:12]]
    assert (len(figure.axes) == 13) == any(filled)  # the 13th is the scale


def test_the_notebook_answers_for_a_folder_and_is_done_again_if_an_image_changes(
    described, folder, capsys, monkeypatch
):
    with faults.in_this_process(quick=True):
        command = ["--name", "t", "--only", "07", "-p", f"FOLDER={folder}", "-p", "EXPORT="]
        assert run.main([*command, "-p", "ESCAPE_COST=50", "-p", "FALSE_ALARM_COST=5"]) == 0
    record = stages.load_run(described)["stages"]["07_your_part"]
    assert record["status"] == "done" and len(record["findings"]) >= 3
    assert "Of 4 parts: " in record["findings"][0] and "the score" in record["findings"][1]
    table = files.load_csv(described.table("07_parts"), ("id", "score", "verdict"))
    assert table.id.tolist()[:2] == ["c", "lot1/a"] and "path" not in table
    own = YourPartSettings(folder=str(folder))
    before = stage_key("07_your_part", own, stages.load_run(described))
    Image.new("L", (32, 32)).save(folder / "lot1/a.png")
    assert stage_key("07_your_part", own, stages.load_run(described)) != before
    missing = YourPartSettings(folder="/nowhere")
    with pytest.raises(SettingsError, match="FOLDER='/nowhere' is not a folder"):
        stage_key("07_your_part", missing, {})


def test_the_model_is_exported_again_and_gives_the_same_scores(described):
    stage = stages.open_stage("07_your_part", {"RUN": "t"})
    model = helpers.load_model("t/net")
    answered = your_part.ask(model, your_part.parts_to_ask(stage.split, ""))
    (described.root / "export/net_torch").mkdir(parents=True)  # of an earlier call
    (described.root / "export/net_torch/old").touch()
    table, difference = your_part.export(stage, "net", answered)
    names = [f"export/net_torch/{name}" for name in ("example.py", "model.json", "model.pt2")]
    assert table.iloc[:, 0].tolist() == names and difference < 1e-5
    assert [path.name for path in stage.outputs] == ["example.py", "model.json", "model.pt2"]


def test_the_map_of_patchcore_starts_at_the_usual_score_of_a_good_part(monkeypatch):
    network = PatchCoreNetwork.__new__(PatchCoreNetwork)
    object.__setattr__(network, "spec", None)
    model = SimpleNamespace(network=network, prepared=lambda images: None)
    heat = torch.tensor([[[0.2, 1.0], [1.5, 3.0]]])
    monkeypatch.setattr(your_part, "anomaly_map", lambda *_: heat)
    assert your_part.bad_map(model, None).tolist() == [[0.0, 0.0], [0.5, 2.0]]
    assert "above the usual score of good parts" in your_part.map_scale(model)
