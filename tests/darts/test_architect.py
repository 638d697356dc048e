"""The alpha step against exact differentiation through the inner step, on the readable network."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from helpers.darts import architect
from helpers.darts.architect import Architect, GradientError
from helpers.darts.fast_supernet import FastSupernet
from tests.toy_search import TRAIN, VAL, batch, error, flat, readable_of, search

MORE_TRAIN, MORE_VAL = batch(1), batch(2)


def buffers_of(net, sgd):
    """The momentum buffers, by the names of the readable network's weights."""
    twin = copy.deepcopy(net)
    for p, w in zip(twin.weight_parameters(), net.weight_parameters(), strict=True):
        p.data = sgd.state[w].get("momentum_buffer", torch.zeros_like(w)).clone()
    return {name: p.detach() for name, p in readable_of(twin).named_parameters()}


def oracles(net, sgd, xi):
    """d/dalpha of L_val(w - xi (mu buffer + dL_train/dw + wd w), alpha) on the readable network.

    By autograd alone, and with the difference of equation 8, as the public reference has it.
    """
    readable, buffers = readable_of(net), buffers_of(net, sgd)
    parameters = {name: p.detach().requires_grad_() for name, p in readable.named_parameters()}
    names = {id(p): name for name, p in readable.named_parameters()}
    weights = [names[id(p)] for p in readable.weight_parameters()]
    alphas = [parameters[names[id(p)]] for p in readable.architecture_parameters()]

    def loss(changed, data):
        return F.cross_entropy(functional_call(readable, parameters | changed, (data[0],)), data[1])

    w = [parameters[name] for name in weights]
    grads = torch.autograd.grad(loss({}, MORE_TRAIN), w, create_graph=True)
    mu, wd = (sgd.param_groups[0][name] for name in ("momentum", "weight_decay"))
    inner = {
        name: p - xi * (mu * buffers[name] + g + wd * p)
        for name, p, g in zip(weights, w, grads, strict=True)
    }
    exact = torch.autograd.grad(loss(inner, MORE_VAL), alphas, retain_graph=True)
    inner = {name: p.detach().requires_grad_() for name, p in inner.items()}
    v = torch.autograd.grad(loss(inner, MORE_VAL), [*alphas, *inner.values()])
    dalpha, v = v[: len(alphas)], v[len(alphas) :]
    step, sides = 0.01 / flat(v).norm(), []
    for e in (step, -step):
        moved = {name: p + e * u for name, p, u in zip(weights, w, v, strict=True)}
        sides.append(flat(torch.autograd.grad(loss(moved, MORE_TRAIN), alphas)))
    return flat(exact), flat(dalpha) - xi * (sides[0] - sides[1]) / (2 * step)


def bits(net, sgd):
    """Everything that an alpha step must not change."""
    weights = net.weight_parameters()
    return flat([*weights, *(sgd.state[p]["momentum_buffer"] for p in weights)])


@pytest.mark.parametrize(
    ("xi", "partial", "moving"),
    [(0.01, 1, True), (0.1, 1, True), (0.025, 2, True), (0.025, 1, False)],
)
def test_the_second_order_is_equation_8_and_with_short_steps_the_derivative_through_the_inner_step(
    xi, partial, moving, monkeypatch
):
    net, sgd = search(xi=xi, nodes=2, partial=partial)
    if not moving:  # before the first step, without momentum buffers
        sgd.state.clear()
    exact, equation_8 = oracles(net, sgd, xi)
    step = Architect(net, F.cross_entropy, order=2)
    assert error(flat(step.gradient(MORE_VAL, MORE_TRAIN, sgd)[1]), equation_8) < 1e-9
    # so short that no unit of a toy this small passes its kink
    monkeypatch.setattr(architect, "EPSILON", 1e-5)
    assert error(flat(step.gradient(MORE_VAL, MORE_TRAIN, sgd)[1]), exact) < 1e-9


def test_the_second_order_is_computed_without_tf32_and_as_deterministic_as_the_rest(monkeypatch):
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "deterministic", True)
    net, sgd, seen = *search(), []

    def loss_of(logits, targets):
        seen.append((cudnn.allow_tf32, cudnn.deterministic))
        return F.cross_entropy(logits, targets)

    before = cudnn.allow_tf32
    Architect(net, loss_of, order=2).step(VAL, TRAIN, sgd)
    assert seen == [(False, True)] * 4 and cudnn.allow_tf32 == before


def test_alpha_without_any_part_in_the_loss_has_no_gradient():
    net, sgd = search()
    flat_loss = Architect(net, lambda logits, targets: 0 * logits.sum(), order=2)
    loss, grads = flat_loss.gradient(VAL, TRAIN, sgd)
    assert loss == 0 and not flat(grads).any()
    # without normal cells their alpha is left to weight decay
    net = FastSupernet(4, 2, 2, nodes=1)
    val = batch(2, dtype=torch.float32)
    grads = Architect(net, F.cross_entropy).gradient(val)[1]
    assert not grads[0].any() and grads[1].any()


@pytest.mark.parametrize(("order", "partial"), [(1, 1), (2, 1), (1, 2)])
def test_a_step_is_adams_a_tenth_as_long_for_beta_and_changes_nothing_but_alpha(order, partial):
    net, sgd = search(partial=partial)
    alpha_step = Architect(net, F.cross_entropy, order, lr=0.01, weight_decay=0.1)
    grads = alpha_step.gradient(VAL, TRAIN, sgd)[1]
    # by hand: the first step of Adam is lr * g / (|g| + 1e-8), g with the weight decay
    expected = []
    for alpha, grad in zip(net.architecture_parameters(), grads, strict=True):
        g, rate = grad + 0.1 * alpha.detach(), 0.01 if alpha.ndim == 2 else 0.001  # beta's
        expected.append(alpha.detach() - rate * g / (g.abs() + 1e-8))
    before = bits(net, sgd)
    for p in net.parameters():
        p.grad = torch.full_like(p, 7.0)  # a leftover of the weights' step
    alpha_step.step(VAL, TRAIN, sgd)
    assert torch.equal(before, bits(net, sgd))
    assert all(w.grad.eq(7).all() for w in net.weight_parameters())
    assert all(alpha.grad is None for alpha in net.architecture_parameters())
    assert all(p.requires_grad for p in net.parameters())
    alphas = [alpha.detach() for alpha in net.architecture_parameters()]
    torch.testing.assert_close(alphas, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("order", "failing"), [(1, 0), (2, 0), (2, 2), (2, 4)])
def test_a_step_that_fails_changes_neither_w_nor_alpha(order, failing):
    """It stops in a pass, or on an image that is not finite."""
    net, sgd = search()
    before, alphas, calls = bits(net, sgd), flat(net.architecture_parameters()), []
    images = VAL[0].clone()
    if not failing:
        images[0, 0, 0, 0] = float("nan")

    def loss_of(logits, targets):
        calls.append(1)
        if len(calls) == failing:
            raise KeyboardInterrupt
        return F.cross_entropy(logits, targets)

    with pytest.raises(KeyboardInterrupt if failing else GradientError):
        Architect(net, loss_of, order).step((images, VAL[1]), TRAIN, sgd)
    assert torch.equal(before, bits(net, sgd))
    assert torch.equal(flat(net.architecture_parameters()), alphas)
    assert all(p.requires_grad for p in net.parameters())
