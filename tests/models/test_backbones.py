import socket
from unittest.mock import Mock

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from helpers.core import files, tensors
from helpers.core.errors import UserError
from helpers.explain.attribution import grad_cam
from helpers.models import backbones
from helpers.models.weights import find_weights

KINDS = ["resnet18", "efficientnet_lite2", "convnext_atto", "regnetx_002"]
KINDS += ["mobilenetv3_small_050", "vit_tiny_patch16_224", "test_mambaout"]


def test_the_two_layer_cnn_has_the_parameters_counted_by_hand():
    model = backbones.build(backbones.spec_of("cnn", 2, 64, in_channels=1))
    first, second = 16 * 1 * 25 + 16, 32 * 16 * 25 + 32
    hidden = (32 * 16 * 16) * 1000 + 1000 + 1000 * 1000 + 1000
    head = 1000 * 2 + 2
    assert sum(p.numel() for p in model.parameters()) == first + second + hidden + head


@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_scores_from_its_embedding_has_maps_and_its_checkpoint_needs_nothing_else(
    tmp_path, monkeypatch, kind
):
    weights = find_weights(kind, "random", 64)
    model = backbones.pretrained(weights, 2, 64).eval()
    backbones.save_model(tmp_path / "m.safetensors", model)

    # neither a file nor the network is asked for weights, and no library for facts
    refuse = Mock(side_effect=AssertionError)
    monkeypatch.setattr(backbones, "anatomy", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    loaded = backbones.load_model(tmp_path / "m.safetensors")
    assert loaded.spec == model.spec
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        embedding = model.embed(images)
        torch.testing.assert_close(model(images), model.head(embedding))
        torch.testing.assert_close(loaded(images), model(images))
    assert embedding.shape == (2, model.spec.embedding_size)
    looks = [
        grad_cam(loaded, images, label, loaded.spec.feature_layer, loaded.spec.feature_maps)
        for label in (0, 1)  # nothing may support one of the classes
    ]
    assert looks[0].shape == (2, 64, 64) and max(map(torch.std, looks)) > 0


@pytest.mark.parametrize(
    "change",
    [
        {"options": {"checkpoint_path": "evil.pth"}},
        {"options": {"img_size": 16, "pretrained": True}},
        {"kind": "local-dir:evil"},
        {"kind": "hf-hub:somebody/network"},
    ],
)
def test_a_checkpoint_cannot_make_a_library_read_other_files(tmp_path, monkeypatch, change):
    model = backbones.build(backbones.spec_of("test_vit", 2, 16))
    backbones.save_model(file := tmp_path / "m.safetensors", model)
    state, info = tensors.load_tensors(file)
    tensors.save_tensors(file, state, {"spec": info["spec"] | change})
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("timm builds it"))
    with pytest.raises(files.ArtifactError, match="does not hold a model: "):
        backbones.load_model(file)


def test_a_network_of_a_user_s_own_is_not_built_from_its_checkpoint():
    own = backbones.own_network(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), 4, 1)
    with pytest.raises(UserError, match="a network of your own: its class is in your notebook"):
        backbones.build(own.spec)


WRITERS = {
    "README.md": lambda path: path.write_text("# Parts\n" * 100),
    "w.safetensors": lambda path: save_file({"w": torch.zeros(3)}, path),
    "state": lambda path: tensors.save_state(path, {"key": "k", "loop": {}}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_user_s_file_that_is_not_a_checkpoint_is_not_to_be_deleted(home, tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    with pytest.raises(files.ArtifactError) as error:
        backbones.load_model(path)
    said = str(error.value)
    assert said.startswith(f"{path} is not a {backbones.CHECKPOINT}") and "delete" not in said


def test_multiply_adds_of_hand_counted_networks():
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1),  # 5x5 -> 3x3: 6 * 9 values of 2 * 9 products
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),  # 6 * 9 values of 9 products
        nn.Flatten(),
        nn.Linear(54, 5),
    )
    assert backbones.count_macs(model, 5, in_channels=2) == 54 * 18 + 54 * 9 + 54 * 5
    # an attention block, whose linear modules never run; its tokens are maps
    block = nn.TransformerEncoderLayer(16, 2, dim_feedforward=24, batch_first=True)
    model = nn.Sequential(nn.Conv2d(3, 6, 2, stride=2), nn.Flatten(2), block)
    by_hand = 6 * (16 * 12 + 4 * 16 * 16 + 2 * 16 * 24)  # maps; q, k, v and output; two layers
    assert backbones.count_macs(model, 8) == by_hand


def test_counting_leaves_modes_statistics_and_hooks_alone():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    network[2].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    backbones.count_macs(network, 16)
    assert [module.training for module in network.modules()] == [True, True, True, False]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_layout_a_way_to_read_and_a_precision_that_do_not_exist_are_refused():
    about = ("x", "cnn", 2, 16, 1, (0.5,), (0.25,), 4, "conv")
    assert (
        backbones.ModelSpec(*about).feature_layout == "maps" and backbones.Facts(views=8).views == 8
    )
    with pytest.raises(ValueError, match="feature_layout"):
        backbones.ModelSpec(*about, feature_layout="map")
    for wrong in ({"fit": "crop"}, {"views": 3}, {"precision": "half"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            backbones.Facts(**wrong)
