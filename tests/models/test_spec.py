"""Counts of parameters and multiply-adds against counts by hand."""

import pytest
import torch
from torch import nn

from helpers.models.spec import Facts, ModelSpec, count_macs


def test_multiply_adds_of_a_hand_counted_network():
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1),  # 5x5 -> 3x3: 6 * 9 values of 2 * 9 products
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),  # 6 * 9 values of 9 products
        nn.Flatten(),
        nn.Linear(54, 5),
    )
    assert count_macs(model, 5, in_channels=2) == 54 * 18 + 54 * 9 + 54 * 5


def test_linear_layers_of_an_attention_block_are_counted_though_their_modules_never_run():
    block = nn.TransformerEncoderLayer(16, 2, dim_feedforward=24, batch_first=True)
    model = nn.Sequential(nn.Conv2d(3, 6, 2, stride=2), nn.Flatten(2), block)  # a map is a token
    by_hand = 6 * (16 * 12 + 4 * 16 * 16 + 2 * 16 * 24)  # maps; q, k, v and output; two layers
    assert count_macs(model, 8) == by_hand


def test_counting_leaves_modes_statistics_and_hooks_alone():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    network[2].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    count_macs(network, 16)
    assert [module.training for module in network.modules()] == [True, True, True, False]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_layout_a_way_to_read_and_a_precision_that_do_not_exist_are_refused():
    about = ("x", "cnn", 2, 16, 1, (0.5,), (0.25,), 4, "conv")
    assert ModelSpec(*about).feature_layout == "maps" and Facts(views=8).views == 8
    with pytest.raises(ValueError, match="feature_layout"):
        ModelSpec(*about, feature_layout="map")
    for wrong in ({"fit": "crop"}, {"views": 3}, {"precision": "half"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Facts(**wrong)
