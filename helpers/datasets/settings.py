"""The settings of notebook 01: the source of images and the split."""

from typing import Literal

from pydantic.dataclasses import dataclass

from helpers.core.rules import STRICT, Names, NoneOrSeveral, Seed, SettingsError, Text, setting


@dataclass(frozen=True, config=STRICT)
class SplitSettings:
    """Settings of notebook 01: which images to use, and how to split them."""

    dataset: Text = setting(
        "elpv", "the images: elpv, folder:PATH, nexperia[:PATH], chips, bsdata:PATH, or of SOURCES"
    )
    seed: Seed = setting(
        0, "start of random draws; another seed gives another split, but for published folds"
    )
    split: Literal["auto", "groups", "random"] = setting(
        "auto", "groups: each module or lot is in one set only; auto: if groups are known"
    )
    cross_fit: NoneOrSeveral = setting(
        0, "folds of training and validation, so that every image gets a held-out score; 0: none"
    )
    val_per_class: int = setting(150, "random split: validation images of each class", ge=1)
    test_fraction: float = setting(
        0.25,
        "share of images in a test set, if the source has none (ELPV: of its published folds); 0: "
        "none, only folds",
        ge=0,
        lt=1,
    )
    split_csv: Text = setting(
        "", "split.csv of another run, to repeat it; its SPLIT, CROSS_FIT, SEED too"
    )
    labels_csv: Text = setting("", "path or id, and labels, groups or columns of your own")
    group_level: int | None = setting(
        None,
        "folder:PATH: the subfolder that names the group; 0: none; None: 1 if good and bad "
        "have subfolders of equal names",
        ge=0,
    )
    near_duplicate_bits: int = setting(
        20, "of 256: hashes that differ in no more bits are near duplicates", ge=0, le=127
    )
    skip_unreadable: bool = setting(False, "leave unreadable files out instead of stopping")
    good: Names = setting((), "folder:PATH: further folders of good parts, by their exact names")
    bad: Names = setting((), "folder:PATH: further folders of bad parts, by their exact names")
    image_size_px: int = setting(192, "side to which images are decoded first", ge=16)
    fit: Literal["squash", "pad"] = setting("squash", "how images become square")
    mask: Text = setting("", "image of the images' size, white (128 to 255) where pixels count")
    max_images: int | None = setting(None, "use at most so many images; None: all", ge=1)

    def __post_init__(self) -> None:
        if not (self.test_fraction or self.cross_fit):
            raise SettingsError(
                "TEST_FRACTION=0 leaves no image to judge a model by: give CROSS_FIT=5, "
                "and every image is scored out of fold, or TEST_FRACTION=0.25"
            )
        if self.split == "groups" and self.test_fraction and not 0.1 <= self.test_fraction <= 0.5:
            raise SettingsError("TEST_FRACTION must be 0, or 0.1 to 0.5, unless SPLIT=random")
