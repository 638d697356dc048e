"""Cells in a run: the search and its files, halving, and the networks of cells as rows."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from helpers.core import files
from helpers.core.errors import UserError
from helpers.darts import genotypes, named, perturbation, search
from helpers.darts.settings import RetrainSettings, SearchSettings
from helpers.models import backbones
from helpers.runs import cells
from tests.conftest import folded_split, split_of
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


def test_a_search_sees_training_images_alone_and_their_groups_if_known(parts_folder):
    split = split_of(parts_folder)
    assert cells.training_images(split).columns.tolist() == ["id", "label"]
    assert {*cells.training_images(split).id} == {*split.id[split.split == "train"]}
    grouped = split.assign(group=split.id.str[-1])  # the split divides them, the halves do not
    assert cells.training_images(grouped).columns.tolist() == ["id", "label", "group"]


def test_a_search_is_done_once_and_writes_two_cells_that_05_finds(home, parts_folder):
    settings = SearchSettings(**TINY | {"epochs": 1}, perturbation_images=2)
    run = open_run("04_darts_search", settings, split_of(parts_folder))
    images, table = run.images(16), cells.training_images(run.split)

    def find():
        given = cells.decisive(run.settings)
        found = run.once("checkpoints/supernet/seed0", search.search, images, table, given)
        count = {"perturbation_images": run.settings.perturbation_images}
        given = cells.decisive(run.settings, **count)
        select = perturbation.select_by_perturbation
        chosen = run.once("metrics/perturbation", select, found.weights, images, table, given)
        cells.save_cells(run, found, chosen)
        return found, chosen

    found, chosen = find()
    about = cells.found_cells(run)
    assert about["searched"][0] == found.genotype
    assert about["searched_perturbation"][0] == chosen.genotype
    spent = found.provenance["seconds"] + chosen.seconds
    assert about["searched_perturbation"][1]["seconds"] == pytest.approx(spent, abs=0.11)
    change(run, time_budget_min=60.0)
    run.notes.clear()
    again = find()[0]
    assert len(run.notes["reused"]) == 4
    assert again.history == found.history and again.genotype == found.genotype
    change(run, perturbation_images=3)  # changes the selection alone
    run.notes.clear()
    assert find()[1].images == 3
    assert "checkpoints/supernet/seed0" in run.notes["reused"]
    assert "metrics/perturbation" not in run.notes["reused"]


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


def test_wrong_names_and_missing_teachers_stop_before_the_first_training(run):
    for options in ({"genotypes": ("halved",)}, {"distill": True}):
        change(run, halving_epochs=1, genotypes=("DARTS_V2",), distill=False)
        change(run, **options)
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


def test_with_teachers_each_cell_is_trained_twice_and_costs_its_search_twice(
    run, parts_folder, monkeypatch
):
    files.save_csv(run.paths.split_csv, folded_split(parts_folder))
    ids = folded_split(parts_folder).id.to_numpy(dtype=str)
    scores = np.zeros((8, len(ids), 2), dtype=np.float32)
    teacher = cells.Teacher(ids, scores, 0.7, 2.0)
    monkeypatch.setattr(cells.networks, "teachers", lambda _: {None: teacher})
    change(run, distill=True, genotypes=("random",))
    wanted = cells.named_cells(run)
    trained = cells.train(run, wanted)
    assert [*trained] == ["random_cell_0", "random_cell_0_distilled"] == [*cells.costs(wanted)]
    assert run.models()["random_cell_0_distilled"].model.teacher == "fbp"
    plain, taught = (fits[0].scores.defect_score for fits in trained.values())
    assert (plain != taught).any()
