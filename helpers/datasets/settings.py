"""The settings of notebook 01: source and split."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SplitSettings:
    """01: which images, and how they are divided."""

    dataset: str = "elpv"
    seed: int = 0
    val_per_class: int = 150  # the paper's validation set: 150 good and 150 bad
    test_fraction: float = 0.25  # for sources without a test set of their own
    split_csv: str = ""
    skip_unreadable: bool = False
    good_folders: tuple[str, ...] = ()  # names beyond the usual ones, for folder:PATH
    bad_folders: tuple[str, ...] = ()
    test_folder: str = ""
    image_size_px: int = 192
    max_images: int | None = None  # the smoke preset looks at a few hundred only
