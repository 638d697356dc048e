"""Draw synthetic chip images in the look and the folder layout of the Nexperia contest.

    python -m helpers.datasets.chips --out DIR

The images are drawn, so scores on them say nothing about the contest. Beside them:

    sample_submission.csv       id, defect_score
    masks/train, masks/test     PNG per bad part: white where the defect changed a pixel
    lots.csv                    id, lot: parts with one marking
    hidden_test_labels.csv      id, label (1 bad): for scoring only, never for fitting
    chips.json                  the settings

Part, noise and defect have random streams of their own, so label 0 and label 1 show the same part
under the same noise. Lengths are in units of 1/224 of the image's side; levels are gray values.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from tqdm.auto import tqdm

from helpers.core import files, paths
from helpers.core.errors import UserError
from helpers.datasets import DataError, Source
from helpers.datasets.contest import NEXPERIA
from helpers.datasets.settings import SplitSettings

DEFAULT_COUNTS = (6000, 1000)  # of `--dataset chips`: drawn in less than a minute
RENDERER_VERSION = 4  # raise it when a change of the drawing changes any pixel
FOLDERS = {"train": ("train/good_0", "train/bad_1"), "test": ("test/all_tests",) * 2}
MARKER, LOTS, HIDDEN_LABELS = "chips.json", "lots.csv", "hidden_test_labels.csv"
UNITS = 224
OVERSAMPLE = 2  # ImageDraw does not antialias; drawing at twice the size and averaging does
POCKET = (6, 218)  # x of its left and right side
LEAD = (28, 25)  # width, length
MARKINGS = ("A6", "A7", "A8", "AM", "E3", "L5", "M1", "NZ", "S2", "V3", "VM", "ZF", "ZK", "ZT")
Point = tuple[float, float]


@dataclass(frozen=True)
class Part:
    """Everything that varies from image to image, apart from noise."""

    marking: str  # of the lot
    centre: Point
    angle_deg: float
    half: Point  # width and height of the body
    level: float  # of the body
    print_level: float  # of marking and stripes
    slants: Point  # of the upper and the lower lead
    floor: float
    gain: float
    overlay: tuple[Sequence[Point], float] = ((), 0.0)  # around the centre; above the body


def draw_parameters(rng: np.random.Generator) -> Part:
    """Draw one good part: pose, geometry and brightness, all from `rng`."""
    floor = 16 * rng.uniform(0.75, 1.3)
    level = floor * 0.7 + rng.uniform(9, 20)
    shift = rng.normal(0, (3, 5)).clip(-9, 9)
    return Part(
        marking=str(rng.choice(MARKINGS)),
        centre=(sum(POCKET) / 2 + shift[0], UNITS / 2 + shift[1]),
        angle_deg=float(np.clip(rng.normal(0, 2.4), -8, 8)),
        half=tuple(rng.uniform(0.96, 1.05, 2) * (54, 37.5)),
        level=level,
        print_level=level + rng.uniform(45, 100),
        slants=tuple(rng.normal(0, 0.025, 2)),
        floor=floor,
        gain=float(np.exp(rng.normal(0.28, 0.17))),
    )


def ragged(
    centre: ArrayLike, length: float, width: float, turn_rad: float, rng: np.random.Generator
) -> list[Point]:
    """Draw a ragged ellipse: a scratch if it is long, a crumb if it is round."""
    t = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    reach = rng.uniform(0.7, 1.3, 16) / 2
    x, y = reach * length * np.cos(t), reach * width * np.sin(t)
    cos, sin = np.cos(turn_rad), np.sin(turn_rad)
    return [*map(tuple, centre + np.stack([cos * x - sin * y, sin * x + cos * y], axis=1))]


# A defect has a strength from 0 (hard to see) to 1 (seen at a glance).
def scratch(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Draw a ragged bright streak across body or marking."""
    centre, turn = rng.uniform(-0.5, 0.5, 2) * part.half, rng.normal(0, 0.5)
    points = ragged(centre, 30 + 46 * strength, 2.8 + 3.6 * strength, turn, rng)
    return replace(part, overlay=(points, 105 + 90 * strength))


