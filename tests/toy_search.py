"""A toy of a search for the tests: a small supernet one step into its training, and two batches."""

import torch
import torch.nn.functional as F

from helpers.darts.supernet import Supernet
from tests.plain_darts import PlainSupernet, copy_to_plain

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
    """A supernet with decided alphas and its SGD, one step into the training."""
    net = decided(Supernet(4, 3, 2, nodes=nodes, **options).double())
    weights = net.weight_parameters()
    sgd = torch.optim.SGD(weights, lr=0.1, momentum=0.9, weight_decay=0.03)
    F.cross_entropy(net(EARLIER[0]), EARLIER[1]).backward()
    sgd.step()
    sgd.param_groups[0]["lr"] = xi
    net.zero_grad(set_to_none=True)
    return net, sgd


def plain_of(net):
    plain = PlainSupernet(4, 3, 2, nodes=net.nodes, partial=net.partial).double()
    copy_to_plain(net, plain)
    return plain


def flat(tensors):
    return torch.cat([t.detach().flatten() for t in tensors])


def error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()
