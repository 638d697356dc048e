"""Successive halving: the best third goes on, done once, and ranks among random cells."""

import dataclasses

import pandas as pd
import pytest

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.darts import genotypes, halving, named, retrain
from helpers.darts.settings import RetrainSettings
from helpers.models import backbones
from helpers.results import results_table
from helpers.runs import stages
from helpers.training.trained import Trained
from tests import planted
from tests.conftest import split_of

TINY = {
    "halving_epochs": 1,
    "halving_cells": 2,
    "retrain_channels": 4,
    "retrain_layers": 3,
    "retrain_image_size_px": 32,
    "retrain_batch_size": 30,
    "precision": "no",
}


def _stage(name, parts_folder, **given):
    own = RetrainSettings(**TINY | given)
    stage = stages.Stage("05_genotype_retraining", RunPaths(name), "quick", own, "key")
    files.save_csv(stage.paths.split_csv, split_of(parts_folder))
    files.save_json(stage.paths.run_json, {"stages": {}})
    return stage


@pytest.fixture
def stage(home, parts_folder):
    """An opened stage with a split of 120 small parts."""
    return _stage("r", parts_folder)


@pytest.fixture
def one_published(monkeypatch):
    """A single published cell, so that with two random ones three cells are compared."""
    one = {"DARTS_V2": genotypes.PUBLISHED["DARTS_V2"]}
    for module in (genotypes, named):
        monkeypatch.setattr(module, "PUBLISHED", one)


def _planted(aucs, log=None):
    """A rung whose trainings have these AUCs, by name or by name and number of epochs."""

    def train_rung(names, epochs):
        if log is not None:
            log.append((epochs, list(names)))
        last = [aucs.get((name, epochs), aucs.get(name)) for name in names]
        curves = [[{"val_auc": 0.99}, {"val_auc": auc}] for auc in last]
        return [Trained(n, 0, c, 0, 1.5, 120) for n, c in zip(names, curves, strict=True)]

    return train_rung


def _checkpoints(stage):
    return sorted(stage.paths.trainings("halving").rglob("*.safetensors"))


# --- the rungs ---------------------------------------------------------------------------------


def test_the_best_third_goes_on_with_three_times_the_epochs_until_one_is_left():
    aucs = {f"r{i:02d}": 0.5 + i / 100 for i in range(16)}
    log = []
    trials = halving.successive_halving(list(aucs), 5, _planted(aucs, log), most=45)
    best = ["r15", "r14", "r13", "r12", "r11"]
    assert log == [(5, list(aucs)), (15, best)]
    assert trials[trials.kept].model.tolist() == ["r11", "r12", "r13", "r14", "r15", "r15"]
    assert trials.val_auc.tolist()[:2] == [0.5, 0.51]  # of the last epoch, not of the best


def test_a_later_rung_decides_anew_and_of_equal_cells_the_first_goes_on():
    aucs = {f"r{i}": 0.7 for i in range(6)} | {("r1", 6): 0.8, ("r5", 6): 0.9}
    log = []
    trials = halving.successive_halving([f"r{i}" for i in range(6)], 2, _planted(aucs, log), most=9)
    assert log == [(2, ["r0", "r1", "r2", "r3", "r4", "r5"]), (6, ["r0", "r1"])]
    assert trials[trials.kept].model.iloc[-1] == "r1"


def test_a_rung_that_is_longer_than_the_training_that_follows_is_left_out():
    log, aucs = [], {f"r{i}": 0.5 + i / 20 for i in range(9)}
    for most, counts in ((18, [9, 3]), (17, [9, 3]), (5, [9])):
        trials = halving.successive_halving(list(aucs), 2, _planted(aucs, log), most=most)
        assert [len(names) for _, names in log] == counts
        assert trials[trials.kept].model.iloc[-1] == "r8"
        log.clear()


# --- candidates ---------------------------------------------------------------------------------


def test_the_random_cells_are_those_nearest_in_size_to_the_searched_ones(stage):
    everyone = [named.random_cell(seed) for seed in range(halving.DRAWS * 2)]
    cache = stage.images(stage.settings.retrain_image_size_px)
    sizes = {c.name: halving.parameters(stage.settings, c, cache) for c in everyone}
    largest = max(everyone, key=lambda cell: sizes[cell.name])
    genotypes.save(stage.paths.genotype("searched"), largest.genotype, {})
    found = [cell.name for cell in halving.candidates(stage)["random"]]
    ordered = sorted(sizes, key=sizes.__getitem__)
    assert sorted(found) == sorted(ordered[-2:])
    stage.paths.genotype("searched").unlink()
    assert [c.name for c in halving.candidates(stage)["random"]] == [
        "random_cell_0",
        "random_cell_1",
    ]


# --- real trainings ----------------------------------------------------------------------------


