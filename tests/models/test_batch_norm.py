"""Batch norm over rows of pixels against torch's function over maps."""

import pytest
import torch
import torch.nn.functional as F

from helpers.models.batch_norm import batch_norm

SHAPES = {
    "channels fill the vectors": (3, 16, 4, 4),
    "rows of four pixels": (4, 4, 4, 4),
    "rows of two pixels": (2, 24, 3, 4),
    "pixels do not fill the rows": (3, 12, 3, 3),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("with_scale", [True, False])
def test_values_and_derivatives_are_those_of_torch(shape, with_scale):
    x = (3 + torch.randn(shape, dtype=torch.float64)).requires_grad_()
    scale = torch.rand(shape[1], dtype=torch.float64, requires_grad=True) if with_scale else None
    inputs = [x] if scale is None else [x, scale]
    out = batch_norm(x, scale)
    expected = F.batch_norm(x, None, None, scale, None, training=True)
    assert torch.allclose(out, expected, rtol=1e-12, atol=1e-12)
    weights, direction = torch.randn(2, *shape, dtype=torch.float64)
    for first, second in zip(
        *(derivatives(y, inputs, weights, direction) for y in (out, expected)), strict=True
    ):
        assert torch.allclose(first, second, rtol=1e-9, atol=1e-9)


def derivatives(y, inputs, weights, direction):
    """Gradients of a loss, then those of the product of its gradient by x and a direction."""
    loss = (weights * y.square()).sum()
    first = torch.autograd.grad(loss, inputs, create_graph=True)
    return *first, *torch.autograd.grad((first[0] * direction).sum(), inputs)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_result_stays_channels_last(shape):
    x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    assert batch_norm(x).is_contiguous(memory_format=torch.channels_last)
