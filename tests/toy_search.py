"""A toy of a search for the tests: a small supernet one step into its training, and two batches.

The readable supernet is the oracle of the fast one: they share the stems, alpha, and how cells are
joined, but no operation, no sum over edges and no shuffling of channels.
"""

import torch
import torch.nn.functional as F

from helpers.darts.fast_supernet import FastSupernet
from helpers.darts.space import FactorizedReduce
from helpers.darts.supernet import Supernet

SMALL = (8, (8, 7))  # images of a batch and their size in pixels


def batch(seed, n=16, size=(10, 9), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, *size, generator=generator, dtype=torch.float64)
    return images.to(dtype), torch.arange(n) % 2


TRAIN, VAL, EARLIER = (batch(seed, *SMALL) for seed in (1, 2, 3))


def decided(net):
    """The net with alphas (and betas) far from uniform, so that the softmax weights matter."""
    with torch.no_grad():
        for alpha in net.architecture_parameters():
            alpha.copy_(torch.randn_like(alpha))
    return net


def search(xi=0.025, nodes=1, **options):
    """A fast supernet with decided alphas and its SGD, one step into the training."""
    net = decided(FastSupernet(4, 3, 2, nodes=nodes, **options).double())
    weights = net.weight_parameters()
    sgd = torch.optim.SGD(weights, lr=0.1, momentum=0.9, weight_decay=0.03)
    F.cross_entropy(net(EARLIER[0]), EARLIER[1]).backward()
    sgd.step()
    sgd.param_groups[0]["lr"] = xi
    net.zero_grad(set_to_none=True)
    return net, sgd


def readable_of(fast):
    """The readable supernet with the weights of a fast one of `search`."""
    readable = Supernet(4, 3, 2, nodes=fast.nodes, partial=fast.partial).double()
    copy_to_readable(fast, readable)
    return readable


def reduce_slots(readable: FactorizedReduce, weight):
    half = readable.conv_even.weight.shape[0]
    yield readable.conv_even.weight, weight[:half]
    yield readable.conv_odd.weight, weight[half:]


def operation_slots(operations, fast, edge):
    """Pairs (parameter of an edge's operations, its slice of all edges that leave a state)."""
    layers = [("sep_conv_3x3", 1, fast.sep3[0]), ("sep_conv_3x3", 5, fast.sep3[1])]
    layers += [("sep_conv_5x5", 1, fast.sep5[0]), ("sep_conv_5x5", 5, fast.sep5[1])]
    layers += [("dil_conv_3x3", 1, fast.dil3), ("dil_conv_5x5", 1, fast.dil5)]
    for name, at, layer in layers:
        yield operations[name][at].weight, layer.depthwise.weight.chunk(fast.edges)[edge]
        yield operations[name][at + 1].weight, layer.pointwise.weight.chunk(fast.edges)[edge]
    if fast.reduce is not None:
        weight = fast.reduce.weight.chunk(fast.edges)[edge]
        yield from reduce_slots(operations["skip_connect"], weight)


def slots(readable, fast):
    """Pairs (readable parameter, fast tensor of as many numbers) that cover both networks."""
    for name in ("stem0", "stem1", "classifier"):
        a, b = readable.get_submodule(name), fast.get_submodule(name)
        yield from zip(a.parameters(), b.parameters(), strict=True)
    for a, b in zip(readable.cells, fast.cells, strict=True):
        if isinstance(a.older, FactorizedReduce):
            yield from reduce_slots(a.older, b.older[1].weight)
        else:
            yield a.older[1].weight, b.older[1].weight
        yield a.newer[1].weight, b.newer[1].weight
        edges = iter(a.edges)
        for node in range(a.nodes):
            for source in range(node + 2):
                edge = node - max(0, source - 1)
                yield from operation_slots(next(edges).operations, b.edges[source], edge)
    alphas = readable.architecture_parameters(), fast.architecture_parameters()
    yield from zip(*alphas, strict=True)


@torch.no_grad()
def copy_to_readable(fast, readable):
    for a, b in slots(readable, fast):
        a.copy_(b.reshape(a.shape))


def flat(tensors):
    return torch.cat([t.detach().flatten() for t in tensors])


def error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()