def test_cells_are_compared_once_apart_from_the_results_and_the_winner_has_a_name(
    stage, one_published
):
    planted.plant(stage.paths, "fbp", 1.0, 0)
    trials = halving.run_halving(stage)
    assert trials.model.tolist() == ["darts_imagenet", "random_cell_0", "random_cell_1"]
    assert trials.kind.tolist() == ["published", "random", "random"]
    assert trials.kept.sum() == 1 and trials.val_auc.idxmax() == trials.kept.idxmax()
    networks = [backbones.load_model(path) for path in _checkpoints(stage)]
    heads = [sum(p.numel() for p in one.auxiliary_head.parameters()) for one in networks]
    wholes = [sum(p.numel() for p in one.parameters()) for one in networks]
    assert trials.parameters.tolist() == [w - h for w, h in zip(wholes, heads, strict=True)]
    assert "reused" not in stage.notes
    assert results_table.results_table(stage.paths).model.tolist() == ["fbp", "majority"]
    pd.testing.assert_frame_equal(halving.run_halving(stage), trials)
    done = [f"halving/1_epochs/{name}, seed 0" for name in trials.model]
    assert stage.notes["reused"] == [*done, "halving"]
    winner = trials[trials.kept].model.iloc[0]
    cells = {cell.name: cell for own in halving.candidates(stage).values() for cell in own}
    stage.settings = dataclasses.replace(stage.settings, genotypes=("halving",))
    (cell,) = retrain.cells_of(stage)
    assert cell.name == "darts_halving" and cell.genotype == cells[winner].genotype
    assert cell.cost["search_seconds"] == pytest.approx(trials.seconds.sum(), abs=0.1)
    assert cell.cost["search_device"].startswith("CPU")
    about = {"method": "a search", "seconds": 100.0}
    genotypes.save(stage.paths.genotype("searched"), genotypes.random_genotype(90), about)
    trials = halving.run_halving(stage)
    (cell,) = retrain.cells_of(stage)
    assert cell.cost["search_seconds"] == pytest.approx(100 + trials.seconds.sum(), abs=0.1)


def test_stopped_in_the_middle_it_goes_on_to_the_same_bits(
    home, parts_folder, one_published, monkeypatch
):
    def scores(stage):
        folder = stage.paths.trainings("halving")
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.csv")}

    whole, halves = (_stage(name, parts_folder, halving_epochs=2) for name in ("whole", "halves"))
    halving.run_halving(whole)
    steps = iter(range(100))

    def stop(self, images, targets):
        if next(steps) == 6:  # 4 steps a training: in the second epoch of the second cell
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(retrain.DropPathSchedule, "before_step", stop)
        halving.run_halving(halves)
    assert len(list(halves.paths.trainings("halving").rglob("*.resume"))) == 1
    assert len(scores(halves)) == 1
    halving.run_halving(halves)
    assert scores(halves) == scores(whole) and len(scores(whole)) == 3
    assert halves.notes["reused"] == ["halving/2_epochs/darts_imagenet, seed 0"]
    assert not list(halves.paths.trainings("halving").rglob("*.resume"))


def test_all_searched_published_and_named_cells_are_candidates(stage):
    for seed, name in enumerate(("searched", "searched_perturbation", "other", "stray")):
        cell = genotypes.random_genotype(90 + seed)
        genotypes.save(stage.paths.genotype(name), cell, {"method": name})
    named = (str(stage.paths.genotype("other")), "DARTS_V2")
    stage.settings = dataclasses.replace(stage.settings, genotypes=named)
    found = {k: [cell.name for cell in own] for k, own in halving.candidates(stage).items()}
    assert found["searched"] == ["darts_searched", "darts_perturbation"]
    assert found["file"] == ["cell_other"]
    assert len(found["published"]) == len(genotypes.PUBLISHED)
    assert len(found["random"]) == 2


def test_a_wrong_name_or_file_in_genotypes_stops_before_the_first_training(stage, tmp_path):
    (tmp_path / "empty.json").write_text("{}")
    for name, message in (("halved", "mean halving"), (str(tmp_path / "empty.json"), "expected")):
        stage.settings = dataclasses.replace(stage.settings, genotypes=(name,))
        with pytest.raises(genotypes.GenotypeError, match=message):
            halving.run_halving(stage)
    assert not stage.paths.trainings("halving").exists()


def test_a_missing_teacher_stops_before_the_first_training(stage):
    stage.settings = dataclasses.replace(stage.settings, distill=True)
    with pytest.raises(stages.StageError, match="run 01 with CROSS_FIT=5"):
        halving.run_halving(stage)
    assert not stage.paths.trainings("halving").exists()


def test_it_is_off_unless_asked_for(stage):
    stage.settings = dataclasses.replace(stage.settings, halving_epochs=0)
    assert halving.run_halving(stage).empty
    assert not stage.paths.trainings("halving").exists()
