"""The symmetries of the square, and random views of images."""

import functools

import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from helpers.core import seeding
from helpers.core.rules import SettingsError
from helpers.training import augment
from helpers.training.batches import symmetry
from helpers.training.settings import FinetuneSettings, TrainSettings


def eight(image):
    """The eight symmetries of an image in torch's own words."""
    turned = [torch.rot90(image, k, (-2, -1)) for k in range(4)]
    return [*turned, *(view.flip(-1) for view in turned)]


def matching(view, views):
    """The number of the one view that this one is, exactly."""
    (found,) = (i for i, other in enumerate(views) if torch.equal(view, other))
    return found


def drawn(kind, images):
    with seeding.torch_stream(0, "augment"):
        return augment.augmentation(kind)(images.clone())


def test_the_eight_symmetries_are_all_turns_and_mirror_images_each_once():
    image = torch.rand(2, 3, 5, 5)
    assert {matching(symmetry(image, k), eight(image)) for k in range(8)} == set(range(8))
    assert torch.equal(symmetry(image, 0), image)
    mirrored = [image, image.flip(-1), image.flip(-2), image.flip(-2, -1)]
    assert [matching(symmetry(image, k), mirrored) for k in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize(("kind", "count"), [("flips", 4), ("symmetries", 8)])
def test_each_image_is_brought_into_a_symmetry_of_its_own(kind, count):
    image = torch.rand(1, 2, 8, 8).contiguous(memory_format=torch.channels_last)
    known = [symmetry(image, k)[0] for k in range(8)]
    views = drawn(kind, image.expand(128, -1, -1, -1))
    seen = [matching(view, known) for view in views]
    assert set(seen) == set(range(count))
    assert max(map(seen.count, range(count))) < 3 * 128 / count


@pytest.mark.parametrize("channels", [1, 3])
def test_an_augmentation_keeps_shape_and_range_and_repeats_in_one_stream(channels):
    images, views = torch.rand(6, channels, 24, 24), []
    for epoch in (0, 0, 1):
        with seeding.torch_stream(5, "augment", epoch):
            views.append(augment.augmentation("full")(images.clone()))
    for view in views:
        assert view.shape == images.shape
        assert view.min() >= 0 and view.max() <= 1
    assert torch.equal(views[0], views[1])
    assert not torch.allclose(views[0], views[2])


def test_full_augmentation_resamples_about_half_of_the_images_and_turns_by_90_degrees():
    board = (torch.arange(17)[:, None] + torch.arange(17)).remainder(2).float()
    views = drawn("full", board.expand(64, 1, 17, 17))
    # two gray levels remain unless pixels were mixed
    assert 16 <= sum(len(view.unique()) == 2 for view in views) <= 48
    rows = torch.arange(16.0)[:, None].expand(16, 16) / 32  # brighter from row to row
    views = drawn("full", rows.expand(64, 1, 16, 16))
    assert ((views[:, 0, :, -1] - views[:, 0, :, 0]).abs().sum(dim=1) > 2).any()


def test_a_transform_of_torchvision_is_drawn_for_each_image_and_is_not_changed():
    transform = v2.RandomHorizontalFlip(0.5)
    settings = TrainSettings(augment=transform)
    image = torch.rand(1, 1, 6, 6)
    views = drawn(settings.augment, image.expand(64, -1, -1, -1))
    flipped = sum(torch.equal(view, image[0].flip(-1)) for view in views)
    assert 16 < flipped < 48 and all(torch.equal(v, image[0]) for v in views) is False
    assert augment.augmentation(transform).module is not transform


def test_a_module_of_a_cell_is_an_augmentation_and_by_name_too(monkeypatch):
    class Darker(nn.Module):
        def forward(self, image):  # (1, C, H, W)
            return image * torch.rand(1)

    monkeypatch.setitem(augment.AUGMENTATIONS, "darker", Darker())
    assert FinetuneSettings(fbp_augment="darker").fbp.augment == "darker"
    images = torch.rand(5, 1, 4, 4)
    shares = (drawn("darker", images) / images).flatten(1)
    torch.testing.assert_close(shares, shares[:, :1].expand_as(shares))
    assert len({round(share, 4) for share in shares[:, 0].tolist()}) == 5
    assert torch.equal(drawn(Darker(), images), drawn("darker", images))


def test_what_a_class_or_function_of_a_cell_makes_gets_one_image_and_moves_to_the_images(
    monkeypatch,
):
    class Darker(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("share", torch.tensor([0.5]))

        def forward(self, image):  # (1, C, H, W)
            assert self.share.device == image.device
            return image * self.share * torch.rand(1, device=image.device)

    images = torch.rand(5, 1, 4, 4)
    for own in (Darker, functools.partial(Darker)):
        monkeypatch.setitem(augment.AUGMENTATIONS, "darker", own)
        shares = (drawn("darker", images) / images).mean(dim=(1, 2, 3))
        assert len({round(share, 4) for share in shares.tolist()}) == 5
        assert augment.augmentation("darker")(images.to("meta")).device.type == "meta"
    assert all(
        type(augment.augmentation(name)) is not augment.EachImage
        for name in ("none", "flips", "symmetries", "full")
    )


def test_an_augmentation_that_nobody_knows_or_that_changes_the_shape_is_refused():
    for wrong in ("flip", 3, v2.RandomRotation):
        with pytest.raises(ValueError, match="flips" if wrong == "flip" else "neither"):
            TrainSettings(augment=wrong)
    with pytest.raises(SettingsError, match=r"CenterCrop .* \[2, 1, 8, 8\]"):
        drawn(v2.CenterCrop(4), torch.rand(2, 1, 8, 8))
