"""Batch norm over rows of pixels against torch's function over maps."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.models import batch_norm as batch_norm_module
from helpers.models.batch_norm import BatchNorm2d, batch_norm

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


def training_step(module, x, direction):
    """Result and gradients of a step, and the running statistics after it, in float64."""
    torch.nn.init.normal_(module.weight, generator=torch.Generator().manual_seed(0))
    module.to(torch.promote_types(x.dtype, torch.float32))
    out = module(own := x.clone().requires_grad_())
    out.backward(direction.to(x.dtype))
    found = [out, own.grad, module.weight.grad, module.bias.grad, *module.state_dict().values()]
    return [value.detach().double() for value in found]


@pytest.fixture
def always(monkeypatch):
    """Take the module's own way for small maps too."""
    monkeypatch.setattr(batch_norm_module, "SMALL", 0)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("channels", [4, 12, 24])
def test_a_training_step_of_the_module_is_that_of_torch_s(channels):
    x, direction = 3 + torch.randn(2, 4, channels, 8, 4, dtype=torch.float64)
    ours = training_step(BatchNorm2d(channels), x, direction)
    theirs = training_step(nn.BatchNorm2d(channels), x, direction)
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("channels", [4, 12, 24])
def test_in_bf16_the_module_rounds_about_as_little_as_torch_s(channels):
    x, direction = (3 + torch.randn(2, 4, channels, 8, 4)).bfloat16()
    exact = training_step(nn.BatchNorm2d(channels), x.double(), direction)
    ours, theirs = (
        [(a - b).abs().max().item() for a, b in zip(found, exact, strict=True)]
        for found in (
            training_step(BatchNorm2d(channels), x, direction),
            training_step(nn.BatchNorm2d(channels), x, direction),
        )
    )
    assert all(own <= 3 * other + 1e-6 for own, other in zip(ours, theirs, strict=True))


def test_few_channels_of_large_maps_are_folded_and_all_else_is_left_to_torch(monkeypatch):
    shapes = []
    own = batch_norm_module._Folded.apply
    monkeypatch.setattr(
        batch_norm_module._Folded,
        "apply",
        lambda x, *rest: shapes.append(x.shape[1]) or own(x, *rest),
    )
    BatchNorm2d(12)(torch.randn(2, 12, 4, 4))
    monkeypatch.setattr(batch_norm_module, "SMALL", 0)
    for channels in (12, 16, 32):  # 16 numbers of float32 are a vector
        BatchNorm2d(channels)(torch.randn(2, channels, 4, 4))
    BatchNorm2d(12).eval()(torch.randn(2, 12, 4, 4))
    BatchNorm2d(12)(torch.randn(3, 12, 3, 3))  # 27 pixels are no rows of 4
    assert shapes == [12]
