"""The networks of a run: found by name, described, shown, and exported."""

import dataclasses
import os
import shutil
import subprocess
import sys

import pytest
from torch import nn

import helpers
from helpers import runs
from helpers.core import files, metrics, paths
from helpers.core.rules import SettingsError
from helpers.darts import genotypes, network, space
from helpers.darts.settings import NetworkSettings
from helpers.datasets.split_file import read_split
from helpers.decisions import decision
from helpers.deploy import measures
from helpers.deploy.description import NAME, read_description
from helpers.models import backbones
from helpers.runs import opened, record
from helpers.runs.record import read_models
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
    monkeypatch.chdir(paths.home())
    completed = folder.relative_to(paths.home()).parent.parent  # as a shell completes it
    assert opened.open_model(completed).checkpoints == checkpoints


def test_a_weights_file_with_a_comma_in_its_name_is_the_origin_of_the_network(
    described, monkeypatch
):
    with record.edit_run(described) as content:
        stage = content["models"]["net"]["stage"]
        content["stages"][stage] |= {"backbone": "resnet18", "weights": "mine, v2.pth"}
    monkeypatch.setattr(opened.description, "backbone_of", lambda _: "resnet18")
    run = runs.open("07_decision", {"RUN": "t"})
    scored = run.models()
    points = decision.operating_table(scored, run.settings, deploy_run.BAD_RATE)
    calibrated = decision.calibration_table(scored, deploy_run.BAD_RATE)
    (about,) = opened.describe_models(run, scored, points, calibrated)
    assert about.weights == "mine, v2.pth"
    run.finish()


