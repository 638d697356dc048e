"""Grad-CAM: against captum, and without a trace in the model; PatchCore's maps."""

import copy

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import nn
from torchvision.models import SwinTransformer, resnet18
from torchvision.transforms.functional import gaussian_blur

from helpers.datasets.cache import open_cache
from helpers.explain import attribution
from helpers.explain.attribution import grad_cam, stopping_map
from helpers.explain.maps import make_subject
from helpers.models.backbones import ModelSpec
from helpers.models.weights import find_weights
from helpers.training import patchcore


class Branches(nn.Module):
    """A cell like that of a derived network: branches that are added and concatenated, a skip,
    in-place ReLUs, and an auxiliary head in training."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(True))
        self.narrow = nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6))
        self.wide = nn.Sequential(nn.ReLU(True), nn.Conv2d(6, 6, 3, 1, 2, 2), nn.BatchNorm2d(6))
        self.pool = nn.MaxPool2d(3, 1, 1)
        self.join = nn.Sequential(nn.Conv2d(12, 8, 3, 1, 1), nn.BatchNorm2d(8))
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 2)
        self.auxiliary = nn.Linear(6, 2)

    def forward(self, x):
        x = self.stem(x)
        a = self.narrow(x) + self.pool(x)
        b = self.relu(self.wide(x.clone())) + x
        joined = self.relu(self.join(torch.cat([a, b], dim=1)))
        scores = self.head(self.drop(joined.mean(dim=(2, 3))))
        return (scores, self.auxiliary(a.mean(dim=(2, 3)))) if self.training else scores


def seeded(make, seed=0):
    torch.manual_seed(seed)
    model = make()
    for module in model.modules():  # running statistics as after some training
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def images(n=3, size=64, seed=1):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def oracle(model, layer, x, target_class):
    """Return maps by captum, of a copy without in-place ReLUs: they would change the feature maps
    that it has kept, but not their gradient."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    cam = LayerGradCam(model, model.get_submodule(layer))
    coarse = cam.attribute(x, target=target_class, relu_attributions=True)
    return LayerAttribution.interpolate(coarse, x.shape[2:], "bilinear")[:, 0].detach()


@pytest.mark.parametrize(
    ("make", "layer"),
    [(lambda: resnet18(num_classes=2), "layer4")]
    + [(Branches, layer) for layer in ("join", "wide", "stem.1", "narrow")],
)
def test_maps_agree_with_captum(make, layer):
    model, x = seeded(make), images(size=96)
    for target_class in (0, 1):
        maps = grad_cam(model, x, target_class, layer)
        torch.testing.assert_close(maps, oracle(model, layer, x, target_class))


def test_tokens_are_arranged_row_by_row_without_the_class_token():
    spec = ModelSpec("", "", 2, 96, 3, (), (), 64, "blocks.5.norm1", "tokens", 1)
    tokens = torch.tensor([[0.0, 1, 2, 3, 4], [0.0, 5, 6, 7, 8]])[None].transpose(1, 2)  # (1, 5, 2)
    assert spec.feature_maps(tokens).tolist() == [[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]]


def test_maps_of_channels_last_agree_with_captum():
    sizes = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4]}
    model = seeded(lambda: SwinTransformer(patch_size=[4, 4], num_classes=2, **sizes))
    x, spec = images(size=96), ModelSpec("", "", 2, 96, 3, (), (), 64, "norm", "maps_last")
    maps = grad_cam(model, x, 1, spec.feature_layer, spec.feature_maps)
    assert maps.amax((1, 2)).min() > 0
    torch.testing.assert_close(maps, oracle(model, "permute", x, 1))  # of the layer's output


def state(model):
    return {
        "weights": {name: w.clone() for name, w in model.state_dict().items()},
        "gradients": [w.grad for w in model.parameters()],
        "frozen": [w.requires_grad for w in model.parameters()],
        "training": [module.training for module in model.modules()],
        "hooks": [len(module._forward_hooks) for module in model.modules()],
    }


def test_the_model_is_left_unchanged_even_after_an_error():
    model, x = seeded(Branches), images()
    model.train()
    model.stem.eval()
    model.head.weight.requires_grad_(False)
    before = state(model)
    grad_cam(model, x, 1, "join")
    for layer in ("head", "relu", "auxiliary"):  # no maps, two calls, none in evaluation mode
        with pytest.raises(ValueError, match=f"layer {layer}"):
            grad_cam(model, x, 0, layer)
    with pytest.raises(IndexError):
        grad_cam(model, x, 2, "join")
    after = state(model)
    torch.testing.assert_close(after.pop("weights"), before.pop("weights"), rtol=0, atol=0)
    assert after == before
    assert torch.is_grad_enabled()


