"""The networks of a run: found by name, described, shown, and exported."""

import shutil

import pytest

import helpers
from helpers.core import files
from helpers.core.rules import SettingsError
from helpers.decisions import calibration, decision
from helpers.deploy.description import NAME, read_description
from helpers.runs import opened, record
from helpers.runs.scores import read_models
from helpers.runs.start import prepare
from tests import deploy_run


def test_a_model_has_several_names(described, monkeypatch, tmp_path):
    folder = described.trainings("net")
    checkpoints = [folder / "seed0.safetensors", folder / "seed1.safetensors"]
    for name in ("t", "t/net", described.root, folder, str(folder)):
        assert opened.open_model(name).checkpoints == checkpoints
    assert opened.open_model(checkpoints[1]).checkpoints == checkpoints[1:]
    shutil.copytree(folder, tmp_path / "away")
    assert opened.open_model(tmp_path / "away").description == read_description(folder)
    (tmp_path / "here/t").mkdir(parents=True)  # a folder that is called like the run
    monkeypatch.chdir(tmp_path / "here")
    assert opened.open_model("t").checkpoints == checkpoints


def test_of_a_cross_fitted_model_the_trainings_that_have_not_seen_fold_0_are_deployed(described):
    folder = described.trainings("net")
    for seed in (0, 1):
        for fold in (0, 1):
            name = f"seed{seed}_fold{fold}.safetensors"
            shutil.copy(folder / f"seed{seed}.safetensors", folder / name)
    blind = [folder / f"seed{seed}_fold0.safetensors" for seed in (0, 1)]
    with record.edit_run(described) as run:
        members = [{"seed": seed, "fold": fold} for seed in (0, 1) for fold in (0, 1)]
        run["models"]["net"]["model"]["members"] = members
    assert opened.open_model("t/net").checkpoints == blind
    shutil.copy(blind[0], folder / "seed3.weights.safetensors")  # of a network of the user's own
    away = shutil.copytree(folder, folder.parents[2] / "away")  # without the record
    for seed in (0, 1):
        (away / f"seed{seed}.safetensors").unlink()
    assert [path.name for path in opened.checkpoints(away)] == [path.name for path in blind]


def test_a_run_stands_for_its_best_network(described):
    def describe(name, **changed):
        files.save_json(described.trainings(name) / NAME, content | {"model": name} | changed)

    content = files.load_json(described.trainings("net") / NAME)
    for name, auc in (("better", 1.0), ("worse", 0.2)):
        shutil.copytree(described.trainings("net"), described.trainings(name))
        shutil.copy(described.predictions("net"), described.predictions(name))
        describe(name, val_auc=auc)
    describe("net", val_auc=0.9)
    assert opened.open_model("t").description.model == "better"
    describe("net", val_auc=0.9, calibration_fold=0)  # cross-fitted
    assert opened.open_model("t").description.model == "net"
    for path in described.root.rglob(NAME):
        path.unlink()
    with pytest.raises(files.ArtifactError, match="better, net, worse"):
        opened.open_model("t")


@pytest.mark.parametrize(("name", "there"), [("u", "t"), ("t/svm", "net")])
def test_what_is_missing_is_named_with_what_is_there(described, name, there):
    files.write_bytes(described.trainings("supernet") / "seed0.safetensors", b"")
    with pytest.raises(files.ArtifactError, match=f"{name}' is missing.*there are: {there}$"):
        helpers.load_model(name)


def test_networks_are_described_with_the_thresholds_of_notebook_07(described):
    path = described.trainings("net") / NAME
    description, scored = read_description(path.parent), read_models(described)["net"]
    settings = prepare("07_decision", {"RUN": "t"}).settings
    chosen = decision.decisions(scored, settings, deploy_run.BAD_RATE)["expected"]
    assert (description.pass_below, description.reject_from) == tuple(chosen[0])
    assert description.promised_escape_rate == chosen[1] == 1 / 11  # none of ten
    temperature = calibration.temperature_scale(*scored.labels_scores("val"), deploy_run.BAD_RATE)
    assert description.temperature == temperature
    assert (description.run, description.is_smoke) == ("t", True)
    assert description.dataset == "folder:parts"  # without the folders above it
    assert description.split_digest == files.file_digest(described.split_csv)
    outputs = record.load_run(described)["stages"]["07_decision"]["outputs"]
    assert outputs["checkpoints/net/model.json"] == files.file_digest(path)


def test_a_model_without_a_network_is_replaced_by_one(described, capsys):
    shutil.copy(described.predictions("net"), described.predictions("lda"))
    assert opened.network_for(described, "lda")[0] == "net"
    assert "is not a network here: net" in capsys.readouterr().out
    assert opened.network_for(described, "net")[0] == "net"
    assert opened.network_for(described, "", but="net") is None
    with pytest.raises(SettingsError, match="fpb"):
        opened.network_for(described, "fpb")
    described.predictions("net").unlink()
    assert opened.network_for(described) is None
    assert "no network" in capsys.readouterr().out
