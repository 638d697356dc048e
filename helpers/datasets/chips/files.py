"""Layout of a synthetic chip data set on the disk: settings, file names, marker, tables."""

import csv
import io
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from helpers.core.files import write_bytes
from helpers.datasets.chips.render import IMAGE_SIZE_PX, SPLITS, check_size, stream
from helpers.datasets.nexperia import MARKER, read_marker

BAD_FRACTION = 0.1  # the contest's: about nine good parts to one bad
RENDERER_VERSION = 1  # raise it when a change of the drawing changes any pixel
HIDDEN_LABELS = "hidden_test_labels.csv"
README = """SYNTHETIC IMAGES. Every picture in this folder was drawn by a program
(python -m helpers.datasets.chips); none is a photograph of a real part, and none comes from
Nexperia. Scores reached here say nothing about scores on the contest's images.

train/good_0, train/bad_1, test/all_tests   the images, laid out as in the contest
sample_submission.csv                       id, defect_score: one row per test image
masks/train, masks/test                     PNG per bad part: white where the defect changed a pixel
hidden_test_labels.csv                      id, label (1 bad): for scoring only, never for fitting
hidden_part_info.csv                        defect, difficulty (0 easy ... 1 hard), package; ditto
chips.json                                  settings; "state": "done" when the set is whole
"""


@dataclass(frozen=True)
class Settings:
    """All that the images of a data set depend on."""

    train: int
    test: int
    seed: int = 0
    bad_fraction: float = BAD_FRACTION
    size_px: int = IMAGE_SIZE_PX
    renderer_version: int = RENDERER_VERSION

    def __post_init__(self) -> None:
        for name, least in (("train", 1), ("test", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")
        check_size(self.size_px)
        if not 0 <= self.bad_fraction <= 1:
            raise ValueError(f"bad_fraction must be in 0...1, got {self.bad_fraction}")


@dataclass(frozen=True)
class Item:
    """One image of a data set: where it comes from and where it goes."""

    split: str
    index: int
    label: int
    id: str

    @property
    def image_path(self) -> str:
        """Path of the image below the data set's folder."""
        folder = ("good_0", "bad_1")[self.label] if self.split == "train" else "all_tests"
        return f"{self.split}/{folder}/{self.id}.bmp"

    @property
    def mask_path(self) -> str:
        """Path of the mask of a bad part below the data set's folder."""
        return f"masks/{self.split}/{self.id}.png"


def bmp_bytes(size_px: int) -> int:
    """Return the length of an 8-bit BMP: headers, palette and rows padded to four bytes."""
    return 14 + 40 + 1024 + size_px * (-(-size_px // 4) * 4)


def list_items(settings: Settings) -> list[Item]:
    """List all images; labels and names are shuffled apart, so that no name tells a label."""
    total = settings.train + settings.test
    numbers = iter(stream(settings.seed, "names", "train").permutation(total))
    items = []
    for split, count in zip(SPLITS, (settings.train, settings.test), strict=True):
        labels = np.zeros(count, int)
        labels[: round(settings.bad_fraction * count)] = 1
        labels = stream(settings.seed, "labels", split).permutation(labels)
        items += [
            Item(split, i, int(label), f"chip_{next(numbers):06d}")
            for i, label in enumerate(labels)
        ]
    return items


def write_marker(out: Path, settings: Settings, state: str) -> None:
    """Record the settings and the state, "writing" or "done", in the folder's marker."""
    content = {"synthetic": True, "state": state, "settings": asdict(settings)}
    write_bytes(out / MARKER, json.dumps(content, indent=2).encode())


def check_folder(out: Path, settings: Settings) -> None:
    """Raise ValueError unless `out` is new, empty or has a set with the same settings."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"{out} is a file; choose another folder")
    there, wanted = read_marker(out).get("settings"), asdict(settings)
    if there is None:
        if any(not path.match(f".{MARKER}.*.tmp") for path in out.iterdir()):
            raise ValueError(f"{out} holds other files and no {MARKER}; choose an empty folder")
    elif there != wanted:
        names = [n for n in wanted | there if there.get(n) != wanted.get(n)]
        differences = ", ".join(f"{n} {there.get(n)} (asked: {wanted.get(n)})" for n in names)
        raise ValueError(
            f"{out} has other settings: {differences}; delete it, or choose another folder"
        )


def check_room(out: Path, needed: int) -> None:
    """Raise OSError unless the disk of `out` has `needed` bytes free."""
    parent = next(p for p in (out, *out.absolute().parents) if p.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise OSError(f"{out} needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free")


def write_tables(out: Path, rows: list[dict]) -> None:
    """Write the CSV files and the README; `rows` has a dict per image, in any order."""
    rows = sorted(rows, key=lambda row: row["id"])
    tests = [row | {"defect_score": 0.5} for row in rows if row["split"] == "test"]
    part_info = ["id", "split", "label", "defect", "difficulty", "package"]
    for name, columns, listed in (
        ("sample_submission.csv", ["id", "defect_score"], tests),
        (HIDDEN_LABELS, ["id", "label"], tests),
        ("hidden_part_info.csv", part_info, rows),
    ):
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)
        write_bytes(out / name, text.getvalue().encode())
    write_bytes(out / "README.txt", README.encode())