def test_batches_training_mode_frozen_weights_and_a_surrounding_no_grad_do_not_matter(monkeypatch):
    model, x = seeded(Branches), images()
    expected = grad_cam(model, x, 1, "join")
    monkeypatch.setattr(attribution, "at_once", lambda size_px: 2)
    assert expected.shape == (3, 64, 64)
    torch.testing.assert_close(grad_cam(model.train(), x, 1, "join"), expected)
    model.requires_grad_(False)
    for surrounding in (torch.no_grad(), torch.inference_mode()):
        with surrounding:
            torch.testing.assert_close(grad_cam(model, x * 1, 1, "join"), expected)
            assert not torch.is_grad_enabled()


def test_the_mean_of_the_difference_map_and_the_biases_are_the_difference_of_the_scores():
    model, x = seeded(lambda: resnet18(num_classes=2)), images(size=96)
    maps = grad_cam(model, x, 1, "layer4", against=0)
    good, bad = (model(x) - model.fc.bias).detach().T
    torch.testing.assert_close(maps.mean((1, 2)), bad - good)


SIZE_PX = 128  # the network of the subject sees 32


@pytest.fixture(scope="module")
def memory(split, subject, tmp_path_factory):
    """PatchCore of the good parts, and the parts of the subject."""
    cache = open_cache(split, SIZE_PX, tmp_path_factory.mktemp("cache"))
    network = patchcore.fit(find_weights("efficientnet_lite2"), cache, split, 0.1, 0).network
    return make_subject(network, cache, subject.parts, 0.5)


def test_an_anomaly_map_is_the_smoothed_patch_distance_in_usual_scores(memory):
    ids, model = memory.parts.id[:3], memory.model
    with torch.no_grad():
        distances = model.bank.distances(model.features(memory.images(ids)))[0] / model.usual
    found = memory.maps(ids, 1)
    assert found.shape == (3, SIZE_PX, SIZE_PX)
    fine = nn.functional.interpolate(distances[:, None], (SIZE_PX, SIZE_PX), mode="bilinear")[:, 0]
    inside = np.s_[:, 28:-28, 28:-28]  # the border is continued in another way
    assert not found[:, :8].any() and found[:, 8:-8, 8:-8].all()  # the outer ring of patches
    expected = gaussian_blur(fine, 33, 4.0)[inside]
    torch.testing.assert_close(found[inside], expected, rtol=1e-3, atol=1e-3)


def test_a_map_marks_the_fewest_places_that_stop_a_part(subject):
    inside = np.repeat([False, True], [4 * 32, 28 * 32]).reshape(32, 32)
    for image in subject.images(subject.parts.id[:6]).split(1):
        assert not stopping_map(subject.model, image, 0.6, 0.6, inside).any()  # it passes
        heat = stopping_map(subject.model, image, 0.6, 0.3, inside)
        rise = grad_cam(subject.model, image, 1, "features.4", against=0)[0, 4:].double()
        rise += np.log(0.6 / 0.4) - np.log(0.3 / 0.7) - rise.mean()  # above the threshold
        marked, rest = rise[heat[4:] > 0].sort().values, rise[heat[4:] == 0]
        torch.testing.assert_close(heat[heat > 0].sort().values, marked)
        assert rest.sum() <= 0 < rest.sum() + marked[0] and rest.max() <= marked[0]


def test_patchcore_s_map_marks_the_places_that_are_farther_than_the_threshold(memory, monkeypatch):
    image, whole = memory.images(memory.parts.id[:1]), np.ones((SIZE_PX, SIZE_PX), bool)
    distances = attribution.anomaly_maps(memory.model, image)[0].double()
    heat = stopping_map(memory.model, image, 0.6, 0.5, whole)
    expected = 1.5 * distances / distances.max()  # a score of 0.6 has 1.5 times the odds of 0.5
    torch.testing.assert_close(heat.exp(), expected.clamp(min=1))
    same = memory.model.inside[None]  # distances, so a map that is nowhere lower
    monkeypatch.setattr(patchcore.MemoryBank, "distances", lambda *_: (same, None))
    marked = stopping_map(memory.model, image, 0.6, 0.5, whole)[8:-8, 8:-8]
    torch.testing.assert_close(marked.exp(), torch.full_like(marked, 1.5), rtol=1e-6, atol=0)
