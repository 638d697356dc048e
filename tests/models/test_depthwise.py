"""The fast depthwise convolution against torch's own."""

import copy

import pytest
import timm.layers
import torch
import torch.nn.functional as F
from torch import nn

from helpers.models.depthwise import (
    DepthwiseConv2d,
    StridedDepthwiseConv2d,
    depthwise_conv2d,
    use_fast_depthwise,
)

CASES = [(k, s, d, n) for k in (3, 5) for s in (1, 2) for d in (1, 2) for n in (7, 8)]


@pytest.mark.parametrize(("kernel", "stride", "dilation", "size"), CASES)
def test_output_and_gradients_equal_torch_s(kernel, stride, dilation, size):
    x = torch.randn(2, 4, size, size + 3, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(4, 1, kernel, kernel, dtype=torch.float64)
    found, expected = [], []
    for results, fast in ((found, True), (expected, False)):
        a, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
        if fast:
            out = depthwise_conv2d(a, w, stride, dilation)
        else:
            out = F.conv2d(a, w, None, stride, dilation * (kernel - 1) // 2, dilation, 4)
        out.square().sum().backward()
        results += [out.detach(), a.grad, w.grad]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


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


def test_under_autocast_it_computes_in_the_reduced_precision():
    layer = use_fast_depthwise(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)))
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.randn(1, 4, 6, 6))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert layer[0].weight.grad.dtype == torch.float32


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (10, 11)])
def test_stride_2_as_timm_writes_it_has_torch_s_output_and_gradients(kernel_size, size):
    torch.manual_seed(0)
    plain = timm.layers.Conv2dSame(6, 6, kernel_size, stride=2, groups=6, bias=False).double()
    fast = copy.deepcopy(plain)
    holder = use_fast_depthwise(nn.Sequential(fast))
    assert isinstance(fast, StridedDepthwiseConv2d)
    x = torch.randn(3, 6, *size, dtype=torch.float64)
    grads = []
    for layer in (plain, holder):
        inputs = x.clone().requires_grad_()
        out = layer(inputs)
        (
            out * torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)
        ).sum().backward()
        grads.append((out.detach(), inputs.grad, next(layer.parameters()).grad))
    for expected, found in zip(*grads, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
