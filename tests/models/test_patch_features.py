"""Patch features: the layers they come from, by hand, and compiled."""

from importlib.util import find_spec

import pytest
import timm
import torch
import torch.nn.functional as F

from helpers.models import backbones, compiled
from helpers.models.patch_features import NoMiddleLayersError, middle_layers, patch_features
from helpers.training.inference import Scorer

SWIN = "swin_tiny_patch4_window7_224"  # its maps are (B, H, W, C)


def _backbone(kind="resnet18", size_px=64):
    torch.manual_seed(0)
    return backbones.build(backbones.spec_of(kind, 2, size_px)).eval()


def _timm_model(name, size_px=64, **options):
    trunk = timm.create_model(name, num_classes=0, **options)
    spec = backbones.ModelSpec(
        name, name, 2, size_px, 3, (0.5,) * 3, (0.25,) * 3, trunk.num_features, "trunk"
    )
    return backbones.PretrainedClassifier(trunk, spec).eval()


@pytest.mark.parametrize(
    ("kind", "layers", "channels"),
    [
        ("resnet18", ("trunk.layer2", "trunk.layer3"), 128 + 256),
        ("efficientnet_lite0", ("trunk.blocks.2", "trunk.blocks.4"), 40 + 112),
    ],
)
def test_the_layers_are_the_last_of_stride_8_and_16(kind, layers, channels):
    model = _backbone(kind)
    assert middle_layers(model) == layers
    with torch.no_grad():
        assert patch_features(model, torch.randn(2, 3, 64, 64), layers).shape == (2, channels, 8, 8)


@pytest.mark.parametrize(
    ("name", "channels"), [("convnext_atto", 80 + 160), ("regnetx_002", 56 + 152)]
)
def test_other_models_of_timm_tell_their_layers_themselves(name, channels):
    model = _timm_model(name)
    with torch.no_grad():
        found = patch_features(model, torch.randn(1, 3, 64, 64), middle_layers(model))
    assert found.shape == (1, channels, 8, 8)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: _timm_model("vit_tiny_patch16_224", 224, depth=2), "no stage of stride 8, .* 16$"),
        (lambda: _timm_model(SWIN, 224, embed_dim=24, depths=(1,) * 4), r"need maps \(B, 48, H, W"),
    ],
)
def test_networks_without_such_maps_are_refused_with_a_reason(model, reason):
    with pytest.raises(NoMiddleLayersError, match=reason):
        middle_layers(model())


def test_features_are_the_layers_own_averaged_upsampled_and_joined_and_no_hook_stays():
    model, images = _backbone(), torch.randn(2, 3, 72, 72)  # maps of 9 x 9 and 5 x 5
    trunk = model.trunk
    with torch.no_grad():
        found = patch_features(model, images, middle_layers(model))
        stem = trunk.maxpool(trunk.act1(trunk.bn1(trunk.conv1(images))))
        fine = trunk.layer2(trunk.layer1(stem))
        coarse = trunk.layer3(fine)
    assert found.shape == (2, 384, 9, 9)
    torch.testing.assert_close(found[:, :128, 4, 6], fine[:, :, 3:6, 5:8].mean((2, 3)))
    torch.testing.assert_close(found[:, :128, 0, 0], fine[:, :, :2, :2].mean((2, 3)))  # a corner
    padded = F.pad(coarse, (1, 1, 1, 1), value=torch.nan)
    averaged = torch.stack(
        [
            padded[:, :, i : i + 3, j : j + 3].flatten(2).nanmean(2)
            for i in range(5)
            for j in range(5)
        ],
        dim=2,
    ).reshape(2, 256, 5, 5)
    expected = F.interpolate(averaged, (9, 9), mode="bilinear")
    torch.testing.assert_close(found[:, 128:], expected)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.skipif(not find_spec("openvino"), reason="networks are compiled by OpenVINO")
def test_many_images_go_through_the_compiled_network():
    model, images = _backbone(), torch.randn(3, 3, 64, 64)
    layers = middle_layers(model)
    scorer = Scorer(model, precision="no", images=compiled.WORTH_IT_FROM)

    def function(batch):
        return patch_features(model, batch, layers)

    with torch.no_grad():
        expected = function(images)
    torch.testing.assert_close(scorer.run(function, images), expected, rtol=1e-4, atol=1e-4)
    assert scorer._compiled and scorer._compile
