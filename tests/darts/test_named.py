"""Cells by name: published, random, found by a run, or in a file."""

import pytest
import torch

from helpers.core import files
from helpers.core.errors import UserError
from helpers.darts import genotypes, network
from helpers.darts.settings import NetworkSettings
from helpers.explain.attribution import grad_cam
from helpers.models import backbones
from helpers.models.record import Model
from helpers.runs import settings

DARTS_V2 = genotypes.PUBLISHED["DARTS_V2"]


def test_published_random_and_own_cells_are_found_by_name(tmp_path):
    cell = genotypes.random_genotype(9)
    own = tmp_path / "My Cell.json"
    files.save_json(own, genotypes.described(cell, {"method": "by hand", "seconds": -1}))
    cells = genotypes.named_cells(("PC_DARTS_IMAGENET", "random", str(own)), tmp_path, 2)
    random = [Model("random_cell", number=0), Model("random_cell", number=1)]
    assert [c.model for c in cells] == [Model("pc_darts_imagenet"), *random, Model("cell_my_cell")]
    assert cells[2].genotype == genotypes.random_genotype(1) and cells[3].genotype == cell
    assert cells[3].search_seconds is None  # unknown, not negative


def test_cells_of_the_run_are_found_with_their_cost_and_missing_ones_are_skipped(tmp_path, capsys):
    about = {"method": "arg max", "seconds": 7.0, "device": "a CPU"}
    files.save_json(tmp_path / "searched.json", genotypes.described(DARTS_V2, about))
    cells = genotypes.named_cells(("searched", "halving", "DARTS_V2"), tmp_path)
    assert [c.model.slug for c in cells] == ["darts_searched", "darts_v2"]
    assert cells[0].search_seconds == 7.0
    assert "halving" in capsys.readouterr().out
    with pytest.raises(genotypes.GenotypeError):
        genotypes.named_cells(("halving",), tmp_path)


@pytest.mark.parametrize(
    ("names", "culprits"),
    [
        (("DRATS_V2",), ("DRATS_V2", "DARTS_V2")),
        (("x/y.json",), ("x/y.json",)),
        ((__file__,), (__file__,)),  # no .json file
        (("damaged.json",), ("damaged.json", "reduce")),
        ((100 * "x" + ".json",), (100 * "x",)),
        ((), ("GENOTYPES",)),
        (("DARTS_V2", "DARTS_V2"), ("darts_v2",)),
    ],
)
def test_a_wrong_name_is_refused_with_the_culprit(tmp_path, monkeypatch, names, culprits):
    monkeypatch.chdir(tmp_path)
    files.save_json(tmp_path / "damaged.json", {"normal": [], "wrong": []})
    with pytest.raises(UserError) as error:
        genotypes.named_cells(names, tmp_path)
    assert all(culprit in str(error.value) for culprit in culprits)


def test_initial_weights_depend_on_the_seed_alone():
    spec = network.network_spec(DARTS_V2, NetworkSettings(4, 3), 32, 1)
    nets = [network.build_network(spec, seed).stem0[0].weight for seed in (0, 0, 1)]
    assert torch.equal(nets[0], nets[1]) and not torch.equal(nets[0], nets[2])


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_a_saved_network_offers_what_features_and_grad_cam_need(tmp_path, layers):
    size = NetworkSettings(4, layers, auxiliary=True)
    spec = network.network_spec(genotypes.random_genotype(4), size, 32, 1)
    backbones.save_model(tmp_path / "m.safetensors", backbones.build(spec))
    model = backbones.load_model(tmp_path / "m.safetensors")
    assert model.spec == spec
    images = torch.randn(2, 1, 32, 32)
    embedding = model.embed(images)
    assert embedding.shape == (2, spec.embedding_size)
    torch.testing.assert_close(model(images), model.classifier(embedding))
    maps = grad_cam(model, images, 1, model.spec.feature_layer)
    assert maps.shape == (2, 32, 32)
    assert model.get_submodule(spec.feature_layer) is model.cells[-1]


