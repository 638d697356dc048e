"""The ablation of the recipe: its arithmetic, its keys, and that nothing is trained twice."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from helpers.core import metrics, seeding
from helpers.models import backbones
from helpers.training.settings import TrainSettings
from tests.benchmarks import ablation
from tests.conftest import split_of


@pytest.fixture
def toy(home, parts_folder, monkeypatch):
    """An ablation of a tiny network on 120 small parts of six groups, trained for one epoch."""
    images = split_of(parts_folder).drop(columns="split")
    number = np.arange(len(images))
    images = images.assign(
        group=[f"g{k}" for k in number % 6], groups=number % 6 // 2, random=number // 7 % 3
    )

    def build(self, recipe):
        with seeding.torch_stream(recipe.seed, "weights"):
            spec = backbones.spec_of("cnn", 2, recipe.size_px, 1)
            return backbones.TwoLayerCNN(spec, hidden=20)

    monkeypatch.setattr(ablation.Ablation, "build", build)
    monkeypatch.setattr(ablation.Ablation, "weights", backbones.Weights("net", {}, "nowhere"))
    own = dataclasses.replace(ablation.VERSION_01, epochs=1, precision="no")
    monkeypatch.setattr(ablation, "elpv", lambda: images)
    monkeypatch.setattr(ablation, "FOLDS", 3)
    monkeypatch.setattr(
        ablation,
        "Recipe",
        dataclasses.make_dataclass(
            "Toy",
            [("training", TrainSettings, own)],
            bases=(ablation.Recipe,),
            frozen=True,
        ),
    )
    return ablation.Ablation(images, "net", home / "out" / "ablation.csv", 32)


@pytest.fixture
def trained(monkeypatch):
    """The names of all trainings that are started."""
    names, plain = [], ablation.Training

    def training(*given, **options):
        names.append(options["name"])
        return plain(*given, **options)

    monkeypatch.setattr(ablation, "Training", training)
    return names


def run(toy, *words):
    return ablation.main([*words, "--size-px", "32", "--out", str(toy.out)])


def test_the_command_trains_each_fold_once_and_writes_the_table(toy, trained, capsys):
    words = ["--rows", "views8,turns", "--splits", "groups", "--folds", "0,2"]
    assert run(toy, *words) == 0
    assert trained == ["groups fold 0", "groups fold 2"] * 2  # of views8, then of turns
    assert not list(toy.unfinished.glob("*.resume"))
    assert run(toy, *words) == 0
    assert run(toy, "--rows", "base,adabn,ema", "--splits", "groups", "--folds", "0") == 0
    assert len(trained) == 4  # the base's training is that of views8
    capsys.readouterr()
    assert run(toy, "--show", "--rows", "views8,turns,low_lr") == 0
    out = capsys.readouterr().out
    whole = ablation.table(toy.measured(["base", "views8", "turns", "low_lr"], ["groups"]))
    assert whole.row.tolist() == ["base", "views8", "turns"]
    assert whole.folds.tolist() == [2, 2, 2] and "auc_fold1" not in whole
    assert all(f"{100 * auc:.2f}" in out for auc in whole.auc)
    assert len(toy.lines()) == 4 * len(ablation.SCORES)
    base, turns = whole.iloc[0], whole.iloc[2]
    difference = [turns[f"auc_fold{k}"] - base[f"auc_fold{k}"] for k in (0, 2)]
    assert turns.auc_difference == pytest.approx(np.mean(difference))
    assert turns.auc_se == pytest.approx(np.std(difference, ddof=1) / np.sqrt(2))


def test_a_fold_is_scored_by_a_training_that_has_not_seen_it(toy, monkeypatch):
    seen, plain = [], ablation.Training

    def training(model, train, val, *given, **options):
        seen.append((set(train.ids), set(val.ids)))
        return plain(model, train, val, *given, **options)

    monkeypatch.setattr(ablation, "Training", training)
    scores = {name: np.linspace(0, 1, 40) ** k for k, name in enumerate(ablation.SCORES)}
    scores["views8"] = np.sin(np.arange(40))
    found, unseen = [], toy.images[toy.images.groups == 1]
    train_it = toy._train

    def train(*given):
        found.append(train_it(*given))
        return scores, 1.5

    monkeypatch.setattr(toy, "_train", train)
    line = toy.result("views8", "groups", 1)
    ((train, watched),) = seen
    assert train == set(toy.images.id) - set(unseen.id) and watched < train
    assert all(len(found[0][0][name]) == len(unseen) for name in ablation.SCORES)
    labels, groups = unseen.label.to_numpy(), unseen.group.to_numpy()
    assert line.auc == pytest.approx(metrics.roc_auc(labels, scores["views8"]))
    inside = metrics.within_group_auc(labels, scores["views8"], groups)
    assert line.within_auc == pytest.approx(inside.auc.estimate)


def test_only_what_changes_a_training_changes_its_digest(toy):
    found = {row: toy.digest(toy.recipe(row), "groups", 0) for row in ablation.ROWS}
    scored = ("views4", "views8", "adabn", "ema")
    assert all(found[row] == found["base"] for row in scored)
    assert found.pop("turns_views8") == found["turns"]
    others = [digest for row, digest in found.items() if row not in scored]
    assert len(set(others)) == len(others)
    assert toy.digest(toy.recipe("base"), "random", 0) != found["base"]
    assert toy.digest(toy.recipe("base"), "groups", 1) != found["base"]
    toy.images.loc[3, "label"] = 1 - toy.images.label[3]
    assert toy.digest(toy.recipe("base"), "groups", 0) != found["base"]


def test_the_table_pairs_each_row_with_the_base_fold_by_fold():
    rows = [("base", 0, 0.8, 0.7), ("base", 1, 0.9, 0.6), ("base", 2, 0.7, 0.5)]
    rows += [("turns", 1, 0.95, 0.6), ("turns", 2, 0.77, np.nan), ("ema", 0, 0.9, 0.7)]
    found = pd.DataFrame(rows, columns=["row", "fold", "auc", "within_auc"])
    whole = ablation.table(found.assign(split="groups", seconds=60.0)).set_index("row")
    assert whole.folds.to_dict() == {"base": 3, "turns": 2, "ema": 1}
    turns = whole.loc["turns"]
    assert turns.auc == pytest.approx(0.86)
    assert turns.auc_difference == pytest.approx(0.06)  # .05 and .07
    assert turns.auc_se == pytest.approx(0.01)
    assert turns.within_auc_difference == 0 and np.isnan(turns.within_auc_se)
    assert whole.loc["base", "auc_difference"] == whole.loc["base", "auc_se"] == 0
    assert whole.loc["ema", "auc_difference"] == pytest.approx(0.1)
    assert np.isnan(whole.loc["ema", "auc_se"])
    text = ablation.in_words(whole.reset_index())
    assert "+6.00 ± 1.00" in text and "   - 95.0 77.0" in text and "nan" not in text.lower()
    alone = ablation.table(found[found.row == "ema"].assign(split="random", seconds=1.0))
    assert np.isnan(alone.auc_difference[0])
    assert "nan" not in ablation.in_words(alone).lower()


def test_elpv_has_five_folds_of_modules_and_five_random_ones_without_twins_on_two_sides():
    table = ablation.elpv()
    assert len(table) == 2624 and set(table.groups) == set(table.random) == set(range(5))
    assert table.groupby("group")["groups"].nunique().max() == 1
    assert table.groupby("group")["random"].nunique().min() > 1
    by_id = table.set_index("id").random
    assert all(by_id[f"cell{n}"] == by_id[f"cell{n + 542}"] for n in range(1735, 1785))
    assert table.groupby("random").label.mean().between(0.30, 0.33).all()
