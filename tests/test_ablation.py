"""The ablation of the recipe: its arithmetic, its keys, and that nothing is trained twice."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.core import seeding
from helpers.models import backbones
from helpers.results import metrics
from helpers.runs.settings import TrainSettings
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


def test_the_average_of_the_weights_is_scored_beside_the_weights_themselves(toy, monkeypatch):
    raw, ends = {}, ablation.RawWeights.epoch_ends

    def epoch_ends(self, record, past):
        raw.update({name: value.clone() for name, value in self.model.state_dict().items()})
        return ends(self, record, past)

    monkeypatch.setattr(ablation.RawWeights, "epoch_ends", epoch_ends)
    judged, predict, scorer = [], ablation.predict, ablation.Scorer

    def noting(judge):
        def note(model, *given, **options):
            judged.append({name: value.clone() for name, value in model.state_dict().items()})
            return judge(model, *given, **options)

        return note

    monkeypatch.setattr(ablation, "predict", noting(predict))
    monkeypatch.setattr(ablation, "Scorer", noting(scorer))
    toy.result("base", "groups", 1)
    average, own = judged[:2]
    assert all(torch.equal(own[name], raw[name]) for name in raw)
    assert any(not torch.equal(average[name], raw[name]) for name in raw)


def test_a_killed_training_continues(toy, trained, monkeypatch, capsys):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ablation, "Scorer", killed)
        toy.result("base", "random", 0)
    assert not toy.out.exists() and len(list(toy.unfinished.glob("*.resume"))) == 1
    toy.result("base", "random", 0)
    assert "continuing after epoch 1 of 1" in capsys.readouterr().out
    assert not list(toy.unfinished.glob("*.resume"))
    continued = toy.lines()
    toy.out.unlink()
    toy.result("base", "random", 0)
    pd.testing.assert_frame_equal(toy.lines().assign(seconds=0), continued.assign(seconds=0))


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


def test_every_row_names_settings_that_exist_and_the_base_is_version_01(tmp_path):
    whole = ablation.Ablation(pd.DataFrame(), "net", tmp_path / "out.csv", 192)
    assert whole.recipe("base") == ablation.Recipe()
    for row, changes in ablation.ROWS.items():
        recipe = whole.recipe(row)
        for name, value in changes.items():
            assert getattr(recipe, name, getattr(recipe.training, name, None)) == value, row
        assert (recipe == ablation.Recipe()) == (row == "base"), row
        assert recipe.score in ablation.SCORES and recipe.training.keep == "last"
    joined = whole.recipe("all")
    assert joined.turns and joined.standardise and joined.score == "views8"


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


def test_without_its_mean_image_a_lot_looks_like_all_others():
    rng = np.random.default_rng(0)
    part = rng.integers(100, 120, (40, 6, 6, 1)).astype(np.uint8)
    groups = np.array(["a", "b"] * 20)
    shade = np.linspace(0, 60, 36).reshape(6, 6, 1).astype(np.uint8)
    pixels = np.where((groups == "b")[:, None, None, None], part + shade, part)
    found = ablation.without_group_means(pixels, groups)
    assert found.dtype == np.uint8 and found.shape == pixels.shape
    means = [found[groups == name].mean(axis=0) for name in "ab"]
    for mean in means:  # to the nearest gray level
        assert np.abs(mean - pixels.mean(axis=0)).max() <= 0.5 + 1e-9
    moved = found[groups == "a"].astype(int) - pixels[groups == "a"]  # all by the same image
    assert np.ptp(moved, axis=0).max() <= 1 < np.abs(moved).max()
    bright = np.array([255, 155, 255, 255], np.uint8).reshape(4, 1, 1, 1)
    clipped = ablation.without_group_means(bright, np.array(["a", "a", "b", "b"]))
    assert clipped.flatten().tolist() == [255, 180, 230, 230]


def test_each_lot_is_scored_by_its_own_statistics(toy, monkeypatch):
    """Each lot's scores are those of a network that was adapted to this lot alone."""
    model = torch.nn.Sequential(
        torch.nn.BatchNorm2d(1, affine=False), torch.nn.Flatten(), torch.nn.Linear(32 * 32, 2)
    )
    model.spec = backbones.spec_of("cnn", 2, 32, 1)
    cache, images = toy.cache(32), toy.images
    found = ablation.by_group(model, cache, images, "no")
    for name in ("g5", "g0"):
        own = images[images.group == name]
        pixels = cache.take(cache.rows(own.id))[..., 0].astype(np.float32)
        x = torch.from_numpy((pixels / 255 - 0.5) / 0.25)
        x = (x - x.mean()) / (x.var() + 1e-5).sqrt()
        with torch.no_grad():
            expected = model[2](x.flatten(1)).softmax(dim=1)[:, 1]
        np.testing.assert_allclose(found[own.index], expected, atol=1e-4)


def test_elpv_has_five_folds_of_modules_and_five_random_ones_without_twins_on_two_sides():
    table = ablation.elpv()
    assert len(table) == 2624 and set(table.groups) == set(table.random) == set(range(5))
    assert table.groupby("group")["groups"].nunique().max() == 1
    assert table.groupby("group")["random"].nunique().min() > 1
    by_id = table.set_index("id").random
    assert all(by_id[f"cell{n}"] == by_id[f"cell{n + 542}"] for n in range(1735, 1785))
    assert table.groupby("random").label.mean().between(0.30, 0.33).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "base,trns"], "'trns' is not one of base, seed1, "),
        (["--splits", "lots"], "'lots' is not one of groups, random"),
        (["--folds", "5"], "'5' is not one of 0, 1, 2, 3, 4"),
    ],
)
def test_a_wrong_name_is_refused(words, message, capsys):
    with pytest.raises(SystemExit):
        ablation.main(words)
    assert message in capsys.readouterr().err


def test_the_rows_are_listed_with_their_changes(capsys):
    assert ablation.main(["--list", "--rows", "base,head_lr"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["base", "version", "0.1"]
    assert second.split() == ["head_lr", "lr=0.0003,", "head_lr_factor=10.0"]
