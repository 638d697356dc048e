"""The batched supernet against the plain one, which computes every operation on every edge."""

import pytest
import torch
import torch.nn.functional as F

from helpers.darts.supernet import Supernet
from tests.plain_darts import PlainSupernet, copy_to_plain, slots
from tests.toy_search import decided


def gradient_error(pairs):
    """Largest difference in any number of any pair, relative to the largest number of all."""
    difference = max((a - b).abs().max().item() for a, b in pairs)
    return difference / max(a.abs().max().item() for a, _ in pairs)


CASES = {
    "cifar stem": ({}, 6, (12, 12)),
    "imagenet stem": ({"stem": "imagenet"}, 6, (40, 40)),
    "a quarter of the channels": ({"partial": 4}, 6, (12, 12)),
    "half of the channels, odd maps, gray": ({"partial": 2, "in_channels": 1}, 5, (7, 9)),
    "half of the channels, imagenet stem": ({"partial": 2, "stem": "imagenet"}, 4, (45, 41)),
    "odd maps, three classes": ({"num_classes": 3}, 5, (9, 7)),
    "odd image": ({"stem": "imagenet", "in_channels": 1, "num_classes": 3}, 4, (75, 53)),
    "two images": ({}, 2, (11, 8)),
    "one pixel": ({}, 3, (1, 1)),
    "one pixel, imagenet stem": ({"stem": "imagenet"}, 3, (1, 1)),
    "six pixels": ({}, 3, (2, 3)),
    "low and wide, imagenet stem": ({"stem": "imagenet"}, 3, (5, 16)),
    "reduction cells only": ({"layers": 2}, 4, (8, 8)),
    "six cells, two nodes": ({"layers": 6, "nodes": 2}, 4, (10, 10)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_batched_network_equals_the_plain_one_in_float64(case):
    options, batch, size = CASES[case]
    options = {"layers": 3, "num_classes": 2, "in_channels": 3} | options
    images = torch.randn(batch, options["in_channels"], *size, dtype=torch.float64)
    targets = torch.arange(batch) % options["num_classes"]
    batched = decided(Supernet(4, **options)).double().train()
    plain = PlainSupernet(4, **options).double().train()
    copy_to_plain(batched, plain)
    logits = [net(images) for net in (batched, plain)]
    assert (logits[0] - logits[1]).abs().max().item() < 1e-10
    for net, value in zip((batched, plain), logits, strict=True):
        parameters = [*net.parameters()]
        loss = F.cross_entropy(value, targets)
        grads = torch.autograd.grad(loss, parameters, materialize_grads=True)
        for p, grad in zip(parameters, grads, strict=True):
            p.data = grad  # in place of the weights, which `slots` pairs
    grads = [(a.detach(), b.detach().reshape(a.shape)) for a, b in slots(plain, batched)]
    count = len(plain.alphas())
    assert len(grads) == len(list(plain.parameters()))
    assert gradient_error(grads[:-count]) < 1e-10
    assert gradient_error(grads[-count:]) < 1e-10


def test_the_number_of_weights_and_alphas_is_the_published_one():
    net = Supernet(channels=16, layers=8, num_classes=2)
    assert sum(p.numel() for p in net.weight_parameters()) == 1_928_562
    assert [tuple(p.shape) for p in net.architecture_parameters()] == [(14, 8), (14, 8)]
    net = Supernet(channels=16, layers=8, num_classes=10)
    assert sum(p.numel() for p in net.weight_parameters()) == 1_930_618


def test_alpha_starts_near_zero_and_beta_comes_with_partial_channels_only():
    net = Supernet(8, 3, 2, partial=2)
    shapes = [tuple(p.shape) for p in net.architecture_parameters()]
    assert shapes == [(14, 8), (14, 8), (14,), (14,)]
    start = torch.cat([p.flatten() for p in net.architecture_parameters()])
    assert 7e-4 < start.std().item() < 1.3e-3
    assert Supernet(8, 3, 2).edge_weights("normal") is None


def test_a_pass_forwards_and_backwards_leaves_no_trace_in_the_network():
    net = decided(Supernet(4, 3, 2, stem="imagenet", partial=2)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images, targets = torch.randn(3, 3, 33, 21), torch.tensor([0, 1, 0])
    first = net(images)
    F.cross_entropy(first, targets).backward()
    assert torch.equal(net(images.contiguous(memory_format=torch.channels_last)), first)
    assert torch.equal(net.eval()(images), first)  # batch statistics always
    torch.testing.assert_close(dict(net.state_dict()), before, rtol=0, atol=0)
    assert not list(net.buffers())
