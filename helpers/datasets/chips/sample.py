"""Draw one synthetic chip image at a time, with its mask; and contact sheets.

Part, noise and defect have random streams of their own: label 0 and label 1 show the same part
under the same noise, and nothing but the defect tells them apart.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from helpers.datasets.chips.defects import draw_defect
from helpers.datasets.chips.parts import Part, draw_parameters
from helpers.datasets.chips.render import draw_scene, expose

IMAGE_SIZE_PX = 280
SIZES_PX = (64, 480)  # smallest and largest side; the noise fields are 1,024 pixels wide
SPLITS = ("train", "test")
PURPOSES = ("part", "sensor", "defect", "labels", "names")


def stream(seed: int, purpose: str, split: str, index: int = 0) -> np.random.Generator:
    """Return the random stream of one purpose for one image (index 0 for a whole split)."""
    return np.random.default_rng([seed, PURPOSES.index(purpose), SPLITS.index(split), index])


def check_size(size_px: int) -> None:
    """Raise ValueError unless images of this side can be drawn."""
    least, most = SIZES_PX
    if not least <= size_px <= most:
        raise ValueError(f"size_px must be in {least}...{most}, got {size_px}")


def render_part(
    seed: int, split: str, index: int, label: int, size_px: int = IMAGE_SIZE_PX
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Render one part; the result depends on the arguments alone.

    Args:
        seed: of the data set, 0 or more.
        split: "train" or "test".
        index: number of the part in its split, 0 or more.
        label: 0 good, 1 bad.
        size_px: side of the square image, 64...480.

    Returns:
        image uint8 (H, W); mask bool (H, W), True where the defect changed the pixel, empty for
        good parts; info with keys defect ("" if good), difficulty (0 easy ... 1 hard, None if
        good) and package.

    Raises:
        ValueError: unknown split or label, or size_px out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if label not in (0, 1):
        raise ValueError(f"label must be 0 (good) or 1 (bad), got {label!r}")
    check_size(size_px)

    def photograph(part: Part) -> np.ndarray:
        return expose(draw_scene(part, size_px), part, stream(seed, "sensor", split, index))

    part = draw_parameters(stream(seed, "part", split, index))
    info: dict[str, Any] = {"defect": "", "difficulty": None, "package": part.package.name}
    image = photograph(part)
    if label == 0:
        return image, np.zeros(image.shape, bool), info
    rng = stream(seed, "defect", split, index)
    bad, info["defect"], info["difficulty"] = draw_defect(part, rng)
    bad_image = photograph(bad)
    return bad_image, bad_image != image, info


def contact_sheet(
    path: Path | str | None = None,
    n_good: int = 50,
    n_bad: int = 50,
    seed: int = 0,
    columns: int = 10,
    tile_px: int = 150,
) -> Image.Image:
    """Draw good and bad training parts on one labelled sheet; the good ones come first.

    Args:
        path: PNG to write, or None to write nothing.
        n_good, n_bad: how many parts of either class.
        seed: of the data set.
        columns: tiles in a row.
        tile_px: side of a tile.

    Returns:
        RGB image; bad parts have a red caption with the defect and its difficulty.

    Raises:
        ValueError: no parts asked for, or columns below 1.
    """
    if min(n_good, n_bad) < 0 or n_good + n_bad < 1 or columns < 1:
        raise ValueError(
            "a contact sheet needs one part or more and one column or more, "
            f"got n_good={n_good}, n_bad={n_bad}, columns={columns}"
        )
    caption_px, title_px = 16, 26
    width_px, height_px = tile_px + 4, tile_px + caption_px + 4
    rows = -(-(n_good + n_bad) // columns)
    sheet = Image.new("RGB", (columns * width_px, title_px + rows * height_px), "white")
    title = f"Synthetic chip images, drawn by a program: {n_good} good, {n_bad} bad, seed {seed}"
    ImageDraw.Draw(sheet).text((4, 4), title, "black", ImageFont.load_default(size=15))
    for i in range(n_good + n_bad):
        label = int(i >= n_good)
        image, _, info = render_part(seed, "train", i, label)
        x, y = i % columns * width_px + 2, title_px + i // columns * height_px
        sheet.paste(Image.fromarray(image).resize((tile_px, tile_px)), (x, y))
        caption = f"{info['defect']} {info['difficulty']:.2f}" if label else "good"
        strip = Image.new("RGB", (tile_px, caption_px), "white")  # cuts what is wider than a tile
        font, colour = ImageFont.load_default(size=11), "red" if label else "black"
        ImageDraw.Draw(strip).text((0, 0), caption, colour, font)
        sheet.paste(strip, (x, y + tile_px))
    if path is not None:
        sheet.save(path)
    return sheet
