"""Networks of genotypes from scratch: done once, resumed exactly, several seeds, the cost."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from helpers.core import files, tensors
from helpers.core.members import Member
from helpers.core.paths import RunPaths
from helpers.darts import genotypes, named, network, retrain
from helpers.darts.settings import RetrainSettings
from helpers.explain import gradcam
from helpers.models import backbones, complexity
from helpers.results import predictions, results_table
from helpers.runs import settings, stages
from helpers.runs.run_models import read_all_predictions
from helpers.training import features, network_costs, trained
from helpers.training.inference import predict
from helpers.training.settings import TrainSettings
from tests import planted
from tests.conftest import split_of
from tests.training.test_cross_fitting import folded_split

DARTS_V2 = genotypes.PUBLISHED["DARTS_V2"]
TINY = {
    "genotypes": ("DARTS_V2", "random"),
    "retrain_channels": 4,
    "retrain_layers": 3,
    "retrain_epochs": 3,
    "retrain_image_size_px": 32,
    "retrain_batch_size": 16,
    "retrain_lr": 0.05,
    "drop_path": 0.3,
    "ema_decay": 0.5,
    "precision": "no",
}


def summary_of(stage, table):
    costs = {cell.name: cell.cost for cell in retrain.cells_of(stage)}
    return network_costs.summary(stage, table, costs)


@pytest.fixture(autouse=True)
def timed(monkeypatch):
    """The size of each batch that would be timed; an image takes a quarter of it."""
    sizes = []
    monkeypatch.setattr(
        network_costs, "milliseconds_per_image", lambda _, n, precision: sizes.append(n) or n / 4
    )
    return sizes


@pytest.fixture
def stage(home, parts_folder):
    """An opened stage with a split of 120 small parts."""
    own = RetrainSettings(**TINY)
    stage = stages.Stage("05_genotype_retraining", RunPaths("r"), "quick", own, "key")
    files.save_csv(stage.paths.split_csv, split_of(parts_folder))
    files.save_json(stage.paths.run_json, {"stages": {}})
    return stage


def _train(stage, name="darts_imagenet", genotype=DARTS_V2):
    (found,) = retrain.train_cells(stage, [named.NamedCell(name, genotype)])
    return found


def _resume_files(stage, name):
    return list(stage.paths.trainings(name).glob("*.resume"))


def _scores(stage, name):
    return stage.paths.predictions(name).read_bytes()


# --- training ----------------------------------------------------------------------------------


def test_a_network_finds_the_bright_spot_and_is_trained_once(stage):
    stage.settings = dataclasses.replace(stage.settings, drop_path=0.0, retrain_epochs=6)
    first = _train(stage)
    assert first.history[first.best_epoch]["val_auc"] > 0.9
    assert _train(stage) == first
    assert stage.notes["reused"] == ["darts_imagenet, seed 0", "darts_imagenet"]
    assert not _resume_files(stage, "darts_imagenet")


def test_another_cell_or_drop_path_of_the_same_name_is_trained_again(stage):
    stage.settings = dataclasses.replace(stage.settings, retrain_epochs=1)
    _train(stage, "own")
    first = _scores(stage, "own")
    other = genotypes.random_genotype(3)
    _train(stage, "own", other)
    assert _scores(stage, "own") != first and "reused" not in stage.notes
    stage.settings = dataclasses.replace(stage.settings, drop_path=0.0)
    _train(stage, "own", other)
    assert "reused" not in stage.notes


def test_the_schedule_reaches_the_network_in_training(stage, monkeypatch):
    seen = []
    monkeypatch.setattr(
        retrain.DropPathSchedule,
        "before_step",
        lambda self, *_: seen.append(self.network.cells[0].drop_paths[0].p),
    )
    _train(stage)
    assert seen == pytest.approx([0.0] * 4 + [0.1] * 4 + [0.2] * 4)


def test_the_auxiliary_head_is_trained_and_left_out_of_the_parameters(stage):
    trained = _train(stage)
    before = retrain.make_network(stage.settings, DARTS_V2, stage.images(32), 0).auxiliary_head
    after = backbones.load_model(stage.paths.checkpoint("darts_imagenet")).auxiliary_head
    assert not torch.equal(before.classifier.weight, after.classifier.weight)
    width = 4 * 4 * 4  # four nodes; four channels, doubled by two reductions
    head = sum(p.numel() for p in network.AuxiliaryHead(width, 2).parameters())
    cost = network_costs.network_cost(stage, "darts_imagenet")
    assert trained.parameters - cost["parameters"] == head
    stage.settings = dataclasses.replace(stage.settings, auxiliary=False)
    other = _train(stage, "without")
    assert other.parameters == cost["parameters"]
    assert network_costs.network_cost(stage, "without")["parameters"] == cost["parameters"]
    assert other.history[0]["train_loss"] < trained.history[0]["train_loss"]  # one term less


def test_initial_weights_depend_on_the_seed_alone(stage):
    torch.rand(3)
    first = retrain.make_network(stage.settings, DARTS_V2, stage.images(32), 0)
    torch.rand(3)
    again = retrain.make_network(stage.settings, DARTS_V2, stage.images(32), 0)
    other = retrain.make_network(stage.settings, DARTS_V2, stage.images(32), 1)
    assert torch.equal(first.stem0[0].weight, again.stem0[0].weight)
    assert not torch.equal(first.stem0[0].weight, other.stem0[0].weight)


# --- distillation ------------------------------------------------------------------------------


@pytest.fixture
def distilling(stage, parts_folder):
    """The stage with teachers, on a split with folds."""
    files.save_csv(stage.paths.split_csv, folded_split(parts_folder))
    planted.plant_teachers(stage, 0)
    own = {"distill": True, "genotypes": ("DARTS_V2",), "retrain_epochs": 2, "seeds": 2}
    stage.settings = dataclasses.replace(stage.settings, **own)
    return stage


def _train_cells(stage):
    return retrain.train_cells(stage, retrain.cells_of(stage))


def test_each_cell_has_a_row_without_and_a_row_with_a_teacher(distilling, timed):
    distilling.settings = dataclasses.replace(distilling.settings, retrain_epochs=1)
    models = _train_cells(distilling)
    plain, distilled = "darts_imagenet", "darts_imagenet_distilled"
    assert [(model.model, model.seed) for model in models] == [
        (name, seed) for name in (plain, distilled) for seed in (0, 1)
    ]
    table = results_table.results_table(distilling.paths)
    summary = summary_of(distilling, table).set_index("model")
    assert [plain, distilled] == [name for name in summary.index if name.startswith("darts")]
    words = network_costs.cost_table(summary.reset_index()).Model.tolist()
    assert {"DARTS ImageNet", "DARTS ImageNet, distilled"} <= set(words)
    same = ["parameters", "macs", "epochs", "network", "cell"]
    assert summary.loc[plain, same].tolist() == summary.loc[distilled, same].tolist()
    assert timed == [1, 32]  # both rows have the same network
    # the row without a teacher is what it is when nothing is distilled
    before = _scores(distilling, plain)
    assert before != _scores(distilling, distilled)
    distilling.settings = dataclasses.replace(distilling.settings, distill=False)
    assert len(_train_cells(distilling)) == 2 and _scores(distilling, plain) == before


@pytest.mark.parametrize("change", ["weight", "temperature", "teacher"])
def test_another_lesson_is_learnt_and_the_same_is_not_repeated(distilling, change):
    distilling.settings = dataclasses.replace(distilling.settings, seeds=1, retrain_epochs=1)
    name = "darts_imagenet_distilled"
    _train_cells(distilling)
    before = _scores(distilling, name)
    _train_cells(distilling)
    reused = distilling.notes.pop("reused")
    assert f"{name}, seed 0" in reused and _scores(distilling, name) == before
    if change == "teacher":
        checkpoint = distilling.paths.checkpoint("fbp", 0, 2)
        backbones.save_model(checkpoint, planted.small_network(distilling.images(16), 9))
    else:
        own = {f"distill_{change}": 1.0}
        distilling.settings = dataclasses.replace(distilling.settings, **own)
    _train_cells(distilling)
    assert f"{name}, seed 0" not in distilling.notes["reused"]
    assert _scores(distilling, name) != before
    assert "darts_imagenet, seed 0" in distilling.notes["reused"]  # it has no teacher


def test_the_views_of_a_lesson_replace_the_augmentation(distilling):
    distilling.settings = dataclasses.replace(distilling.settings, seeds=1, retrain_epochs=1)
    _train_cells(distilling)
    distilling.settings = dataclasses.replace(distilling.settings, retrain_augment="full")
    _train_cells(distilling)
    assert "darts_imagenet_distilled, seed 0" in distilling.notes["reused"]
    assert "darts_imagenet, seed 0" not in distilling.notes["reused"]


def test_a_student_that_was_killed_continues_to_the_same_bits(distilling, monkeypatch):
    plain, epochs = retrain.DropPathSchedule.epoch_starts, []

    def killed(self, epoch, count):
        epochs.append(epoch)
        if len(epochs) == 6:  # the second epoch of the first student
            raise KeyboardInterrupt
        plain(self, epoch, count)

    monkeypatch.setattr(retrain.DropPathSchedule, "epoch_starts", killed)
    with pytest.raises(KeyboardInterrupt):
        _train_cells(distilling)
    name = "darts_imagenet_distilled"
    assert len(_resume_files(distilling, name)) == 1
    _train_cells(distilling)
    assert epochs == [0, 1] * 3 + [1] + [0, 1]
    assert not _resume_files(distilling, name)
    continued = tensors.load_tensors(distilling.paths.checkpoint(name))[0]
    for path in (distilling.paths.checkpoint(name), distilling.paths.predictions(name)):
        path.unlink()
    _train_cells(distilling)
    whole = tensors.load_tensors(distilling.paths.checkpoint(name))[0]
    assert len(epochs) == 11
    assert all(torch.equal(value, continued[key]) for key, value in whole.items())


# --- checkpoints -------------------------------------------------------------------------------


def test_a_loaded_network_predicts_what_its_predictions_file_says(stage):
    stage.settings = dataclasses.replace(stage.settings, test_views=4)
    _train(stage)
    model = backbones.load_model(stage.paths.checkpoint("darts_imagenet"))
    assert model.genotype == DARTS_V2 and model.spec.in_channels == 1 and not model.training
    scored = stage.split[stage.split.split.isin(["val", "test"])]
    batches = features.image_batches(stage.images(32), scored, model, 16)
    frame = files.load_csv(stage.paths.predictions("darts_imagenet"), ("defect_score",))
    np.testing.assert_allclose(predict(model, batches, "no", views=4), frame.defect_score, 1e-6)
    assert abs(predict(model, batches, "no") - frame.defect_score).max() > 1e-6


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_a_derived_network_offers_what_features_and_grad_cam_need(tmp_path, layers):
    cell = genotypes.random_genotype(4)
    spec = network.derived_spec(cell, 4, layers, 2, 32, in_channels=1, auxiliary=True)
    backbones.save_model(tmp_path / "m.safetensors", backbones.build(spec))
    model = backbones.load_model(tmp_path / "m.safetensors")
    assert model.spec == spec
    images = torch.randn(2, 1, 32, 32)
    embedding = model.embed(images)
    assert embedding.shape == (2, spec.embedding_size)
    torch.testing.assert_close(model(images), model.classifier(embedding))
    maps = gradcam.grad_cam(model, images, 1, model.spec.feature_layer)
    assert maps.shape == (2, 32, 32)
    assert model.get_submodule(spec.feature_layer) is model.cells[-1]


def test_a_checkpoint_with_a_damaged_genotype_is_refused(tmp_path):
    spec = network.derived_spec(DARTS_V2, 4, 1, 2, 32)
    model = backbones.build(spec)
    spec.options["genotype"]["normal"][0][0] = "__import__('os')"
    backbones.save_model(tmp_path / "m.safetensors", model)
    message = r"normal\[0\]: expected an operation .* got \[\"__import__\('os'\)"
    with pytest.raises(files.ArtifactError, match=message):
        backbones.load_model(tmp_path / "m.safetensors")


# --- the table ---------------------------------------------------------------------------------


def _finish_others(stage):
    """Predictions of other models, so that the table has neighbours."""
    rng = np.random.default_rng(0)
    predictions.save_predictions(
        stage.paths.predictions("fbp"), stage.split, rng.random(len(stage.split))
    )


def test_several_seeds_are_averaged_and_their_spread_is_shown(stage):
    stage.settings = dataclasses.replace(stage.settings, seeds=3, retrain_epochs=1)
    _finish_others(stage)
    cells = retrain.cells_of(stage)[:1]
    models = retrain.train_cells(stage, cells)
    assert [(model.model, model.seed) for model in models] == [
        ("darts_imagenet", seed) for seed in range(3)
    ]
    table = results_table.results_table(stage.paths)
    assert table.model.tolist() == ["fbp", "darts_imagenet", "majority"]
    scored = read_all_predictions(stage.paths)["darts_imagenet"]
    aucs = [roc_auc_score(*seed.labels_scores("test")) for seed in scored.members]
    row = table.set_index("model").loc["darts_imagenet"]
    assert row.test_auc == pytest.approx(roc_auc_score(*scored.labels_scores("test")))
    assert row.test_auc_mean == pytest.approx(np.mean(aucs))
    assert row.test_auc_std == pytest.approx(np.sqrt(np.var(aucs) * 3 / 2))
    cost = summary_of(stage, table).set_index("model").loc["darts_imagenet"]
    assert cost.retraining_s == pytest.approx(sum(m.seconds for m in models), abs=0.1)
    assert cost.trainings == 3
    words = network_costs.cost_table(summary_of(stage, table)).set_index("Model")
    one = words.loc["DARTS ImageNet", "Test AUC, one training"]
    assert one == f"{100 * np.mean(aucs):.1f} ± {100 * row.test_auc_std:.1f}"
    assert words.loc["DARTS ImageNet", "Epochs"] == "3 x 1"
    # fewer seeds later: the old ones no longer count
    stage.settings = dataclasses.replace(stage.settings, seeds=1)
    retrain.train_cells(stage, cells)
    assert "test_auc_std" not in results_table.results_table(stage.paths)


def test_the_whole_cost_stands_beside_each_row(stage):
    stage.settings = dataclasses.replace(
        stage.settings, genotypes=("searched", "DARTS_V2", "random"), retrain_epochs=1
    )
    provenance = {"method": "DARTS, first order", "seconds": 250.5, "device": "a CPU"}
    genotypes.save(stage.paths.genotype("searched"), genotypes.random_genotype(7), provenance)
    cells = retrain.cells_of(stage)
    assert [cell.name for cell in cells] == ["darts_searched", "darts_imagenet", "random_cell_0"]
    models = retrain.train_cells(stage, cells)
    summary = summary_of(stage, results_table.results_table(stage.paths)).set_index("model")
    assert summary.index.tolist() == ["darts_imagenet", "darts_searched", "random_cell_0"]
    found = summary.loc["darts_searched"]
    assert (found.search_s, found.search_device) == (250.5, "a CPU")
    assert found.total_s == pytest.approx(250.5 + models[0].seconds, abs=0.1)
    assert pd.isna(summary.loc["darts_imagenet"].search_s)  # paid by its authors
    assert summary.loc["random_cell_0"].search_s == 0
    assert all(summary.device.str.startswith("CPU"))
    words = network_costs.cost_table(summary.reset_index()).set_index("Model")
    assert words.loc["DARTS searched", "Search, s"] == "250"
    # another search that finds the same cell
    provenance["seconds"] = 99.0
    genotypes.save(stage.paths.genotype("searched"), genotypes.random_genotype(7), provenance)
    again = summary_of(stage, results_table.results_table(stage.paths)).set_index("model")
    assert again.loc["darts_searched"].search_s == 99
    assert words.loc["DARTS ImageNet", "Search, s"] == ""
    assert words.loc["DARTS searched", "Views"] == "1"


def test_every_network_has_its_size_and_speed_measured_once(stage, timed):
    stage.settings = dataclasses.replace(stage.settings, genotypes=("DARTS_V2",), retrain_epochs=1)
    _train_cells(stage)
    recipe = trained.Recipe(
        "cnn",
        lambda seed: planted.small_network(stage.images(16), seed),
        TrainSettings(epochs=1, precision="no"),
        {"architecture": "cnn"},
    )
    trained.train_model(stage, recipe, stage.images(16), [Member(0)])
    _finish_others(stage)  # a model without a network
    table = results_table.results_table(stage.paths)
    summary = summary_of(stage, table).set_index("model")
    assert summary.index.tolist() == ["cnn", "darts_imagenet"] and timed == [1, 32] * 2
    model = planted.small_network(stage.images(16), 0)
    own = summary.loc["cnn"]
    assert own.parameters == complexity.count_parameters(model)
    assert own.macs == complexity.count_macs(model, 16, 1) and own.image_size_px == 16
    words = network_costs.cost_table(summary.reset_index())
    assert words["ms, one image"].tolist() == ["0.25"] * 2
    assert words["ms, batch of 32"].tolist() == ["8"] * 2
    assert summary_of(stage, table).set_index("model").equals(summary)
    assert timed == [1, 32] * 2


def test_a_cell_trained_by_an_earlier_call_keeps_its_row(stage):
    stage.settings = dataclasses.replace(stage.settings, retrain_epochs=1)
    for names in (("DARTS_V2",), ("PC_DARTS_IMAGENET",)):
        stage.settings = dataclasses.replace(stage.settings, genotypes=names)
        retrain.train_cells(stage, retrain.cells_of(stage))
    table = results_table.results_table(stage.paths)
    assert table.model.tolist() == ["darts_imagenet", "pc_darts_imagenet", "majority"]
    assert summary_of(stage, table).model.tolist() == table.model.tolist()[:2]


# --- names and settings ------------------------------------------------------------------------


def _named(names, tmp_path, random_cells=2):
    return named.named_cells(names, tmp_path, random_cells)


def test_published_random_and_own_cells_are_found_by_name(tmp_path):
    cell = genotypes.random_genotype(9)
    genotypes.save(tmp_path / "My Cell.json", cell, {"method": "by hand"})
    names = ("PC_DARTS_IMAGENET", "random", str(tmp_path / "My Cell.json"))
    cells = _named(names, tmp_path)
    found = ["pc_darts_imagenet", "random_cell_0", "random_cell_1", "cell_my_cell"]
    assert [c.name for c in cells] == found
    assert cells[2].genotype == genotypes.random_genotype(1) and cells[3].genotype == cell


def test_both_cells_of_a_search_are_found_beside_each_other(tmp_path, capsys):
    own = genotypes.random_genotype(4)
    genotypes.save(tmp_path / "searched.json", DARTS_V2, {"method": "arg max"})
    genotypes.save(tmp_path / "searched_perturbation.json", own, {"method": "x", "seconds": 7.0})
    cells = _named(("searched", "searched_perturbation"), tmp_path)
    assert [c.name for c in cells] == ["darts_searched", "darts_perturbation"]
    assert [c.genotype for c in cells] == [DARTS_V2, own] and cells[1].cost["search_seconds"] == 7.0
    (tmp_path / "searched_perturbation.json").unlink()
    assert len(_named(("searched", "searched_perturbation"), tmp_path)) == 1
    assert "the cell 'searched_perturbation' is skipped" in capsys.readouterr().out


def test_without_a_search_its_row_is_skipped_and_that_is_said(tmp_path, capsys):
    assert [c.name for c in _named(("DARTS_V2", "searched"), tmp_path)] == ["darts_imagenet"]
    assert "the cell 'searched' is skipped: searched.json is not in" in capsys.readouterr().out
    with pytest.raises(genotypes.GenotypeError, match="no cell is left to train"):
        _named(("searched",), tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("DRATS_V2",), "no cell is called 'DRATS_V2'; did you mean DARTS_V2?"),
        (("Searched",), "no cell is called 'Searched'; did you mean searched?"),
        (("searched_pertubation",), "did you mean searched_perturbation?"),
        (("x/y.json",), "'x/y.json' is not a file"),
        ((__file__,), f"no cell is called {__file__!r} (known: DARTS_V1, "),  # no .json file
        (("x-Distilled.json",), "and not end in '_distilled'"),
        ((), "GENOTYPES is empty; name some of DARTS_V1, DARTS_V2, "),
        (("DARTS_V2", "DARTS_V2"), "two cells would both be called 'darts_imagenet': name the"),
    ],
)
def test_an_unknown_cell_is_refused_with_the_nearest_name(tmp_path, monkeypatch, names, message):
    monkeypatch.chdir(tmp_path)
    genotypes.save(tmp_path / "x-Distilled.json", DARTS_V2, {})
    with pytest.raises(genotypes.GenotypeError) as error:
        _named(names, tmp_path)
    assert message in str(error.value)


def test_the_preset_paper_is_table_1_to_the_letter():
    own = settings.resolve("05_genotype_retraining", "paper", {})
    training = own.training
    assert training.batch_size == 32
    assert (training.optimizer, training.lr, training.momentum) == ("sgd", 0.1, 0.9)
    assert training.weight_decay == 3e-5
    assert (own.retrain_channels, own.retrain_layers) == (48, 14)
    assert (training.grad_clip, training.label_smoothing) == (5.0, 0.1)
    assert (training.schedule, training.gamma) == ("exponential", 0.97)
    assert own.auxiliary and own.drop_path == 0.0
