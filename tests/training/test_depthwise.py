"""Fast gradients of depthwise convolutions."""

import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from helpers.models import weights as library
from helpers.training import depthwise, inference


def gradients(conv, x):
    """Return the result and the gradients of a fixed weighted sum of it."""
    x = x.clone().requires_grad_()
    out = conv(x)
    weights = torch.arange(out.numel(), dtype=torch.float64).view(out.shape).sin()
    (weights * out.double()).sum().backward()
    return out.detach(), x.grad, conv.weight.grad


def convolution(kernel, stride, padding, dilation, kind=nn.Conv2d):
    torch.manual_seed(0)
    size = (kernel, stride, padding, dilation)
    return kind(3, 3, *size, groups=3, bias=False).double()


def fast(conv):
    other = inference.placed(nn.Sequential(copy.deepcopy(conv)), torch.device("cpu"))
    assert type(other[0]) in depthwise.FAST.values()
    return other[0].train()


SIZES = [(*size, nn.Conv2d) for size in ((3, 1), (5, 2), (5, 0), (3, 2), (5, 4))]
SIZES += [(kernel, 0, Conv2dSame) for kernel in (3, 5)]  # pads as TensorFlow does


@pytest.mark.parametrize("side", [9, 12])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(("kernel", "padding", "kind"), SIZES)
def test_fast_gradients_are_those_of_autograd(kernel, padding, kind, dilation, stride, side):
    conv = convolution(kernel, stride, padding, dilation, kind)
    x = torch.randn(2, 3, side, side + 1, dtype=torch.float64)
    for found, wanted in zip(gradients(fast(conv), x), gradients(conv, x), strict=True):
        torch.testing.assert_close(found, wanted)


def test_all_depthwise_convolutions_of_the_packaged_backbones_are_fast():
    trunk = inference.placed(library.trunk("efficientnet_lite2"), torch.device("cpu"))
    convolutions = [m for m in trunk.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len(convolutions) == 21
    assert {type(conv) for conv in convolutions} == {*depthwise.FAST.values()}


@pytest.mark.parametrize("geometry", [(3, 1, 1, 1), (3, 2, 1, 1), (5, 1, 2, 1), (5, 2, 2, 1)])
def test_in_bf16_fast_gradients_are_as_exact_as_bf16_is(geometry):
    conv = convolution(*geometry)
    x = torch.randn(4, 3, 10, 10, dtype=torch.float64)
    wanted = gradients(conv, x)
    conv = fast(conv.float())
    conv.weight.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(conv, x.float())
    assert found[0].dtype == torch.bfloat16
    for one, exact in zip(found, wanted, strict=True):
        assert (one - exact).norm() < 0.01 * exact.norm()


def test_a_network_that_is_not_trained_computes_as_torch_does():
    conv = fast(convolution(5, 2, 2, 1)).eval()
    assert "FastGradients" not in type(conv(torch.zeros(1, 3, 8, 8).double()).grad_fn).__name__


def test_other_convolutions_keep_their_class():
    usual = {"in_channels": 4, "out_channels": 4, "kernel_size": 3, "groups": 4, "bias": False}
    changes = [{"groups": 2}, {"bias": True}, {"kernel_size": (3, 5)}, {"out_channels": 8}]
    changes += [{"padding": "same"}, {"padding": 3}]
    others = nn.Sequential(*(nn.Conv2d(**usual | change) for change in changes))
    depthwise.use_fast_gradients(others)
    assert {type(conv) for conv in others} == {nn.Conv2d}
