"""The settings of notebook 01: the source of images and the split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from helpers.core.rules import STRICT, Names, Seed, Text


def _none_or_several(value: int) -> int:
    if value < 0 or value == 1:
        raise ValueError("must be 2 or more, or 0 for one split")
    return value


@dataclass(frozen=True, config=STRICT)
class SplitSettings:
    """01: which images to use, and how to divide them."""

    dataset: Text = "elpv"
    seed: Seed = 0
    split: Literal["random", "groups"] = "random"  # "groups": no group is on two sides
    cross_fit: Annotated[int, AfterValidator(_none_or_several)] = 0  # folds of train and val
    val_per_class: int = Field(default=150, ge=1)  # as in the paper: 150 good, 150 bad
    test_fraction: float = Field(default=0.25, gt=0, lt=1)  # for sources without a test set
    split_csv: Text = ""
    labels_csv: Text = ""  # `path` or `id`, and labels, groups or columns of its own
    group_level: int = Field(default=0, ge=0)  # folder:PATH: subfolder that is the group; 0: none
    twin_bits: int = Field(default=20, ge=0, le=127)  # of 256, in the hashes of near duplicates
    skip_unreadable: bool = False
    good_folders: Names = ()  # names beyond the usual ones, for folder:PATH
    bad_folders: Names = ()
    test_folder: Text = ""
    image_size_px: int = Field(default=192, ge=16)
    fit: Literal["auto", "squash", "pad"] = "auto"  # images that are not square, into squares
    max_images: int | None = Field(default=None, ge=1)  # the smoke preset takes a few hundred
