"""Backbones by name: their names, what timm knows about them, and which sizes they take."""

import numpy as np
import pytest
import timm
import torch
import torchvision
from timm.layers import resample_abs_pos_embed

from helpers.models import libraries
from helpers.models.libraries import BackboneError

SMALL = "mobilenetv3_small_050"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("resnet18", "resnet18"),
        ("timm/resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("hf-hub:timm/resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("timm/convnext_tiny", "convnext_tiny"),
        ("efficientnet_lite2", "efficientnet_lite2"),
    ],
)
def test_a_backbone_has_one_name(given, name):
    assert libraries.canonical(given) == name
    assert libraries.canonical(name) == name


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("convnext_tny", "convnext_tiny"),
        ("efficientnet_lite9", "efficientnet_lite"),
        ("resnet18.a9_in1k", "resnet18.a"),
        ("torchvision/resnet50", "resnet50"),
        ("hf-hub:somebody/resnet18", "resnet18"),
        ("", "timm.list_models()"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(given, near):
    with pytest.raises(BackboneError) as error:
        libraries.canonical(given)
    said = str(error.value)
    assert repr(given) in said and near in said


def test_resnet18_is_torchvision_s_with_its_mean_and_deviation():
    own, theirs = libraries.trunk("resnet18"), torchvision.models.resnet18(weights=None)
    state = libraries.fitted("resnet18", theirs.state_dict(), 64)
    own.load_state_dict(state)
    theirs.fc, images = torch.nn.Identity(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(own.eval()(images), theirs.eval()(images))
    transforms = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    assert libraries.normalisation("resnet18") == (tuple(transforms.mean), tuple(transforms.std))
    assert libraries.config("resnet18").url == torchvision.models.ResNet18_Weights.DEFAULT.url


def test_the_packaged_weights_expect_what_their_authors_say():
    mean, std = libraries.normalisation("efficientnet_lite1")
    pixels = np.array([0, 127, 255])
    np.testing.assert_allclose((pixels / 255 - mean[0]) / std[0], (pixels - 127) / 128)


@pytest.mark.parametrize(
    ("name", "size", "layer", "layout", "prefix"),
    [
        ("resnet18", 512, "layer4", "maps", 0),
        ("efficientnet_lite0", 1280, "bn2", "maps", 0),
        ("convnext_atto", 320, "norm_pre", "maps", 0),
        ("regnetx_002", 368, "final_conv", "maps", 0),
        (SMALL, 1024, "blocks", "maps", 0),
        # after the last attention nothing but the class token counts
        ("vit_tiny_patch16_224", 192, "blocks.11.norm1", "tokens", 1),
        ("mixer_s32_224", 512, "norm", "tokens", 0),
        ("test_mambaout", 256, "stages", "maps_last", 0),
    ],
)
def test_the_embedding_and_the_last_maps_are_found(name, size, layer, layout, prefix):
    before = torch.get_rng_state()
    found = libraries.anatomy(name, 224 if name.startswith("mixer") else 64)
    assert (found.embedding_size, found.layer) == (size, layer)
    assert (found.layout, found.prefix_tokens) == (layout, prefix)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "size_px"),
    [("convnext_atto", 16), ("vit_tiny_patch16_224", 72), ("cait_xxs24_224", 224)],
)
def test_a_size_or_a_network_that_cannot_be_used_is_refused(name, size_px):
    with pytest.raises(BackboneError, match=name) as error:
        libraries.anatomy(name, size_px)
    assert size_px == 224 or "IMAGE_SIZE_PX=224" in str(error.value)


def test_a_transformer_s_position_embeddings_follow_the_image_size():
    state = timm.create_model("test_vit").state_dict()  # of 160 px, in patches of 16
    fitted = libraries.fitted("test_vit", state, 64)
    expected = resample_abs_pos_embed(state["pos_embed"], [4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(fitted["pos_embed"], expected)
    same = libraries.fitted("test_vit", state, 160)
    for name in ("pos_embed", "cls_token", "blocks.3.attn.qkv.weight"):
        assert torch.equal(same[name], state[name])


@pytest.mark.parametrize("classes", [0, 7, 1000])
def test_weights_fit_whatever_their_head_is_and_without_the_counters_of_batch_norms(classes):
    state = timm.create_model(SMALL, num_classes=classes).state_dict()
    kept = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked") or not classes}
    fitted = libraries.fitted(SMALL, kept, 64)
    assert torch.equal(fitted["conv_stem.weight"], state["conv_stem.weight"])
    assert fitted.keys() == libraries.trunk(SMALL).state_dict().keys()


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_of_another_network_are_refused_with_a_tensor_s_name(change):
    state = timm.create_model(SMALL).state_dict()
    if change == "missing":
        del state["conv_stem.weight"]
    else:
        state["conv_stem.weight" if change == "shape" else "conv_stem.strange"] = torch.zeros(3)
    with pytest.raises(ValueError, match=rf"{SMALL}.*conv_stem"):
        libraries.fitted(SMALL, state, 64)
