"""Scores, probabilities and embeddings of a model."""

from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

from helpers.core import environment, keys
from helpers.models import backbones, compiled
from helpers.training import inference
from helpers.training.inference import Scorer


class _Images:
    """Two batches of fixed images."""

    def __init__(self, images, labels):
        self.images, self.labels, self.ids = images, labels, np.array(list("abcde"))

    def ordered(self):
        yield from self.images.split(3)


class _LeftMinusRight(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        half = x.shape[-1] // 2
        bad = self.scale * (x[..., :half].mean((1, 2, 3)) - x[..., half:].mean((1, 2, 3)))
        return torch.stack([torch.zeros_like(bad), bad], dim=1)


@pytest.fixture
def five():
    return _Images(torch.randn(5, 1, 4, 4), np.array([0, 1, 0, 1, 1]))


def test_scores_are_those_of_the_model_and_of_the_symmetries_of_the_square(five):
    model = _LeftMinusRight()
    x = five.images
    views = [x, x.flip(-1), x.flip(-2), x.flip(-2, -1)]
    views += [view.transpose(-2, -1) for view in views]
    with torch.no_grad():
        expected = np.stack([model(view).numpy() for view in views])
    found = Scorer(model, precision="no").scores(five, views=8)
    assert found.dtype == np.float32 and found.shape == (8, 5, 2)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    scorer = Scorer(model, precision="no")
    np.testing.assert_array_equal(scorer.score_batch(x).numpy(), found[:1, :])  # one view
    outputs = scorer.outputs(model, five, "scores")
    np.testing.assert_array_equal(torch.cat([*outputs]).numpy(), found[0])
    for count in (1, 4):
        fewer = Scorer(model, precision="no").scores(five, views=count)
        np.testing.assert_array_equal(fewer, found[:count])


def test_images_without_a_finite_score_are_named(five):
    five.images[[0, 1, 3, 4]] = torch.nan
    with pytest.raises(inference.ScoresError, match=r"4 image\(s\).* a, b, d$"):
        inference.predict(_LeftMinusRight(), five, "no", views=4)


class _ThreeClasses(nn.Conv2d):
    """Gives scores of three classes, and a second output, to be ignored."""

    def forward(self, x):
        scores = super().forward(x)[..., 0, 0]
        return scores, torch.full_like(scores, torch.nan)


def test_all_classes_but_the_first_are_bad(five):
    model, labels = _ThreeClasses(1, 3, 4), np.array([0, 1, 2, 0, 2])
    five.labels = labels
    scorer = Scorer(model.train(), precision="no")
    assert scorer.model is model and not model.training
    raw = scorer.scores(five)[0].astype(float)
    each = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(inference.predict(model, five, "no"), 1 - each[:, 0], atol=1e-7)
    found = inference.evaluate(model, five, "no")
    assert found["val_auc"] == pytest.approx(roc_auc_score(labels > 0, 1 - each[:, 0]))
    assert found["val_loss"] == pytest.approx(log_loss(labels, each), abs=1e-6)
    assert found["val_accuracy"] == np.mean(each.argmax(axis=1) == labels)


@pytest.fixture
def bf16(monkeypatch):
    """A CPU that multiplies in bf16."""
    monkeypatch.setattr(environment, "default_precision", lambda device: "bf16")


def test_a_block_is_computed_in_the_precision_that_its_name_says(bf16, monkeypatch):
    cpu, kinds = torch.device("cpu"), {"bf16": torch.bfloat16, "fp16": torch.float16, "no": None}
    for name, kind in (kinds | {"auto": torch.bfloat16}).items():
        with inference.autocast(cpu, name):
            assert torch.is_autocast_enabled("cpu") is (kind is not None)
            assert kind in (None, torch.get_autocast_dtype("cpu"))
    assert inference.precision_of(cpu, "auto") == inference.judging_precision(nn.ReLU(), cpu)
    monkeypatch.setattr(environment, "default_precision", lambda device: "no")  # multiplies no bf16
    assert inference.precision_of(cpu, "bf16") == "no"


def _network(kind="resnet18"):
    torch.manual_seed(0)
    model = backbones.build(backbones.spec_of(kind, 2, 32)).eval()
    images = torch.randn(3, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    return model, images


@pytest.mark.parametrize(("kind", "depthwise"), [("efficientnet_lite2", True), ("resnet18", False)])
def test_depthwise_networks_are_judged_in_float32_and_others_as_asked(kind, depthwise, bf16):
    model, images = _network(kind)
    assert inference.has_depthwise(model) is depthwise
    assert not inference.has_depthwise(nn.Sequential(nn.Conv2d(4, 4, 1, groups=2)))
    assert not inference.has_depthwise(nn.Sequential(nn.Conv2d(1, 4, 1)))
    scorer = Scorer(model, precision="bf16")
    assert scorer.precision == ("no" if depthwise else "bf16")
    with torch.no_grad():
        assert torch.equal(model(images), scorer.score_batch(images)[0]) is depthwise


@pytest.mark.skipif(not find_spec("openvino"), reason="networks are compiled by OpenVINO")
def test_many_images_are_scored_and_embedded_by_the_compiled_network(monkeypatch):
    model, images = _network()
    made = []
    plain = compiled.CompiledNetwork._compile
    monkeypatch.setattr(
        compiled.CompiledNetwork, "_compile", lambda *given: made.append(1) or plain(*given)
    )
    few = Scorer(model, precision="no", images=compiled.WORTH_IT_FROM - 1)
    many = Scorer(model, precision="no", images=compiled.WORTH_IT_FROM)
    expected = few.score_batch(images), few.run(model.embed, images)
    assert not made
    for _ in range(2):
        torch.testing.assert_close(many.score_batch(images), expected[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(many.run(model.embed, images), expected[1], rtol=1e-4, atol=1e-4)
    assert len(made) == 2  # once for each function


def test_a_network_that_cannot_be_compiled_is_run_by_torch_and_that_is_said(monkeypatch, capsys):
    def fail(self, sizes):
        raise RuntimeError("no such operation\nmore")

    monkeypatch.setattr(compiled.CompiledNetwork, "_compile", fail)
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: True)
    model, images = _network()
    scorer = Scorer(model, precision="no", images=10_000)
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(scorer.score_batch(images)[0], model(images))
    assert capsys.readouterr().out.count("no such operation") == 1


def test_a_module_of_a_user_s_own_is_not_traced_since_it_may_branch_on_its_values():
    class Branches(nn.Conv2d):
        def forward(self, x):
            return super().forward(x)[..., 0, 0] * (1 if x.mean() > 0 else -1)

    model = backbones.own_network(Branches(1, 2, 4), 4, 1)
    scorer = Scorer(model, precision="no", images=10_000)
    for images in (torch.ones(8, 1, 4, 4), -torch.ones(8, 1, 4, 4)):
        with torch.no_grad():
            torch.testing.assert_close(scorer.score_batch(images)[0], model(images))


def test_brightness_is_the_mean_gray_value_and_its_key_tells_images_and_values(split, images):
    ids, expected = split.id[::-1], images.pixels.mean(axis=(1, 2, 3))[::-1]
    found = inference.brightness(ids, images)
    np.testing.assert_allclose(found.embeddings[:, 0], expected, atol=1.0)
    others = [inference.brightness(ids[::-1], images), inference.brightness(ids[1:], images)]
    assert len({keys.key_of(partial(one.of)) for one in (found, *others)}) == 3
