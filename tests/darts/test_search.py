"""The search: halves, what it finds, records and decides; a stop changes nothing."""

import dataclasses
import functools
import pickle

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from helpers.core import paths, rules, seeding, work
from helpers.darts import genotypes, network, plots, search
from helpers.darts.architect import Architect
from helpers.darts.fast_supernet import FastSupernet
from helpers.darts.settings import NetworkSettings, SearchSettings
from helpers.darts.space import OPS
from helpers.datasets.cache import ImageCache
from helpers.models import backbones
from helpers.training.batches import ImageBatches
from helpers.training.inference import evaluate
from tests.small_run import untimed

TINY = {"image_size_px": 16, "batch_size": 16, "channels": 4, "layers": 3}
TINY |= {"epochs": 3, "alpha_lr": 0.05}


@pytest.fixture
def table(split):
    """The 60 training images."""
    return split[split.split == "train"]


def test_the_halves_are_stratified_disjoint_and_mixed_also_those_of_a_part_of_a_large_set():
    labels = np.repeat([0, 1], [900, 100])
    table = pd.DataFrame({"id": np.arange(1000).astype(str), "label": labels})
    for limit, counts in ((0, {0: 450, 1: 50}), (200, {0: 90, 1: 10})):
        parts = search.halves(table, 0, limit)
        assert [part.label.value_counts().to_dict() for part in parts] == [counts] * 2
        assert len({*parts[0].id, *parts[1].id}) == 2 * sum(counts.values())
        assert parts[0].label.iloc[:50].nunique() == 2
    assert [int(part.label.sum()) for part in search.halves(table, 0, limit=10)] == [1, 1]
    whole, other = search.halves(table, 0)[0], search.halves(table, 1)[0]
    assert search.halves(table, 0, limit=1000)[0].equals(whole) and {*other.id} != {*whole.id}


def test_a_search_sees_training_images_alone_and_their_groups_if_known(split):
    found = search.training_images(split)
    assert found.columns.tolist() == ["id", "label"]
    assert {*found.id} == {*split.id[split.split == "train"]}
    grouped = split.assign(group=split.id.str[-1])  # the split divides them, the halves do not
    assert search.training_images(grouped).columns.tolist() == ["id", "label", "group"]


def test_halves_share_groups_only_if_one_of_them_would_lack_a_class(table, capsys):
    spread = table.id.str[-1]
    by_group = search.halves(table.assign(group=spread), 0)
    assert not set(by_group[0].group) & set(by_group[1].group)
    assert not capsys.readouterr().out
    parts = search.halves(table.assign(group=spread.where(table.label == 0, "bad")), 0)
    for part, expected in zip(parts, search.halves(table, 0), strict=True):
        assert part.id.tolist() == expected.id.tolist() and part.label.nunique() == 2
    assert "share groups" in capsys.readouterr().out


def test_a_search_finds_a_cell_and_tells_how(images, table, monkeypatch):
    given, told = SearchSettings(**TINY), []
    monkeypatch.setattr(work, "tell", told.append)
    found = search.search(images, table, given)
    # the AUC on alpha's half, which is a half of the training images, is not validation's
    assert "epoch 3 of 3" in told[2] and not any("AUC" in line for line in told)
    assert found.genotype == search.genotype_of(found.history[-1], given.max_skips)
    assert found.provenance["method"] == "DARTS, first order"
    assert found.provenance["settings"] == dataclasses.asdict(given)
    assert [r["epoch"] for r in found.history] == [1, 2, 3]
    assert np.shape(found.history[0]["alpha_reduce"]) == (14, 8)
    net = search.make_supernet(given, images)
    net.alpha_normal.data[:, 3] += 5.0  # skips are limited, and counted before that
    record = search.architecture(net)
    for limit, count in ((-1, 8), (2, 2)):
        assert genotypes.count_skips(search.genotype_of(record, limit)) == count
    assert found.weights["alpha_normal"].tolist() == found.history[-1]["alpha_normal"]
    # the AUC is that of the last supernet on alpha's half
    net = search.make_supernet(given, images)
    net.load_state_dict(found.weights)
    part = ImageBatches(images, search.halves(table, 0)[1], net, 16)
    assert found.provenance["alpha_half_auc"] == evaluate(net, part)["val_auc"]


