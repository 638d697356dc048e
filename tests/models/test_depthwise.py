"""The fast depthwise convolution against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from helpers.models import convolution
from helpers.models.depthwise import DepthwiseConv2d, depthwise

CASES = [(k, s, d, n) for k in (3, 5) for s in (1, 2) for d in (1, 2) for n in (3, 7, 8)]


def results(function, x, weight):
    """Return output and gradients; each value of the output has a gradient of its own."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    out = function(x, weight)
    out.backward(torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out))
    return out.detach(), x.grad, weight.grad


@pytest.mark.parametrize(("kernel", "stride", "dilation", "size"), CASES)
def test_output_and_gradients_equal_torch_s(kernel, stride, dilation, size):
    x = torch.randn(2, 4, size, size + 3, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(4, 1, kernel, kernel, dtype=torch.float64)
    padding = dilation * (kernel - 1) // 2
    found = results(lambda a, w: depthwise(a, w, stride, dilation), x, weight)
    expected = results(lambda a, w: F.conv2d(a, w, None, stride, padding, dilation, 4), x, weight)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 1, 1), (5, 2, 1), (3, 2, 2), (5, 1, 2)]
)
def test_second_derivatives_are_those_of_finite_differences(kernel, stride, dilation):
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, 1, kernel, kernel, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda a, b: depthwise(a, b, stride, dilation), (x, w))


def test_under_autocast_it_computes_in_the_reduced_precision():
    layer = DepthwiseConv2d(4, 4, 3, padding=1, groups=4, bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.randn(1, 4, 6, 6))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_inside_constant_weights_no_gradient_by_weights_is_computed(monkeypatch):
    asked, own = [], convolution.Geometry.compute

    def spy(self, slot, a, b):
        asked.append(slot)
        return own(self, slot, a, b)

    monkeypatch.setattr(convolution.Geometry, "compute", spy)
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    w = torch.randn(4, 1, 3, 3, requires_grad=True)

    def slots_of_a_gradient():
        out = depthwise(x, w).sum()
        asked.clear()
        return torch.autograd.grad(out, [x])[0], sorted(asked)

    gradient, asked_outside = slots_of_a_gradient()
    with pytest.raises(RuntimeError, match="inside"), convolution.constant_weights():
        with convolution.constant_weights():
            pass
        inside, asked_inside = slots_of_a_gradient()
        raise RuntimeError("inside")
    assert torch.equal(gradient, inside) and asked_inside == [convolution.X]
    assert asked_outside == slots_of_a_gradient()[1] == [convolution.X, convolution.W]
