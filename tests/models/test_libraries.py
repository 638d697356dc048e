"""Backbones by name: their names, what the libraries know about them, and which sizes they take."""

import copy

import numpy as np
import pytest
import timm
import torch
import torchvision
from timm.layers import resample_abs_pos_embed

from helpers.models import libraries
from helpers.models.libraries import BackboneError


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("resnet18", "resnet18"),
        ("torchvision/resnet18", "resnet18"),
        ("timm/resnet18", "timm/resnet18"),
        ("timm/resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("hf-hub:timm/resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("hf-hub:timm/resnet18", "timm/resnet18"),
        ("convnext_tiny", "convnext_tiny"),
        ("timm/convnext_tiny", "convnext_tiny"),
        ("torchvision/convnext_tiny", "torchvision/convnext_tiny"),
        ("efficientnet_lite2", "efficientnet_lite2"),
        ("timm/efficientnet_lite0", "timm/efficientnet_lite0"),  # without "tf_", timm's own
    ],
)
def test_a_backbone_has_one_name(given, name):
    assert libraries.canonical(given) == name
    assert libraries.canonical(name) == name


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("convnext_tny", ": did you mean convnext_tiny or "),
        ("timm/convnext_tny", ": did you mean convnext_tiny or "),
        ("efficientnet_lite9", ": did you mean efficientnet_lite"),
        ("resnet18.a9_in1k", ": did you mean resnet18.a"),
        ("squeezenet1_1", ": did you mean torchvision/squeezenet1_1"),
        ("torchvision/resnet19", ": did you mean torchvision/resnet18 or "),
        ("torchvision/vit_tiny_patch16_224", "torchvision"),
        ("hub/resnet18", ": did you mean "),
        ("hf-hub:somebody/resnet18", "torchvision"),
        ("", " (timm.list_models() and torchvision.models.list_models() list them)"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(given, near):
    with pytest.raises(BackboneError) as error:
        libraries.canonical(given)
    said = str(error.value)
    assert said.startswith(f"{given!r} is not a backbone of timm or torchvision") and near in said


def test_a_classifier_with_further_outputs_is_refused_with_this_reason():
    with pytest.raises(BackboneError, match="inception_v3 has further outputs in training"):
        libraries.canonical("torchvision/inception_v3")


@pytest.mark.parametrize("name", ["timm/resnet18", "vit_tiny_patch16_224", "resnet18"])
def test_mean_and_deviation_are_the_libraries_own(name):
    mean, std = libraries.normalisation(name)
    if name == "resnet18":
        transforms = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
        assert mean == tuple(transforms.mean) and std == tuple(transforms.std)
    else:
        config = timm.create_model(name.removeprefix("timm/")).pretrained_cfg
        assert (mean, std) == (config["mean"], config["std"])


def test_the_packaged_weights_expect_what_their_authors_say():
    mean, std = libraries.normalisation("efficientnet_lite1")
    pixels = np.array([0, 127, 255])
    np.testing.assert_allclose((pixels / 255 - mean[0]) / std[0], (pixels - 127) / 128)


@pytest.mark.parametrize(
    ("name", "size", "layer", "layout", "prefix"),
    [
        ("resnet18", 512, "layer4", "maps", 0),
        ("timm/resnet18", 512, "layer4", "maps", 0),
        ("efficientnet_lite0", 1280, "bn2", "maps", 0),
        ("convnext_atto", 320, "norm_pre", "maps", 0),
        ("regnetx_002", 368, "final_conv", "maps", 0),
        ("mobilenetv3_small_050", 1024, "blocks", "maps", 0),
        ("torchvision/mobilenet_v3_small", 1024, "features", "maps", 0),
        # after the last attention nothing but the class token counts
        ("vit_tiny_patch16_224", 192, "blocks.11.norm1", "tokens", 1),
        ("test_mambaout", 256, "stages", "maps_last", 0),
    ],
)
def test_the_embedding_and_the_last_maps_are_found(name, size, layer, layout, prefix):
    found = libraries.anatomy(name, 64)
    assert (found.embedding_size, found.layer) == (size, layer)
    assert (found.layout, found.prefix_tokens) == (layout, prefix)


def test_looking_at_a_backbone_draws_no_random_number():
    libraries.anatomy.cache_clear()
    before = torch.get_rng_state()
    libraries.anatomy("mobilenetv3_small_050", 32)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "size_px", "reason"),
    [
        ("convnext_atto", 16, "Kernel size"),  # nothing is left after five halvings
        ("vit_tiny_patch16_224", 72, "it does not see the right or lower edge"),
        ("convit_tiny", 64, "its weights do not follow the size"),
        ("torchvision/vit_b_32", 64, "Wrong image height"),
    ],
)
def test_a_size_that_a_backbone_cannot_take_is_refused_with_one_that_it_can(name, size_px, reason):
    with pytest.raises(BackboneError) as error:
        libraries.anatomy(name, size_px)
    said = str(error.value)
    assert said.startswith(f"{name} cannot take images of {size_px} px (") and reason in said
    assert "set IMAGE_SIZE_PX=224, the size of its pretraining, or choose another" in said


def test_a_transformer_s_position_embeddings_follow_the_image_size():
    state = libraries.network("test_vit").state_dict()  # of 160 px, in patches of 16
    fitted = libraries.fitted("test_vit", state, 64)
    expected = resample_abs_pos_embed(state["pos_embed"], [4, 4], num_prefix_tokens=1)
    assert fitted["pos_embed"].shape == (1, 1 + 4 * 4, 64)
    torch.testing.assert_close(fitted["pos_embed"], expected)
    same = libraries.fitted("test_vit", state, 160)
    assert torch.equal(same["pos_embed"], state["pos_embed"])
    for name in ("cls_token", "blocks.3.attn.qkv.weight"):
        assert torch.equal(fitted[name], state[name]) and torch.equal(same[name], state[name])


def test_weights_fit_whatever_their_head_is_and_without_the_counters_of_batch_norms():
    state = timm.create_model("mobilenetv3_small_050", num_classes=7).state_dict()
    kept = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}
    assert len(kept) < len(state)
    fitted = libraries.fitted("mobilenetv3_small_050", kept, 64)
    assert torch.equal(fitted["conv_stem.weight"], state["conv_stem.weight"])
    assert not any(name.startswith("classifier.") for name in fitted)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_of_another_network_are_refused_with_a_tensor_s_name(change):
    state = libraries.network("mobilenetv3_small_050").state_dict()
    if change == "missing":
        del state["conv_stem.weight"]
    else:
        name = "conv_stem.weight" if change == "shape" else "conv_stem.strange"
        state[name] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"it does not fit mobilenetv3_small_050, e\.g\. conv_st"):
        libraries.fitted("mobilenetv3_small_050", state, 64)


def test_densenet_s_published_names_of_layers_are_understood(monkeypatch):
    small = {"growth_rate": 2, "block_config": (1, 1), "num_init_features": 4}
    network = torchvision.models.DenseNet(**small)
    monkeypatch.setattr(torchvision.models, "get_model", lambda *_, **__: copy.deepcopy(network))
    libraries.anatomy.cache_clear()
    state = network.state_dict()
    old = {n.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): state[n] for n in state}
    assert old.keys() != state.keys()
    fitted = libraries.fitted("torchvision/densenet121", old, 64)
    libraries.anatomy.cache_clear()
    name = "features.denseblock1.denselayer1.norm1.weight"
    assert torch.equal(fitted[name], state[name])
