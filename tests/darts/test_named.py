"""Cells by name: published, random, found by a run, or in a file."""

import pytest
import torch

from helpers.core import files
from helpers.darts import genotypes, named, network
from helpers.darts.settings import NetworkSettings
from helpers.explain import gradcam
from helpers.models import backbones
from helpers.models.record import Model
from helpers.runs import settings

DARTS_V2 = genotypes.PUBLISHED["DARTS_V2"]


def test_published_random_and_own_cells_are_found_by_name(tmp_path):
    cell = genotypes.random_genotype(9)
    files.save_json(
        tmp_path / "My Cell.json", genotypes.described(cell, {"method": "by hand", "seconds": -1})
    )
    names = ("PC_DARTS_IMAGENET", "random", str(tmp_path / "My Cell.json"))
    cells = named.named_cells(names, {}, 2)
    random = [Model("random_cell", number=0), Model("random_cell", number=1)]
    assert [c.model for c in cells] == [
        Model("pc_darts_imagenet"),
        *random,
        Model("cell_my_cell"),
    ]
    assert cells[2].genotype == genotypes.random_genotype(1) and cells[3].genotype == cell
    assert cells[3].search_seconds is None  # unknown, not negative


def test_cells_of_the_run_are_found_with_their_cost_and_missing_ones_are_skipped(capsys):
    found = {"searched": (DARTS_V2, {"method": "arg max", "seconds": 7.0, "device": "a CPU"})}
    names = ("searched", "searched_perturbation", "DARTS_V2")
    cells = named.named_cells(names, found, 0)
    assert [c.name for c in cells] == ["darts_searched", "darts_v2"]
    assert cells[0].search_seconds == 7.0
    assert "searched_perturbation" in capsys.readouterr().out
    with pytest.raises(genotypes.GenotypeError):
        named.named_cells(("halving",), found, 0)


@pytest.mark.parametrize(
    ("names", "culprits"),
    [
        (("DRATS_V2",), ("DRATS_V2", "DARTS_V2?")),
        (("searched_pertubation",), ("searched_perturbation?",)),
        (("x/y.json",), ("x/y.json",)),
        ((__file__,), (__file__,)),  # no .json file
        (("damaged.json",), ("damaged.json", "reduce")),
        ((100 * "x" + ".json",), (100 * "x",)),
        ((), ("GENOTYPES",)),
        (("random",), ("RANDOM_CELLS=0",)),
        (("DARTS_V2", "DARTS_V2"), ("darts_v2",)),
    ],
)
def test_a_wrong_name_is_refused_with_the_culprit_and_the_nearest_name(
    tmp_path, monkeypatch, names, culprits
):
    monkeypatch.chdir(tmp_path)
    files.save_json(tmp_path / "damaged.json", {"normal": [], "wrong": []})
    with pytest.raises(genotypes.GenotypeError) as error:
        named.named_cells(names, {}, 0)
    assert all(culprit in str(error.value) for culprit in culprits)


def test_initial_weights_depend_on_the_seed_alone():
    spec = network.network_spec(DARTS_V2, NetworkSettings(4, 3), 32, 1)
    nets = [network.build_network(spec, seed).stem0[0].weight for seed in (0, 0, 1)]
    assert torch.equal(nets[0], nets[1]) and not torch.equal(nets[0], nets[2])


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_a_saved_network_offers_what_features_and_grad_cam_need(tmp_path, layers):
    size = NetworkSettings(4, layers, auxiliary=True, drop_path=0.3)
    spec = network.network_spec(genotypes.random_genotype(4), size, 32, 1)
    backbones.save_model(tmp_path / "m.safetensors", backbones.build(spec))
    model = backbones.load_model(tmp_path / "m.safetensors")
    assert model.spec == spec and model.drop_path == 0.3
    images = torch.randn(2, 1, 32, 32)
    embedding = model.embed(images)
    assert embedding.shape == (2, spec.embedding_size)
    torch.testing.assert_close(model(images), model.classifier(embedding))
    maps = gradcam.grad_cam(model, images, 1, model.spec.feature_layer)
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
    table_1 = settings.resolve("05_genotype_retraining", "paper", {})
    training = table_1.training
    assert training.batch_size == 32
    assert (training.optimizer, training.lr, training.momentum) == ("sgd", 0.1, 0.9)
    assert training.weight_decay == 3e-5
    assert (table_1.retrain_channels, table_1.retrain_layers) == (48, 14)
    assert (training.grad_clip, training.label_smoothing) == (5.0, 0.1)
    assert (training.schedule, training.gamma) == ("exponential", 0.97)
    assert table_1.auxiliary and table_1.drop_path == 0.0