def chipped_corner(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Break a corner off; the facet is bright."""
    side, extent = rng.choice([-1, 1], 2), rng.uniform(0.8, 1.2, 2)
    x, y = side * part.half
    along, down = side * extent * (19 + 29 * strength, 10 + 13 * strength)
    points = [(x, y), (x - along, y), (x, y - down)]
    return replace(part, overlay=(points, 95 + 90 * strength))


def foreign_material(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Put a crumb on body or pocket."""
    size = 10 + 17 * strength
    points = ragged(rng.uniform(-1.24, 1.24, 2) * part.half, size, size, 0, rng)
    return replace(part, overlay=(points, 85 + 120 * strength))


def bent_lead(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Bend one lead sideways."""
    bend = rng.choice([-1, 1]) * (0.45 + 0.75 * strength) * np.eye(2)[rng.integers(2)]
    return replace(part, slants=tuple(part.slants + bend))


DEFECTS: dict[str, Callable[[Part, np.random.Generator, float], Part]] = {
    each.__name__: each for each in (scratch, chipped_corner, foreign_material, bent_lead)
}


def stream(seed: int, purpose: str, split: str, index: int = 0) -> np.random.Generator:
    """Return the random stream of one purpose for one image (index 0 for a whole split)."""
    return np.random.default_rng([seed, index, *f"{purpose} {split}".encode()])


def render_part(
    seed: int, split: str, index: int, label: int, size_px: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Render a part, good (label 0) or bad (1): its image, the mask of its defect, and its lot."""

    def photograph(part: Part) -> np.ndarray:
        return expose(draw_scene(part, size_px), part, stream(seed, "sensor", split, index))

    part = draw_parameters(stream(seed, "part", split, index))
    good = image = photograph(part)
    if label == 1:
        rng = stream(seed, "defect", split, index)
        image = photograph(DEFECTS[str(rng.choice([*DEFECTS]))](part, rng, rng.uniform()))
    return image, image != good, part.marking


def draw_scene(part: Part, size_px: int) -> Image.Image:
    """Draw a part in its pocket, in focus and without noise, as an 8-bit gray image."""
    k = OVERSAMPLE * size_px / UNITS  # pixels of a unit
    scene = Image.new("L", (OVERSAMPLE * size_px,) * 2, round(0.75 * part.floor))
    draw = ImageDraw.Draw(scene)
    (x, y), (w, h) = part.centre, part.half

    def polygon(points: Sequence[Point], level: float) -> None:
        scaled = [(k * (x + d_x), k * (y + d_y)) for d_x, d_y in points]
        draw.polygon(scaled, min(255, round(level)))

    def box(x_0: float, y_0: float, x_1: float, y_1: float, level: float) -> None:
        polygon([(x_0, y_0), (x_1, y_0), (x_1, y_1), (x_0, y_1)], level)

    left, right = (side - x for side in POCKET)
    box(left, 30 - y, right, 192 - y, part.floor)
    for side in (left, right):
        box(side - 1.1, 38 - y, side + 1.1, 184 - y, 170)
    for side, slant in zip((-1, 1), part.slants, strict=True):
        for start, end, level in ((0, 0.4, 230), (0.5, 1, 115)):
            ends = [(slant * d * LEAD[1], side * (h + d * LEAD[1])) for d in (start, end)]
            right_s, left_s = ([(p + s * LEAD[0] / 2, q) for p, q in ends] for s in (1, -1))
            polygon([*right_s, *left_s[::-1]], level)
    box(-w, -h, w, h, part.level)
    for n in range(4):  # printed lines
        box(-w + 2, 0.7 * h - 6 * n, w - 2, 0.7 * h - 6 * n + 2, part.print_level)
    at, font = (k * x, k * (y - 0.48 * h)), ImageFont.load_default(30 * k)
    draw.text(at, "   ".join(part.marking), round(part.print_level), font, "mm", stroke_width=1)
    painted, above = part.overlay
    if painted:
        polygon(painted, part.level + above)
    small = scene.reduce(OVERSAMPLE)
    return small.rotate(part.angle_deg, Image.Resampling.BILINEAR, fillcolor=small.getpixel((0, 0)))


def expose(scene: Image.Image, part: Part, rng: np.random.Generator) -> np.ndarray:
    """Photograph a scene (H, W) as uint8: focus, gain, uneven light, speckle and read noise."""
    side = scene.height
    blurred = scene.filter(ImageFilter.GaussianBlur(0.7 * side / UNITS))
    speckle, noise = rng.standard_normal((2, side, side), np.float32)
    slope, ramp = rng.normal(0, 0.06, 2), np.linspace(-1, 1, side)
    light = 1 + slope[0] * ramp[:, None] + slope[1] * ramp
    # speckle of rough metal and plastic: a tenth; read noise in gray levels
    image = np.asarray(blurred, np.float32) * part.gain * light * (1 + 0.10 * speckle)
    return (image + 1.7 * noise + 0.5).clip(0, 255).astype(np.uint8)


def load(place: Path | None, settings: SplitSettings) -> Source:
    """Load the chips at `place`; without it those in `data/raw/chips`, drawn if missing."""
    root = place or paths.raw_root() / "chips"
    if place is None and not (root / MARKER).is_file():
        with files.held(root.with_name(".chips.lock")):  # only one process draws
            write_dataset(root, *DEFAULT_COUNTS)
    source = NEXPERIA(root, settings)
    lots = files.load_csv(root / LOTS, ("id", "lot")).set_index("id").lot
    masks = [
        path.as_posix() if (path := root / "masks" / "train" / f"{name}.png").is_file() else None
        for name in source.table.id
    ]
    return replace(
        source,
        name="chips",
        table=source.table.assign(group=source.table.id.map(lots), damage=masks),
        attribution="Images: synthetic, drawn by helpers.datasets.chips; not Nexperia's",
        caveats="The images are synthetic, so this says nothing about the contest.",
    )


def write_dataset(
    out: Path, train: int, test: int, seed: int = 0, bad_fraction: float = 0.1, size_px: int = 280
) -> Path:
    """Write a data set in the contest's layout, unless it is there, and return the folder `out`."""
    settings = dict(train=train, test=test, seed=seed, bad_fraction=bad_fraction, size_px=size_px)
    marker = settings | {"synthetic": True, "renderer_version": RENDERER_VERSION}
    if (out / MARKER).is_file() and files.load_json(out / MARKER) == marker:
        return out
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise DataError(f"{out} holds other files, or a set of other settings: choose another one")
    parts = list_parts(train, test, seed, bad_fraction)
    with files.atomic_folder(out) as folder:

        def draw(split: str, index: int, label: int, name: str) -> str:
            image, mask, lot = render_part(seed, split, index, label, size_px)
            Image.fromarray(image).save(folder / FOLDERS[split][label] / f"{name}.bmp")
            if label == 1:
                Image.fromarray(mask).save(folder / "masks" / split / f"{name}.png")
            return lot

        for name in (*FOLDERS["train"], *FOLDERS["test"], "masks/train", "masks/test"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        rows = tqdm(parts.itertuples(index=False), total=len(parts), unit="image", desc="chips")
        drawing = joblib.Parallel(-1, require="sharedmem")
        table = parts.assign(lot=drawing(joblib.delayed(draw)(*row) for row in rows))
        table = table.sort_values("id")
        tests = table[table.split == "test"]
        files.save_csv(folder / "sample_submission.csv", tests[["id"]].assign(defect_score=0.5))
        files.save_csv(folder / LOTS, table[["id", "lot"]])
        files.save_csv(folder / HIDDEN_LABELS, tests[["id", "label"]])
        (folder / "README.txt").write_text(f"SYNTHETIC IMAGES. {__doc__}")
        files.save_json(folder / MARKER, marker)
    return out


def list_parts(train: int, test: int, seed: int, bad_fraction: float) -> pd.DataFrame:
    """List `split, index, label, id` of all images; ids are shuffled, so none tells a label."""
    tables = []
    for split, count in (("train", train), ("test", test)):
        index = np.arange(count)
        labels = stream(seed, "labels", split).permutation(index < round(bad_fraction * count))
        tables.append(pd.DataFrame({"split": split, "index": index, "label": labels.astype(int)}))
    numbers = stream(seed, "names", "train").permutation(train + test)
    return pd.concat(tables, ignore_index=True).assign(id=[f"chip_{n:06d}" for n in numbers])


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit with a message if the folder holds anything else."""
    parser = argparse.ArgumentParser("python -m helpers.datasets.chips", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--train", type=int, default=30_000, help="(%(default)s)")
    parser.add_argument("--test", type=int, default=3_000, help="(%(default)s)")
    try:
        print(f"synthetic images in {write_dataset(**vars(parser.parse_args(arguments)))}")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
