"""The dominant eigenvalue against the plain network's Hessian by autograd."""

import pytest
import torch
import torch.nn.functional as F

from helpers.darts.curvature import dominant_eigenvalue
from tests.toy_search import SMALL, VAL, batch, flat, plain_of, search


def exact_spectrum(net, data):
    """Eigenvalues of d2 L / d alpha2 of the plain network, by autograd twice."""
    plain = plain_of(net)
    loss = F.cross_entropy(plain(data[0]), data[1])
    grads = torch.autograd.grad(loss, plain.alphas(), create_graph=True)
    rows = [
        flat(torch.autograd.grad(g, plain.alphas(), retain_graph=True, materialize_grads=True))
        for grad in grads
        for g in grad.flatten()
    ]
    return torch.linalg.eigvalsh(torch.stack(rows))


@pytest.mark.parametrize(("dtype", "partial"), [(torch.float64, 1), (torch.float32, 2)])
def test_the_eigenvalue_is_the_exact_hessians(dtype, partial):
    net, _ = search(partial=partial)
    spectrum = exact_spectrum(net, VAL)
    dominant = spectrum[spectrum.abs().argmax()].item()
    net.to(dtype)
    before, val = flat(net.parameters()), batch(2, *SMALL, dtype)
    found = dominant_eigenvalue(net, F.cross_entropy, val)
    assert found == pytest.approx(dominant, rel=1e-3)
    assert torch.equal(flat(net.parameters()), before)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_the_start_is_seeded():
    net, _ = search()
    first, second, again = (
        dominant_eigenvalue(net, F.cross_entropy, VAL, iterations=1, seed=s) for s in (0, 1, 0)
    )
    assert first == again
    assert first != second


def test_a_loss_that_does_not_bend_has_eigenvalue_zero():
    net, _ = search()
    assert dominant_eigenvalue(net, lambda logits, _: 0 * logits.sum(), VAL, iterations=3) == 0.0
