"""The fast depthwise convolution against torch's own."""

import copy

import pytest
import timm.layers
import torch
import torch.nn.functional as F
from torch import nn

from helpers.models import backbones, convolution
from helpers.models.depthwise import (
    DepthwiseConv2d,
    StridedDepthwiseConv2d,
    depthwise,
    use_fast_depthwise,
)

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


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (10, 11)])
def test_stride_2_as_timm_writes_it_has_torch_s_output_and_gradients(kernel_size, size):
    plain = timm.layers.Conv2dSame(6, 6, kernel_size, stride=2, groups=6, bias=False).double()
    fast = use_fast_depthwise(copy.deepcopy(plain))
    assert isinstance(fast, StridedDepthwiseConv2d)
    x = torch.randn(3, 6, *size, dtype=torch.float64)

    def call(layer):
        return lambda a, w: torch.func.functional_call(layer, {"weight": w}, (a,))

    weight = plain.weight.detach()
    found, expected = (results(call(layer), x, weight) for layer in (fast, plain))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_only_convolutions_that_it_can_do_are_replaced_and_the_state_stays():
    model = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, stride=2, bias=False),
        nn.Conv2d(4, 4, 3, padding=0, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 8, 3, padding=1, bias=False),
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(2, 4, 9, 9)
    expected = model(images)
    use_fast_depthwise(model)
    assert [isinstance(m, DepthwiseConv2d) for m in model] == [True, False, False, False, False]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    torch.testing.assert_close(model(images), expected)


def test_convolutions_that_do_more_than_their_class_says_keep_their_own():
    layer = timm.layers.ScaledStdConv2d(4, 4, 3, padding=1, groups=4, bias=False)
    wrapped = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False, padding_mode="reflect")
    model = use_fast_depthwise(nn.Sequential(layer, wrapped))
    assert [type(m) for m in model] == [timm.layers.ScaledStdConv2d, nn.Conv2d]


def test_under_autocast_it_computes_in_the_reduced_precision():
    layer = use_fast_depthwise(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)))
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.randn(1, 4, 6, 6))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert layer[0].weight.grad.dtype == torch.float32


@pytest.mark.parametrize("kind", ["efficientnet_lite0", "mobilenetv3_small_050", "convnext_atto"])
def test_a_whole_backbone_has_the_same_gradients_as_with_torch_s_own(kind):
    spec = backbones.spec_of(kind, 2, 32)
    plain, fast = backbones.build(spec).double(), backbones.build(spec).double()
    fast.load_state_dict(plain.state_dict())
    use_fast_depthwise(fast)
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for model in (plain, fast):
        model(images).square().sum().backward()
    for (name, p), q in zip(plain.named_parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-6, atol=1e-8, msg=name)


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