def test_a_checkpoint_with_a_damaged_genotype_is_refused(tmp_path):
    spec = network.network_spec(DARTS_V2, NetworkSettings(4, 1), 32, 3)
    model = backbones.build(spec)
    spec.options["genotype"]["normal"][0][0] = "__import__('os')"
    backbones.save_model(tmp_path / "m.safetensors", model)
    with pytest.raises(files.ArtifactError, match="__import__"):
        backbones.load_model(tmp_path / "m.safetensors")


def test_the_preset_paper_is_table_1_to_the_letter():
    given = settings.resolve("05_genotype_retraining", "paper", {})
    t = given.training
    assert (t.optimizer, t.lr, t.momentum, t.weight_decay) == ("sgd", 0.1, 0.9, 3e-5)
    assert (t.batch_size, t.schedule, t.gamma) == (32, "exponential", 0.97)
    assert (t.grad_clip, t.label_smoothing) == (5.0, 0.1)
    assert given.network == NetworkSettings(48, 14, auxiliary=True)


SIZE = NetworkSettings(channels=4, layers=3, auxiliary=True)


def size_of(genotype):
    return network.parameters(genotype, SIZE)


def halved(aucs, epochs, most, count):
    """Halve `count` random cells whose trainings have these AUCs, by number (and epochs).

    Returns the winner's number, the table, and the rungs: epochs and numbers.
    """
    log = []

    def train_rung(cells, epochs):
        numbers = [cell.model.number for cell in cells]
        log.append((epochs, numbers))
        return [(aucs.get((n, epochs), aucs.get(n, 0.5)), 1.5) for n in numbers]

    cells = [genotypes.random_cell(number) for number in range(count)]
    by_kind = {"published": cells[:1], "random": cells[1:]}
    winner, trials = genotypes.halve(by_kind, epochs, train_rung, most)
    assert winner.model.slug == trials[trials.kept].model.iloc[-1]
    assert trials.seconds.eq(1.5).all() and trials.kind.tolist().count("published") <= len(log)
    return winner.model.number, trials, log


def test_the_best_third_continues_with_three_times_the_epochs_until_one_is_left():
    winner, trials, log = halved({i: 0.5 + i / 100 for i in range(16)}, 5, most=45, count=16)
    assert log == [(5, [*range(16)]), (15, [15, 14, 13, 12, 11])] and winner == 15
    kept = [f"random_cell_{number}" for number in (11, 12, 13, 14, 15, 15)]
    assert trials[trials.kept].model.tolist() == kept


def test_a_later_rung_decides_again_and_of_equal_cells_the_first_continues():
    winner, _, log = halved({(1, 6): 0.8, (5, 6): 0.9}, 2, most=9, count=6)
    assert log == [(2, [0, 1, 2, 3, 4, 5]), (6, [0, 1])] and winner == 1


@pytest.mark.parametrize(("most", "counts"), [(18, [9, 3]), (17, [9, 3]), (5, [9])])
def test_a_rung_that_is_longer_than_the_training_that_follows_is_left_out(most, counts):
    winner, _, log = halved({i: 0.5 + i / 20 for i in range(9)}, 2, most, count=9)
    assert [len(numbers) for _, numbers in log] == counts and winner == 8


def test_the_random_cells_are_those_nearest_in_size_to_the_searched_ones():
    everyone = [genotypes.random_cell(seed) for seed in range(genotypes.DRAWS * 2)]
    ordered = sorted(everyone, key=lambda cell: size_of(cell.genotype))
    largest = genotypes.NamedCell(ordered[-1].model, ordered[-1].genotype)
    found = genotypes.candidates([largest], [], 2, size_of)["random"]
    assert {cell.model for cell in found} == {cell.model for cell in ordered[-2:]}
    by_kind = genotypes.candidates([], [], 2, size_of)
    assert [cell.model.number for cell in by_kind["random"]] == [0, 1]
    assert [*by_kind] == ["published", "random"]
    assert len(by_kind["published"]) == len(genotypes.PUBLISHED)
