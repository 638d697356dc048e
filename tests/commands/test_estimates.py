"""Estimates of disk and memory against counts by hand and against the networks themselves."""

import pytest
import torch

from helpers.commands import estimates
from helpers.commands.estimates import Images
from helpers.darts import genotypes
from helpers.darts.network import DerivedNetwork
from helpers.darts.supernet import Supernet
from helpers.models import backbones
from helpers.runs import settings as config


def _settings(preset="quick", **given):
    """Settings of all stages; `given` are fields, for the stages that have them."""
    found = {}
    for stage, kind in config.STAGES.items():
        own = {k: v for k, v in given.items() if k in kind.__dataclass_fields__}
        found[stage] = config.resolve(stage, preset, own)
    return found


def _saved_bytes(model, shape):
    """Bytes that autograd keeps for the backward pass, without the weights."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept, sizes = [], {}

    def pack(tensor):
        """Note a tensor's memory once and keep it alive, so that its address stays its own."""
        kept.append(tensor)
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.train()(torch.randn(shape))
    return sum(sizes.values())


def test_caches_and_features_are_counted_by_hand():
    settings = _settings(image_size_px=100, cnn_image_size_px=50, retrain_image_size_px=100)
    needed = estimates.disk_bytes(settings, Images(1000, 1), "resnet18")
    assert needed["images"] == 1000 * (100 * 100 + 50 * 50)
    assert needed["features"] == 2 * 1000 * 512 * 4
    colour = estimates.disk_bytes(settings, Images(1000, 3, frozenset({50})), "resnet18")
    assert colour["images"] == 1000 * 100 * 100 * 3


def test_the_smoke_preset_takes_only_its_part_of_the_images():
    needed = estimates.disk_bytes(_settings("smoke"), Images(30_000, 1), "resnet18")
    assert needed["features"] == 2 * 240 * 512 * 4


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
def test_the_backbones_factors_are_those_of_the_networks(backbone):
    spec = backbones.spec_of(backbone, 2, 64)
    model = backbones.build(spec)
    assert estimates.EMBEDDING_SIZES[backbone] == spec.embedding_size
    count = sum(p.numel() for p in model.parameters())
    assert estimates.PARAMETERS[backbone] == pytest.approx(count, rel=0.02)
    per_pixel = _saved_bytes(model, (2, 3, 64, 64)) / (2 * 64 * 64)
    assert estimates.ACTIVATION_BYTES[backbone] == pytest.approx(per_pixel, rel=0.1)


def test_the_cnn_s_weights_are_counted_exactly_enough():
    settings = _settings(cnn_image_size_px=64)
    model = backbones.build(backbones.spec_of("cnn", 2, 64, in_channels=1))
    count = sum(p.numel() for p in model.parameters())
    guess = estimates._parameters(settings, Images(1, 1), "resnet18")["cnn"]
    assert guess == pytest.approx(count, rel=0.01)
    per_pixel = _saved_bytes(model, (2, 1, 64, 64)) / (2 * 64 * 64)
    assert estimates.ACTIVATION_BYTES["cnn"] == pytest.approx(per_pixel, rel=0.15)


def test_networks_of_cells_are_guessed_within_a_third():
    settings = _settings(retrain_channels=16, retrain_layers=5, channels=8, layers=6)
    guess = estimates._parameters(settings, Images(1, 1), "resnet18")
    derived = DerivedNetwork(genotypes.PUBLISHED["DARTS_V2"], 16, 5, 2, 1)
    for name, model in (("cells", derived), ("supernet", Supernet(8, 6, 2, in_channels=1))):
        count = sum(p.numel() for p in model.parameters())
        assert guess[name] == pytest.approx(count, rel=0.33)
    per_pixel = _saved_bytes(derived, (2, 1, 96, 96)) / (2 * 96 * 96 * 16 * 5)
    assert pytest.approx(per_pixel, rel=0.1) == estimates.CELL_BYTES


def test_memory_grows_with_batch_and_size_and_shrinks_with_bf16():
    images, stage = Images(2624, 1), "03_finetuning"

    def needed(precision="no", **given):
        """Bytes of notebook 03."""
        settings = _settings(**given)
        return estimates.memory_bytes(settings, images, "efficientnet_lite0", precision)[stage]

    base = needed()
    weights = 16 * estimates.PARAMETERS["efficientnet_lite0"]
    assert needed(batch_size=64) - weights == pytest.approx(2 * (base - weights), rel=1e-6)
    assert needed(image_size_px=384) - weights == pytest.approx(4 * (base - weights), rel=1e-6)
    assert needed("bf16") < base


def test_memory_of_the_quick_run_is_near_what_was_measured():
    stages = estimates.memory_bytes(_settings(), Images(2624, 1), "efficientnet_lite0", "bf16")
    total_gb = (max(stages.values()) + estimates.PROCESS_BYTES) / 1e9
    assert total_gb == pytest.approx(2.2, abs=0.4)  # README: at most 2.2 GB


def test_partial_channels_and_the_first_order_need_less_in_the_search():
    images, stage = Images(2624, 1), "04_darts_search"

    def needed(**given):
        """Bytes of the search."""
        given = {"image_size_px": 32, "channels": 16, "layers": 8, "batch_size": 32} | given
        return estimates.memory_bytes(_settings(**given), images, "resnet18", "no")[stage]

    assert needed(partial=4) < needed() < needed(order=2)
    # README's table: 1.7 GB and 2.0 GB
    assert needed() / 1e9 == pytest.approx(1.7, abs=0.1)
    assert needed(order=2) / 1e9 == pytest.approx(2.0, abs=0.1)
