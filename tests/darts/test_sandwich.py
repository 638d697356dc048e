"""All parts of a pretrained network in one training, and the choice of the best."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.core import paths, work
from helpers.darts import sandwich
from helpers.darts.sandwich import Candidate, SandwichLoss, Shared, Space
from helpers.datasets.cache import open_cache
from helpers.models import backbones
from helpers.models.spec import Network, count_macs
from helpers.models.subnets import Subnet
from helpers.models.weights import find_weights
from helpers.training.loop import Loss
from helpers.training.settings import TrainSettings
from tests.conftest import split_of

BASE = "efficientnet_lite0"
PART = Candidate(Subnet((1, 2, 1, 2, 3, 1, 1), 16), 48)


@pytest.fixture(scope="module")
def space():
    return Space(find_weights(BASE, "random", 64), sizes_px=(32, 48, 64))


def alone(shared: Shared, candidate: Candidate) -> Network:
    """Return the part as a network of its own, built by its name, with the shared weights."""
    name = candidate.kept.of(BASE)
    network = backbones.build(backbones.spec_of(name, 2, candidate.size_px))
    state = shared.whole.state_dict()
    network.load_state_dict({key: state[key] for key in network.state_dict()})
    return network.eval()


def test_a_part_scores_as_the_network_of_its_name_does(space):
    shared, images = Shared(space, seed=0).eval(), torch.randn(2, 3, 48, 48)
    assert space.macs[PART] == count_macs(alone(shared, PART), PART.size_px)
    with torch.no_grad():
        torch.testing.assert_close(shared.scores(PART, images), alone(shared, PART)(images))
        whole = shared.scores(space.candidates[-1], torch.randn(2, 3, 64, 64))
    assert whole.shape == (2, 2)
    assert [len(stage) for stage in shared.whole.trunk.blocks] == [1, 2, 2, 3, 3, 4, 1]
    strides = [stage[0].conv_dw.stride[0] for stage in shared.whole.trunk.blocks]
    assert strides == [1, 2, 2, 2, 1, 2, 1]  # as before


def test_a_step_computes_the_largest_the_smallest_and_a_drawn_part(space):
    shared, images = Shared(space, seed=0).train(), torch.randn(2, 3, 64, 64)
    seen = []
    shared.scores = lambda candidate, images: seen.append(candidate) or torch.zeros(2, 2)
    for _ in range(20):
        shared(images)
    smallest, *_, largest = space.candidates
    assert set(seen[0::3]) == {largest} and set(seen[1::3]) == {smallest}
    drawn = set(seen[2::3])
    assert len(drawn) > 10
    assert {candidate.size_px for candidate in drawn} == {32, 48, 64}
    assert {candidate.kept.stride for candidate in drawn} == {16, 32}


def test_parts_learn_from_the_largest_which_learns_from_the_labels_alone():
    largest, part = (torch.randn(4, 2, requires_grad=True) for _ in range(2))
    targets = torch.tensor([0, 1, 1, 0])
    loss = SandwichLoss(Loss(0.1))((largest, part), targets)
    labelled = F.cross_entropy(largest, targets, label_smoothing=0.1)
    p, q = largest.softmax(1).detach(), part.softmax(1)
    divergence = (p * (p / q).log()).sum(dim=1).mean()
    torch.testing.assert_close(loss, labelled + divergence)
    loss.backward()
    (expected,) = torch.autograd.grad(labelled, largest)
    torch.testing.assert_close(largest.grad, expected)
    assert part.grad.abs().sum() > 0


def test_a_part_is_judged_with_statistics_of_the_training_images_through_itself(
    home, parts_folder, space
):
    split = split_of(parts_folder)
    images = open_cache(split, 64, paths.cache_root())
    settings = TrainSettings(epochs=1, batch_size=30, augment="none", keep="last")
    shared = sandwich.train(space, images, split, settings, seed=0)
    before = {key: value.clone() for key, value in shared.state_dict().items()}
    first = sandwich.held_out_scores(shared, images, split, settings, PART)
    seen = {key for key, value in shared.state_dict().items() if not value.equal(before[key])}
    assert seen and all("running" in key or "num_batches" in key for key in seen)
    smallest, *_ = space.candidates
    other = sandwich.held_out_scores(shared, images, split, settings, smallest)
    assert not np.array_equal(other, first)
    # whatever was judged before
    again = sandwich.held_out_scores(shared, images, split, settings, PART)
    np.testing.assert_array_equal(again, first)
    # the mean over the batches of the first convolution's output, computed here
    sums = []
    shared.train()
    batches = sandwich._training_batches(shared, images, split, settings)
    for _, inputs, _ in batches.shuffled(seed=0, epoch=0):
        small = F.interpolate(inputs, (48, 48), mode="bilinear", antialias=True)
        sums.append(shared.whole.trunk.conv_stem(small).mean(dim=(0, 2, 3)))
    expected = torch.stack(sums).mean(dim=0)
    torch.testing.assert_close(shared.whole.trunk.bn1.running_mean, expected, atol=1e-5, rtol=1e-4)


def test_a_killed_training_continues_to_the_same_weights(home, parts_folder, space, tmp_path):
    split = split_of(parts_folder)[::5]
    images = open_cache(split, 64, paths.cache_root())
    settings = TrainSettings(epochs=2, batch_size=8, keep="last")
    whole = sandwich.train(space, images, split, settings, seed=0)
    doing = functools.partial(work.doing, "parts", tmp_path / "resume")
    saved = sandwich.Training._validated

    def killed(training):
        if training.epoch == 1:
            raise KeyboardInterrupt
        return saved(training)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt), doing():
        patch.setattr(sandwich.Training, "_validated", killed)
        sandwich.train(space, images, split, settings, seed=0)
    with doing():
        continued = sandwich.train(space, images, split, settings, seed=0)
    torch.testing.assert_close(continued.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_evolution_finds_the_best_part_within_the_limit(space):
    def score(candidate: Candidate) -> float:  # deep late stages are good, large images are not
        return sum(candidate.kept.depths[4:6]) - candidate.size_px / 64

    limit = 0.6 * max(space.macs.values())
    judged = sandwich.evolve(space, score, limit, seed=0, population=8, generations=3)
    assert all(space.macs[one] <= limit for one in judged)
    assert [*judged.values()] == sorted(map(score, judged), reverse=True) and len(judged) == 24
    drawn = sandwich.evolve(space, score, limit, seed=0, population=24, generations=1)
    means = [sum(found.values()) / len(found) for found in (judged, drawn)]
    assert means[0] > means[1] + 0.25  # as many draws without selection are worse
    assert sandwich.evolve(space, score, limit, seed=0, population=8, generations=3) == judged
    # hardly anything else fits
    smallest, *_ = space.candidates
    few = sandwich.evolve(space, score, space.macs[smallest], seed=0, population=2)
    assert [*few] == [smallest]
    with pytest.raises(ValueError, match="the smallest part has more than 1,000"):
        sandwich.evolve(space, score, 1000, seed=0)
