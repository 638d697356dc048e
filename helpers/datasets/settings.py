"""The settings of notebook 01: the source of images and the split."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from helpers.core.rules import STRICT, Names, Seed, Text


@dataclass(frozen=True, config=STRICT)
class SplitSettings:
    """01: which images to use, and how to divide them."""

    dataset: Text = "elpv"
    seed: Seed = 0
    val_per_class: int = Field(default=150, ge=1)  # as in the paper: 150 good, 150 bad
    test_fraction: float = Field(default=0.25, gt=0, lt=1)  # for sources without a test set
    split_csv: Text = ""
    skip_unreadable: bool = False
    good_folders: Names = ()  # names beyond the usual ones, for folder:PATH
    bad_folders: Names = ()
    test_folder: Text = ""
    image_size_px: int = Field(default=192, ge=16)
    fit: Literal["auto", "squash", "pad"] = "auto"  # images that are not square, into squares
    max_images: int | None = Field(default=None, ge=1)  # the smoke preset takes a few hundred
