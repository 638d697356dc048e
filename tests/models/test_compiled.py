"""Networks compiled for the CPU give what torch gives."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from helpers.darts import network
from helpers.darts.genotypes import random_genotype
from helpers.models import backbones, compiled
from helpers.training import inference

CPU = torch.device("cpu")


def small_network(kind):
    torch.manual_seed(0)
    if kind == "derived":
        spec = network.derived_spec(random_genotype(0), 4, 3, 2, 32, in_channels=1)
    else:
        spec = backbones.spec_of(kind, 2, 32)
    model = backbones.build(spec)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics of their own: folding has work to do
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    images = torch.randn(11, spec.in_channels, 32, 32).contiguous(memory_format=torch.channels_last)
    return model.eval(), images


@pytest.mark.parametrize("kind", ["resnet18", "efficientnet_lite0", "derived"])
def test_in_float32_a_compiled_network_equals_torch_for_any_number_of_images(kind):
    model, images = small_network(kind)
    run = compiled.CompiledNetwork(model, model.embed, "no")
    with torch.no_grad():
        expected = model.embed(images)
    assert torch.allclose(run(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max())
    assert torch.equal(run(images[:3]), run(images)[:3])


def test_only_many_images_and_networks_of_convolutions_are_compiled(monkeypatch):
    model, _ = small_network("resnet18")
    many = compiled.WORTH_IT_FROM
    assert compiled.is_worth_it(model, CPU, many, "bf16")
    assert not compiled.is_worth_it(model, CPU, many - 1, "bf16")
    assert not compiled.is_worth_it(model, torch.device("cuda"), many, "bf16")
    assert not compiled.is_worth_it(model, CPU, many, "fp16")
    assert not compiled.is_worth_it(model.head, CPU, many, "no")
    made = []
    monkeypatch.setattr(inference, "CompiledNetwork", lambda *given: made.append(given) or model)
    inference.runner(model, model, many - 1)
    assert not made
    inference.runner(model, model, many)
    assert len(made) == 1


def test_without_openvino_torch_does_it(monkeypatch):
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    model, images = small_network("derived")
    run = inference.runner(model, model, 10_000, "no")
    with torch.no_grad():
        np.testing.assert_allclose(run(images), model(images), atol=1e-6)


def test_depthwise_networks_are_judged_in_float32_and_others_as_asked():
    for kind, depthwise in (("efficientnet_lite0", True), ("derived", True), ("resnet18", False)):
        model, images = small_network(kind)
        assert inference.has_depthwise(model) is depthwise
        with torch.no_grad():
            exact, found = model(images), inference.runner(model, model, 0, "bf16")(images)
        assert torch.equal(exact, found) is depthwise


def test_scikit_learn_intelex_still_loads_after_a_network_was_compiled():
    # OpenVINO's older TBB came first: the forest fell back to stock scikit-learn, without a word
    pytest.importorskip("sklearnex", reason="scikit-learn-intelex is not made for this machine")
    script = """
import torch
from torch import nn
from helpers import baselines, compiled
network = nn.Conv2d(1, 2, 1).eval()
compiled.CompiledNetwork(network, network, "no")(torch.zeros(1, 1, 4, 4))
print(baselines._fastest("ensemble", "RandomForestClassifier").__module__)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.startswith("sklearnex."), done.stdout + done.stderr


def test_a_network_that_cannot_be_compiled_is_run_by_torch_and_that_is_said(monkeypatch, capsys):
    def fail(self, sizes):
        raise RuntimeError("no such operation\nmore")

    monkeypatch.setattr(compiled.CompiledNetwork, "_compile", fail)
    model, images = small_network("derived")
    run = inference.runner(model, model, 10_000, "no")
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(run(images), model(images))
    said = "OpenVINO cannot run this network, torch does: no such operation\n"
    assert capsys.readouterr().out == said
