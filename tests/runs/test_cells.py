"""Cells in a run: the search and its files, halving, and the networks of cells as rows."""

import dataclasses

import pandas as pd
import pytest

from helpers.core import files
from helpers.core.errors import UserError
from helpers.darts import genotypes, named, search
from helpers.darts.settings import RetrainSettings, SearchSettings
from helpers.models import backbones
from helpers.runs import cells
from tests.conftest import split_of
from tests.darts.test_search import TINY
from tests.small_run import open_run

DARTS_V2 = genotypes.PUBLISHED["DARTS_V2"]
SMALL = {"genotypes": ("DARTS_V2", "random"), "halving_cells": 2, "precision": "no"}
SMALL |= {"retrain_channels": 4, "retrain_layers": 3, "retrain_epochs": 1}
SMALL |= {"retrain_image_size_px": 32, "retrain_batch_size": 30}


@pytest.fixture
def run(home, parts_folder):
    return open_run("05_genotype_retraining", RetrainSettings(**SMALL), split_of(parts_folder))


def change(run, **options):
    run.settings = dataclasses.replace(run.settings, **options)


def test_a_search_is_done_once_and_writes_a_cell_that_05_finds(home, parts_folder):
    settings = SearchSettings(**TINY | {"epochs": 1})
    run = open_run("04_darts_search", settings, split_of(parts_folder))
    images, table = run.images(16), search.training_images(run.split)

    def find():
        given = cells.decisive(run.settings)
        found = run.once("checkpoints/supernet/seed0", search.search, images, table, given)
        cells.save_cells(run, found)
        return found

    found = find()
    assert cells.found_cells(run)["searched"][0] == found.genotype
    change(run, time_budget_min=60.0)
    run.notes.clear()
    again = find()
    assert len(run.notes["reused"]) == 2
    assert again.history == found.history and again.genotype == found.genotype


def test_cells_are_compared_once_apart_from_the_results_and_the_winner_has_a_name(run, monkeypatch):
    for module in (genotypes, named):  # with two random ones three cells are compared
        monkeypatch.setattr(module, "PUBLISHED", {"DARTS_V2": DARTS_V2})
    cell, about = genotypes.random_genotype(90), {"method": "a search", "seconds": 100.0}
    files.save_json(run.paths.genotype("searched"), genotypes.described(cell, about))
    change(run, halving_epochs=1)
    trials = cells.halve(run)
    assert trials.model.iloc[:2].tolist() == ["darts_searched", "darts_v2"]
    assert trials.kind.tolist() == ["searched", "published", "random", "random"]
    assert trials.kept.sum() == 1 and trials.val_auc.idxmax() == trials.kept.idxmax()
    places = [f"checkpoints/halving/1_epochs/{name}/seed0" for name in trials.model]
    network = backbones.load_model(run.paths.root / f"{places[0]}.safetensors")
    head = sum(p.numel() for p in network.auxiliary_head.parameters())
    assert trials.parameters[0] == sum(p.numel() for p in network.parameters()) - head
    assert not list(run.paths.predictions_root.glob("*"))
    run.notes.clear()
    pd.testing.assert_frame_equal(cells.halve(run), trials)
    assert run.notes["reused"] == [*places, "genotypes/halving"]
    change(run, genotypes=("halving",))
    (cell,) = cells.named_cells(run)
    assert cell.name == "darts_halving"
    assert cell.search_seconds == pytest.approx(100 + trials.seconds.sum(), abs=0.1)


def test_wrong_names_stop_before_the_first_training(run):
    change(run, halving_epochs=1, genotypes=("halved",))
    with pytest.raises(UserError):
        cells.halve(run)
    assert not run.paths.trainings("halving").exists()
    change(run, halving_epochs=0)
    assert cells.halve(run).empty


def test_each_cell_is_a_row_trained_once_for_each_seed(run):
    change(run, seeds=2)
    trained = cells.train(run, cells.named_cells(run))
    counts = {slug: len(fits) for slug, fits in trained.items()}
    assert counts == {"darts_v2": 2, "random_cell_0": 2}
    scored = run.models()
    assert scored["random_cell_0"].model.title == "Random cell 0"
    assert scored["darts_v2"].model.averaged == "2 seeds"
    change(run, genotypes=("DARTS_V2",), drop_path=0.0, seeds=1)  # the same training
    run.notes.clear()
    cells.train(run, cells.named_cells(run))
    assert run.notes["reused"] == ["checkpoints/darts_v2/seed0"]
    change(run, drop_path=0.3)  # another one
    run.notes.clear()
    again = cells.train(run, cells.named_cells(run))["darts_v2"]
    assert not run.notes["reused"] and again[0].network.drop_path == 0.3


def test_a_file_with_another_cell_of_the_same_name_is_trained_again(run, tmp_path):
    scores = []
    for genotype in (DARTS_V2, genotypes.random_genotype(3)):
        files.save_json(tmp_path / "mine.json", genotypes.described(genotype, {}))
        change(run, genotypes=(str(tmp_path / "mine.json"),))
        scores.append(cells.train(run, cells.named_cells(run))["cell_mine"][0].scores)
    assert (scores[0].defect_score != scores[1].defect_score).any()