def test_each_step_is_algorithm_1_alpha_on_its_half_then_w_on_the_other(images, table):
    """The same search written out: Adam on alpha, SGD with a clipped gradient on w."""
    given = SearchSettings(**TINY | {"epochs": 2, "augment": "none"})
    net = search.make_supernet(given, images)
    alphas, weights = net.architecture_parameters(), net.weight_parameters()
    adam = torch.optim.Adam(alphas, 0.05, (0.5, 0.999), weight_decay=1e-3)
    sgd = torch.optim.SGD(weights, 0.025, 0.9, weight_decay=3e-4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 2, 0.001)
    half_w, half_alpha = (ImageBatches(images, h, net, 16) for h in search.halves(table, 0))
    for epoch in range(2):
        other = half_alpha.shuffled(seeding.stream_seed(0, "alpha part"), epoch)
        for (_, *train), (_, *val) in zip(half_w.shuffled(0, epoch), other, strict=True):
            for (inputs, targets), optimizer, own in ((val, adam, alphas), (train, sgd, weights)):
                net.zero_grad()
                F.cross_entropy(net(inputs), targets).backward()
                if optimizer is sgd:
                    torch.nn.utils.clip_grad_norm_(own, 5.0)
                optimizer.step()
        cosine.step()
    found = search.search(images, table, given).weights
    torch.testing.assert_close(found, dict(net.state_dict()), rtol=1e-3, atol=1e-5)


def test_a_worker_that_gets_the_registries_searches_with_the_fast_supernet_too(images):
    held = rules.contents()
    try:
        rules.restore(pickle.loads(pickle.dumps({"operation": held["operation"]})))
        assert isinstance(search.make_supernet(SearchSettings(**TINY), images), FastSupernet)
    finally:
        rules.restore(held)


@pytest.mark.parametrize(("size_px", "side"), [(32, 32), (64, 32), (128, 32), (224, 28)])
def test_the_stem_leaves_maps_on_which_the_operations_differ(size_px, side):
    pixels = np.zeros((1, size_px, size_px, 1), np.uint8)
    images = ImageCache(pixels, pd.DataFrame({"id": ["a"]}), "")
    net = search.make_supernet(SearchSettings(channels=4, layers=3), images)
    assert type(net) is FastSupernet
    _, newer = net.inputs(torch.zeros(1, 1, size_px, size_px))
    assert newer.shape[-1] == side and net(torch.zeros(2, 1, size_px, size_px)).shape == (2, 2)


def test_a_search_stopped_thrice_ends_in_equal_bits(images, table, tmp_path, monkeypatch, capsys):
    given = SearchSettings(**TINY, order=2, partial=2, alpha_warmup=1)
    doing = functools.partial(work.doing, "search", tmp_path / "resume")
    whole, step = search.search(images, table, given), Architect.step
    left = []  # steps until a kill; 2 an epoch, none in the first

    def stopped(self, *batch):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return step(self, *batch)

    for left[:] in ([2], [4], [2]):  # in the second epoch, in the third, and there again
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), doing():
            patch.setattr(Architect, "step", stopped)
            search.search(images, table, given)
    with doing():
        found = search.search(images, table, given)
    assert "continuing after epoch 2 of 3" in capsys.readouterr().out
    torch.testing.assert_close(found.weights, whole.weights, rtol=0, atol=0)
    assert untimed(found.history) == untimed(whole.history)
    assert found.provenance["method"] == "PC-DARTS, second order"
    assert np.shape(found.history[0]["beta_normal"]) == (14,)
    assert [r["alpha_loss"] is None for r in found.history] == [True, False, False]  # warm-up


def test_a_new_operation_from_a_cell_is_used_by_search_and_network(images, table, tmp_path):
    notebook = nbformat.read(paths.notebooks_root() / "04_darts_search.ipynb", as_version=4)
    exercise = next(c.source for c in notebook.cells if "Exercise: an op" in c.source)
    cell = exercise.split("```python\n")[1].split("```")[0]
    assert len(cell.splitlines()) <= 5
    before = dict(OPS)
    try:
        exec(cell, {"nn": torch.nn})
        given = SearchSettings(**TINY | {"epochs": 1})
        found = search.search(images, table, given)
        assert np.shape(found.history[0]["alpha_normal"]) == (14, 9)
        used = [n for n in found.weights if ".conv_3x3.1.weight" in n]
        assert len(used) == given.layers * 14  # every edge weighs it
        wanted = {kind: np.eye(9)[[8] * 14] for kind in ("normal", "reduce")}
        genotype = genotypes.derive_genotype(wanted["normal"], wanted["reduce"])
        assert {name for name, _ in genotype.normal} == {"conv_3x3"}
        plots.draw_genotypes({"mine": genotype})
        for one in (genotype, *genotypes.PUBLISHED.values()):
            spec = network.network_spec(one, NetworkSettings(4, 3), 16, 1)
            backbones.save_model(tmp_path / "m.safetensors", network.build_network(spec, 0))
            net = backbones.load_model(tmp_path / "m.safetensors")
            kernels = [p.shape for p in net.cells.parameters()]
            assert ((4, 4, 3, 3) in kernels) == (one is genotype)
    finally:
        OPS.clear()
        OPS.update(before)
    with pytest.raises(genotypes.GenotypeError, match="conv_3x3"):
        genotypes.from_json(genotypes.to_json(genotype))
