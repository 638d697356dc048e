"""model.json: the thresholds of notebook 06 beside the checkpoints that they belong to."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from helpers.core import environment, files
from helpers.core.members import Member
from helpers.deploy import describe
from helpers.deploy.description import NAME, read_description
from helpers.models import backbones
from helpers.models.record import Model
from helpers.results import calibration, decision, predictions
from helpers.runs import record, stages
from helpers.runs.run_models import read_all_predictions
from tests import deploy_run


@pytest.fixture
def folder(described):
    return described.trainings("net")


def test_it_says_what_the_decision_of_notebook_06_says(described, folder):
    own = read_description(folder)
    scored = read_all_predictions(described)["net"]
    settings = stages.open_stage("06_analysis", {"RUN": "t"}).settings
    chosen = decision.decisions(scored, settings, deploy_run.BAD_RATE)["expected"]
    assert (own.pass_below, own.reject_from) == tuple(chosen.bins)
    assert own.promised_escape_rate == chosen.promised == 1 / 11  # none of ten
    temperature = calibration.temperature_scale(*scored.labels_scores("val"), deploy_run.BAD_RATE)
    assert own.temperature == temperature
    assert own.title == scored.title == "net, 2 seeds averaged"
    assert (own.run, own.rule, own.held_out_bad_parts, own.is_smoke) == ("t", "expected", 10, True)


def test_it_says_how_images_are_read_and_where_the_model_comes_from(described, folder):
    own = read_description(folder)
    facts = backbones.facts_of(folder / "seed0.safetensors")
    assert (own.fit, own.full_scale_bits, own.precision) == (facts.fit, 0, "no")
    assert (own.image_size_px, own.channels, own.views) == (16, 1, 4)
    assert own.split_digest == files.file_digest(described.split_csv)
    assert own.checkpoints == {
        name: files.file_digest(folder / name)
        for name in ("seed0.safetensors", "seed1.safetensors")
    }
    assert own.made_with == {"commit": environment.commit(), **environment.versions()}
    assert own.dataset == "folder:parts"  # without the folders above it
    assert own.weights == ""  # random ones


def test_it_is_an_output_of_the_stage(described, folder):
    outputs = record.load_run(described)["stages"]["06_analysis"]["outputs"]
    assert outputs["checkpoints/net/model.json"] == files.file_digest(folder / NAME)


def test_the_table_of_networks_has_the_rates_of_their_thresholds(described):
    shown = deploy_run.describe().set_index("Call it").loc["t/net"]
    scored = read_all_predictions(described)
    settings = stages.open_stage("06_analysis", {"RUN": "t"}).settings
    points = decision.operating_table(scored, settings, deploy_run.BAD_RATE)
    own = points[(points.model == "net") & (points.rule == "expected")].iloc[0]
    on_test = f"{100 * own.test_escapes / own.test_bad:.1f} % on test"
    assert shown["Escape rate: promised"] == f"9.1 %; {on_test}"
    assert shown["Good parts rejected"] == f"{100 * own.test_overkilled / own.test_good:.1f} %"


def test_a_verdict_changes_exactly_at_the_thresholds(folder):
    own = dataclasses.replace(read_description(folder), pass_below=0.25, reject_from=0.75)
    scores = [0, np.nextafter(0.25, 0), 0.25, np.nextafter(0.75, 0), 0.75, 1, np.nan]
    expected = ["pass", "pass", "look again", "look again", "reject", "reject", ""]
    assert own.verdicts(scores).tolist() == expected
    two = dataclasses.replace(own, reject_from=0.25)
    assert set(two.verdicts(np.linspace(0, 1, 99))) == {"pass", "reject"}


def test_the_promise_says_if_the_bad_parts_were_too_few(folder):
    own = read_description(folder)
    assert "On average at most 9.1 % of the bad parts pass (10 bad parts" in own.promise
    assert "too few for 1 %" in own.promise
    almost = dataclasses.replace(own, promised_escape_rate=1 / 96)
    assert "at most 1.1 % of the bad parts pass" in almost.promise and "for 1 %" in almost.promise
    sure = dataclasses.replace(own, rule="confident")
    assert "With 95 % confidence at most 9.1 %" in sure.promise
    enough = dataclasses.replace(own, promised_escape_rate=0.01)
    assert "at most 1 % of the bad parts pass" in enough.promise and "few" not in enough.promise


def test_a_model_without_epochs_has_no_epoch_that_was_chosen(described):
    own = read_all_predictions(described)["net"]
    assert "they also chose the epoch" in describe._caveat(own)
    assert "epoch" not in describe._caveat(dataclasses.replace(own, model=Model("patchcore")))


def test_a_distilled_network_s_promise_says_that_its_teachers_have_seen_the_held_out_parts(
    described,
):
    own = read_all_predictions(described)["net"]
    taught = dataclasses.replace(own, model=Model("net", teacher="fbp"))
    more = "; it is too good, since the network's teachers have seen the held-out parts."
    assert describe._caveat(taught) == describe._caveat(own)[:-1] + more


def test_a_cross_fitted_model_s_promise_is_called_approximate(described, monkeypatch):
    assert "approximate" not in read_description(described.trainings("net")).caveat
    plain = read_all_predictions
    folds = tuple(Member(0, fold) for fold in range(2))

    def in_folds(run_paths):
        own = plain(run_paths)["net"]
        pairs = zip(own.members, folds, strict=True)
        members = tuple(
            dataclasses.replace(one, model=Model("net", members=(m,))) for one, m in pairs
        )
        return {"net": dataclasses.replace(own, model=Model("net", members=folds), members=members)}

    monkeypatch.setattr(predictions, "read_all_predictions", in_folds)
    deploy_run.describe()
    assert "approximate" in read_description(described.trainings("net")).caveat


def test_a_model_without_one_of_its_checkpoints_has_no_thresholds(folder):
    assert "Remark" not in deploy_run.describe()
    (folder / "seed1.safetensors").unlink()
    assert deploy_run.describe().Remark.tolist() == ["seed1.safetensors is missing"]
    assert read_description(folder) is None  # that of before is removed


def test_a_pretrained_network_names_its_weights(described, folder, monkeypatch):
    with record.edit_run(described) as run:
        run["stages"]["03_finetuning"] |= {"backbone": "a, cnn", "weights": "its package, mine"}
    monkeypatch.setattr(describe, "PretrainedClassifier", backbones.TwoLayerCNN)
    monkeypatch.setattr(describe, "licence_of", "licence of {}, {}".format)
    deploy_run.describe()
    own = read_description(folder)
    assert (own.weights, own.weights_licence) == ("mine", "licence of cnn, mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own: own.pop("pass_below"), "pass_below"),
        (lambda own: own.update(reject_from="high"), "reject_from"),
        (lambda own: own.update(fit="cut"), "fit"),
        (lambda own: own.update(run_this="x"), "run_this"),
    ],
)
def test_a_damaged_description_is_named(folder, change, message):
    content = files.load_json(folder / NAME)
    change(content)
    files.save_json(folder / NAME, content)
    with pytest.raises(files.ArtifactError, match=rf"model.json is damaged \({message}: "):
        read_description(folder)
    (folder / NAME).write_text(json.dumps([content]))
    with pytest.raises(files.ArtifactError, match=r"model\.json is damaged"):
        read_description(folder)


def test_a_promise_on_held_out_groups_says_how_many_the_bad_parts_are_from():
    labels = pd.array([0, 0, 1, 1, 1, 1], dtype="Int64")
    val = pd.DataFrame({"id": list("abcdef"), "label": labels, "defect_score": 0.5})
    val["group"] = ["x", "y", "y", "y", "z", "z"]
    scored = predictions.Scored(Model("net"), val, val)
    apart = dataclasses.replace(scored, groups_apart=True)
    more = " The bad ones are from 2 groups; other groups may differ."
    assert describe._caveat(apart) == describe._caveat(scored) + more
