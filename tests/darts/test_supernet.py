"""The fast supernet against the readable one, which computes every operation on every edge."""

import pytest
import torch
import torch.nn.functional as F

from helpers.core.rules import SettingsError
from helpers.darts.fast_supernet import FastSupernet
from helpers.darts.space import OPS
from helpers.darts.supernet import MixedEdge, Supernet
from tests.toy_search import copy_to_readable, decided, slots


def gradient_error(pairs):
    """Largest difference in any number of any pair, relative to the largest number of all."""
    difference = max((a - b).abs().max().item() for a, b in pairs)
    return difference / max(a.abs().max().item() for a, _ in pairs)


CASES = {
    "imagenet stem": ({"stem": "imagenet"}, 6, (40, 40)),
    "half of the channels, odd maps, gray": ({"partial": 2, "in_channels": 1}, 5, (7, 9)),
    "a quarter of the channels, imagenet stem": ({"partial": 4, "stem": "imagenet"}, 4, (45, 41)),
    "odd maps, three classes": ({"num_classes": 3}, 5, (9, 7)),
    "two images": ({}, 2, (11, 8)),
    "one pixel": ({}, 3, (1, 1)),
    "one pixel, imagenet stem": ({"stem": "imagenet"}, 3, (1, 1)),
    "reduction cells only": ({"layers": 2}, 4, (8, 8)),
    "six cells, two nodes": ({"layers": 6, "nodes": 2}, 4, (10, 10)),
}


def test_the_fast_network_refuses_other_operations_and_the_standard_ones_in_another_order():
    held = dict(OPS)
    moved = dict(sorted(held.items()))  # alpha's columns have another order then
    other = held | {"skip_connect": lambda channels, stride, affine: torch.nn.Identity()}
    try:
        for operations in (moved, other):
            OPS.clear()
            OPS.update(operations)
            with pytest.raises(SettingsError, match="Supernet"):
                FastSupernet(4, 3, 2)
    finally:
        OPS.clear()
        OPS.update(held)


@pytest.mark.parametrize("case", CASES)
def test_the_fast_network_equals_the_readable_one_in_float64(case):
    options, batch, size = CASES[case]
    options = {"layers": 3, "num_classes": 2, "in_channels": 3} | options
    images = torch.randn(batch, options["in_channels"], *size, dtype=torch.float64)
    targets = torch.arange(batch) % options["num_classes"]
    fast = decided(FastSupernet(4, **options)).double().train()
    readable = Supernet(4, **options).double().train()
    copy_to_readable(fast, readable)
    logits = [net(images) for net in (fast, readable)]
    assert (logits[0] - logits[1]).abs().max().item() < 1e-10
    for net, value in zip((fast, readable), logits, strict=True):
        parameters = [*net.parameters()]
        loss = F.cross_entropy(value, targets)
        grads = torch.autograd.grad(loss, parameters, materialize_grads=True)
        for p, grad in zip(parameters, grads, strict=True):
            p.data = grad  # in place of the weights, which `slots` pairs
    grads = [(a.detach(), b.detach().reshape(a.shape)) for a, b in slots(readable, fast)]
    count = len(readable.architecture_parameters())
    assert len(grads) == len(list(readable.parameters()))
    assert gradient_error(grads[:-count]) < 1e-10
    assert gradient_error(grads[-count:]) < 1e-10


@pytest.mark.parametrize("kind", [Supernet, FastSupernet])
def test_the_number_of_weights_and_alphas_is_the_published_one_and_alpha_starts_near_zero(kind):
    net = kind(channels=16, layers=8, num_classes=2)
    assert sum(p.numel() for p in net.weight_parameters()) == 1_928_562
    alphas = [kind(8, 3, 2, partial=partial).architecture_parameters() for partial in (1, 2)]
    shapes = [[tuple(p.shape) for p in own] for own in alphas]
    assert shapes == [[(14, 8)] * 2, [(14, 8)] * 2 + [(14,)] * 2]  # beta with partial channels
    assert 7e-4 < torch.cat([p.flatten() for p in alphas[1]]).std().item() < 1.3e-3
    assert net.mixing("normal")[1] is None


def test_a_mixed_edge_is_equation_2_and_three_quarters_of_the_channels_bypass_it():
    x, weights = torch.randn(2, 8, 5, 6), torch.tensor([0.4, 0.3, 0.2, 0.1, 0, 0, 0, 0])
    normalised = [
        (p - p.mean((0, 2, 3), True)) / (p.var((0, 2, 3), False, True) + 1e-5).sqrt()
        for p in (F.max_pool2d(x, 3, 1, 1), F.avg_pool2d(x, 3, 1, 1, False, False))
    ]
    expected = 0.3 * normalised[0] + 0.2 * normalised[1] + 0.1 * x
    torch.testing.assert_close(MixedEdge(8, 1, 1)(x, weights), expected)
    out = MixedEdge(8, 2, 4)(x, weights)
    rest = F.max_pool2d(x[:, 2:], 2, ceil_mode=True)
    assert torch.equal(out[:, [1, 2, 3, 5, 6, 7]], rest[:, [0, 2, 4, 1, 3, 5]])


@pytest.mark.parametrize("kind", [Supernet, FastSupernet])
def test_a_pass_forwards_and_backwards_leaves_no_trace_in_the_network(kind):
    net = decided(kind(4, 3, 2, stem="imagenet", partial=2)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images, targets = torch.randn(3, 3, 33, 21), torch.tensor([0, 1, 0])
    first = net(images)
    F.cross_entropy(first, targets).backward()
    assert torch.equal(net.eval()(images), first)  # batch statistics always
    torch.testing.assert_close(dict(net.state_dict()), before, rtol=0, atol=0)
    assert not list(net.buffers())