def test_threads_that_wait_sleep_unless_the_user_says_otherwise():
    told = "import helpers, os; print(os.environ['OMP_WAIT_POLICY'])"
    for given, expected in (({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")):
        variables = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | given
        command = [sys.executable, "-c", told]
        assert subprocess.check_output(command, env=variables, text=True).strip() == expected


def test_the_search_is_imported_only_for_a_model_that_is_a_cell(tmp_path):
    spec = network.network_spec(genotypes.PUBLISHED["DARTS_V2"], NetworkSettings(4, 3), 32, 1)
    for name, given in (("cnn", backbones.spec_of("cnn", 2, 16)), ("cell", spec)):
        backbones.save_model(tmp_path / name / "seed0.safetensors", backbones.build(given))
    program = "import sys, helpers.commands.predict; from helpers.runs.opened import open_model\n"
    program += "for name in ('cnn', 'cell'):\n    open_model(name)\n"
    program += "    print('helpers.darts.network' in sys.modules, 'papermill' in sys.modules)"
    command = [sys.executable, "-c", program]
    variables = os.environ | {"PYTHONPATH": str(paths.project_root())}
    told = subprocess.check_output(command, cwd=tmp_path, text=True, env=variables)
    assert told.split() == ["False", "False", "True", "False"]


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
    labels = read_split(described.split_csv).set_index("id").label
    table = files.load_csv(described.predictions("net"), ("id", "split", "defect_score"))
    right = table.assign(defect_score=table.id.map(labels).fillna(0).astype(float))
    scores = {"better": right, "worse": right.assign(defect_score=1 - right.defect_score)}
    for name, own in scores.items():
        shutil.copytree(described.trainings("net"), described.trainings(name))
        files.save_csv(described.predictions(name), own.drop_duplicates("id").drop(columns="seed"))
        describe(name)
    assert opened.open_model("t").description.model == "better"
    assert opened.network_for(described)[0] == "better"
    scored = read_models(described)
    few = dataclasses.replace(scored["better"], val=scored["better"].val[1:])  # of one fold
    assert opened.ranked(scored | {"better": few})[-1] == "better"
    for name in ("a_cell", "cnn"):  # of equal ones the first in the results table is the best
        shutil.copytree(described.trainings("better"), described.trainings(name))
        shutil.copy(described.predictions("better"), described.predictions(name))
        describe(name)
    assert opened.network_for(described)[0] == opened.best_described(described.root).name == "cnn"
    for path in described.root.rglob(NAME):
        path.unlink()
    with pytest.raises(files.ArtifactError, match="better, cnn, net, worse"):
        opened.open_model("t")


def test_a_network_that_cannot_be_built_here_is_left_out_and_said(described, capsys, monkeypatch):
    with monkeypatch.context() as patch:  # an operation from a cell of another process
        patch.setitem(space.OPS, "conv_9x9", space.OPS["sep_conv_3x3"])
        edges = [("conv_9x9", number) for _ in range(4) for number in (0, 1)]
        cell = genotypes.Genotype(tuple(edges), tuple(edges))
        odd = backbones.build(network.network_spec(cell, NetworkSettings(4, 3), 32, 1))
        backbones.save_model(described.trainings("cnn") / "seed0.safetensors", odd)
    shutil.copy(described.predictions("net"), described.predictions("cnn"))
    for wanted in ("", "cnn"):
        assert opened.network_for(described, wanted)[0] == "net"
        said = capsys.readouterr().out
        assert "left out: " in said and "cnn/seed0.safetensors" in said and "conv_9x9" in said
    run = runs.open("07_decision", {"RUN": "t"})
    scored = run.models()
    points = decision.operating_table(scored, run.settings, deploy_run.BAD_RATE)
    calibrated = decision.calibration_table(scored, deploy_run.BAD_RATE)
    (about,) = opened.describe_models(run, scored, points, calibrated)
    run.finish()
    assert about.model == "net" and "left out: " in capsys.readouterr().out


def test_a_folder_with_a_network_of_the_user_s_own_says_so(described):
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    file = described.trainings("mine") / "seed0.weights.safetensors"
    backbones.save_model(file, backbones.own_network(module, 4, 1))
    for name in ("t/mine", file):
        with pytest.raises(files.ArtifactError, match=f"mine.*: {backbones.OF_YOUR_OWN}"):
            opened.open_model(name)


def test_a_name_that_opens_nothing_says_why_and_the_nearest_one(described):
    files.write_bytes(described.trainings("supernet") / "seed0.safetensors", b"")
    shutil.copy(described.predictions("net"), described.predictions("svm"))
    names = {"t/svm": "classical models are not saved; name a network; there are: net$"}
    names |= {"t/nett": "did you mean net?", "tt/net": "did you mean t?; there are: t$"}
    names |= {"t": "no trained network"}
    for name, why in names.items():
        if name == "t":
            described.predictions("net").unlink()
        with pytest.raises(files.ArtifactError, match=why.replace("?", "[?]")):
            helpers.load_model(name)


def test_networks_are_described_with_the_thresholds_of_notebook_07(described):
    path = described.trainings("net") / NAME
    description, scored = read_description(path.parent), read_models(described)["net"]
    settings = prepare("07_decision", {"RUN": "t"}).settings
    chosen = decision.decisions(scored, settings, deploy_run.BAD_RATE)["expected"]
    assert (description.pass_below, description.reject_from) == tuple(chosen[0])
    assert description.promised_escape_rate == chosen[1] == 1 / 11  # none of ten
    temperature = decision.temperature_scale(*scored.labels_scores("val"), deploy_run.BAD_RATE)
    assert description.temperature == temperature
    assert (description.run, description.is_smoke, description.weights) == ("t", True, "")
    assert (description.image_size_px, description.channels, description.views) == (16, 1, 4)
    assert description.val_auc == metrics.roc_auc(*scored.labels_scores("val"))
    assert description.checkpoints == {
        file.name: files.file_digest(file) for file in path.parent.glob("*.safetensors")
    }
    assert description.dataset == "folder:parts"  # without the folders above it
    assert description.split_digest == files.file_digest(described.split_csv)
    model, split = helpers.load_model("t"), read_split(described.split_csv)
    measured = [model.read(path)[3] for path in split.path[split.split == "train"]]
    assert description.training_ranges == measures.ranges(measured) != {}
    assert len([*paths.cache_root().glob("*/images.u8")]) == 1  # nothing else was decoded
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
