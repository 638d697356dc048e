"""Parts of pretrained networks are backbones by name."""

import pytest
import torch

from helpers.models import backbones, weights
from helpers.models.spec import count_macs
from helpers.models.subnets import Subnet, divided

BASE = "efficientnet_lite0"


@pytest.mark.parametrize("stride", [32, 16])
def test_a_name_says_what_is_kept(stride):
    kept = Subnet((1, 1, 2, 2, 3, 4, 1), stride)
    assert divided(kept.of(BASE)) == (BASE, kept)
    for whole in (BASE, "regnetz_d8", "timm/regnetz_d8"):  # the last are timm's own names
        assert divided(whole) == (whole, None)
    assert weights.canonical(kept.of(BASE)) == kept.of(BASE)
    maps = "" if stride == 32 else ", maps of 1/16"
    assert weights.title(kept.of(BASE)) == f"EfficientNet-Lite0 with 1-1-2-2-3-4-1 blocks{maps}"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (f"{BASE}_d1223351", "at most so many blocks: _d1223341"),
        (f"{BASE}_d122", "at most so many blocks: _d1223341"),
        ("resnet18_d11", "only networks in stages"),
        ("efficientnet_lita0_d1223341", "efficientnet_lite0"),
    ],
)
def test_a_part_that_a_network_does_not_have_is_refused(name, told):
    with pytest.raises(weights.BackboneError, match=told):
        weights.canonical(name)


def test_the_part_with_all_blocks_is_the_whole_network():
    image = torch.randn(1, 3, 64, 64)
    whole, part = (
        backbones.pretrained(weights.find_weights(name, image_size_px=64), 2, 64).eval()
        for name in (BASE, f"{BASE}_d1223341")
    )
    with torch.no_grad():
        torch.testing.assert_close(whole.embed(image), part.embed(image))


def test_a_part_keeps_the_first_blocks_and_larger_maps_cost_what_is_counted_by_hand(tmp_path):
    name = f"{BASE}_d1222341"  # the fourth stage without its last block
    found = weights.find_weights(name, image_size_px=64)
    whole = weights.find_weights(BASE, image_size_px=64)
    missing = whole.state.keys() - found.state.keys()
    assert missing and all(key.startswith("blocks.3.2.") for key in missing)
    assert found.origin == whole.origin and found.origin.startswith("package ")
    macs = [count_macs(backbones.pretrained(given, 2, 64), 64) for given in (whole, found)]
    side, width, wide = 64 // 16, 80, 6 * 80  # of the block's maps, its channels, those inside
    assert macs[0] - macs[1] == side**2 * (width * wide + 9 * wide + wide * width)
    finer = backbones.spec_of(f"{name}_s16", 2, 64)
    model = backbones.build(finer).eval()
    assert model.trunk.forward_features(torch.zeros(1, 3, 64, 64)).shape[-1] == 4
    backbones.save_model(tmp_path / "m.safetensors", model)
    assert backbones.load_model(tmp_path / "m.safetensors").spec == finer
