"""The dilated depthwise convolution against torch's own."""

import pytest
import torch
from torch import nn

from helpers.models.depthwise import DepthwiseConv2d

GEOMETRIES = [(k, s, d) for k in (3, 5) for s, d in ((1, 1), (2, 1), (1, 2))]


def results(layer, x):
    """Return output and gradients; each value of the output has a gradient of its own."""
    x = x.clone().requires_grad_()
    out = layer(x)
    out.backward(torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out))
    return out.detach(), x.grad, layer.weight.grad


@pytest.mark.parametrize("size", [3, 7, 8])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), GEOMETRIES)
def test_output_and_gradients_equal_torch_s(kernel, stride, dilation, size):
    x = torch.randn(2, 4, size, size + 3, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last)
    padding = dilation * (kernel - 1) // 2
    geometry = {"padding": padding, "dilation": dilation, "groups": 4, "bias": False}
    fast, plain = (
        kind(4, 4, kernel, stride, **geometry).double() for kind in (DepthwiseConv2d, nn.Conv2d)
    )
    plain.load_state_dict(fast.state_dict())
    for ours, torch_s in zip(results(fast, x), results(plain, x), strict=True):
        torch.testing.assert_close(ours, torch_s, rtol=1e-10, atol=1e-10)
