"""Draw synthetic chip parts: Part -> scene -> noisy 8-bit image, and the mask of a defect.

Part, noise and defect have random streams of their own: label 0 and label 1 show the same part
under the same noise, and nothing but the defect tells them apart.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from helpers.datasets.chips.defects import draw_defect
from helpers.datasets.chips.parts import UNITS, Part, Point, draw_parameters

IMAGE_SIZE_PX = 280
SPLITS = ("train", "test")
PURPOSES = ("part", "sensor", "defect", "labels", "names")
OVERSAMPLE = 2  # ImageDraw does not antialias; drawing at twice the size and averaging does


def stream(seed: int, purpose: str, split: str, index: int = 0) -> np.random.Generator:
    """Return the random stream of one purpose for one image (index 0 for a whole split)."""
    return np.random.default_rng([seed, PURPOSES.index(purpose), SPLITS.index(split), index])


def render_part(
    seed: int, split: str, index: int, label: int, size_px: int = IMAGE_SIZE_PX
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Render the part `index` of a split ("train" or "test"), good (label 0) or bad (1).

    The result depends on the arguments alone.

    Returns:
        image uint8 (H, W); mask bool (H, W), True where the defect changed the pixel; info with
        keys defect ("" if good), difficulty (0 easy ... 1 hard, None if good), package and lot
        (package and marking).
    """

    def photograph(part: Part) -> np.ndarray:
        return expose(draw_scene(part, size_px), part, stream(seed, "sensor", split, index))

    part = draw_parameters(stream(seed, "part", split, index))
    info: dict[str, Any] = {"defect": "", "difficulty": None, "package": part.package.name}
    info["lot"] = f"{part.package.name} {part.marking}"
    good = image = photograph(part)
    if label == 1:
        rng = stream(seed, "defect", split, index)
        bad, info["defect"], info["difficulty"] = draw_defect(part, rng)
        image = photograph(bad)
    return image, image != good, info


def draw_scene(part: Part, size_px: int) -> Image.Image:
    """Draw a part in its pocket, in focus and without noise, as an 8-bit gray image."""
    carrier = _Pen(size_px, 0.3 * part.floor, (0, 0))
    _draw_pocket(carrier, part)
    carrier.overlays(part, "carrier")
    scene = carrier.layer.reduce(OVERSAMPLE)
    if not part.present:
        return scene
    body = _Pen(size_px, 0, part.centre)
    _draw_body(body, part)
    body.overlays(part, "part")
    x, y = (coordinate * size_px / UNITS for coordinate in part.centre)
    layer = body.layer.reduce(OVERSAMPLE)
    turned = layer.rotate(-part.angle_deg, Image.Resampling.BILINEAR, center=(x, y))
    return ImageChops.lighter(scene, turned)


def expose(scene: Image.Image, part: Part, rng: np.random.Generator) -> np.ndarray:
    """Photograph a scene (H, W) as uint8: focus, gain, uneven light, speckle and read noise.

    The same state of `rng` gives the same noise.
    """
    side = scene.height
    blurred = scene.filter(ImageFilter.GaussianBlur(part.focus * side / UNITS))
    speckle, noise = rng.standard_normal((2, side, side), np.float32)
    slope = rng.normal(0, 0.06, 2)
    ramp = np.linspace(-1, 1, side)
    light = 1 + slope[0] * ramp[:, None] + slope[1] * ramp
    # speckle of rough metal and plastic: a tenth; read noise in gray levels
    image = np.asarray(blurred, np.float32) * part.gain * light * (1 + 0.10 * speckle)
    return (image + 1.7 * noise + 0.5).clip(0, 255).astype(np.uint8)


def _draw_pocket(pen: "_Pen", part: Part) -> None:
    """Draw the carrier's lines, the pocket's dark floor, and its bright sides."""
    (left, right), (d_x, d_y), floor = part.package.pocket, part.carrier_shift, part.floor
    top, bottom = part.rails[1] + d_y, part.rails[2] + d_y
    pen.box(-2, top - 14, UNITS + 2, bottom, 0.75 * floor)
    for y in part.rails:
        pen.line([(-2, y + d_y), (UNITS + 2, y + d_y)], floor + 15, 1.6)
    pen.box(left + d_x, top, right + d_x, bottom, floor)
    for x in (left + d_x, right + d_x):
        sides = [(x, top + 8), (x, bottom - 8)]
        pen.line(sides, 0.3 * part.edge_level, 7)
        pen.line(sides, part.edge_level, 2.2)


def _draw_body(pen: "_Pen", part: Part) -> None:
    w, h = part.body[0] / 2, part.body[1] / 2
    for lead in part.leads:
        half = lead.width / 2
        for start, end, level in (
            (0, 0.4 * lead.length, lead.levels[0]),
            (0.5 * lead.length, lead.length, lead.levels[1]),
        ):
            (x_0, y_0), (x_1, y_1) = (
                (lead.x + lead.slant * d, lead.side * (h + d)) for d in (start, end)
            )
            corners = [(x_0 - half, y_0), (x_0 + half, y_0), (x_1 + half, y_1), (x_1 - half, y_1)]
            pen.polygon(corners, level)
    pen.box(-w, -h, w, h, part.body_level + 25)
    pen.box(-w + 1.1, -h + 1.1, w - 1.1, h - 1.1, part.body_level)
    for y in part.stripes:
        pen.box(-w + 2, y, w - 2, y + 2, part.print_level)
    for glyph in part.glyphs:
        pen.text(glyph.char, glyph.centre, glyph.height, glyph.level)


class _Pen:
    """Draws in units on an oversampled layer; `origin` is the place of (0, 0), in units too."""

    def __init__(self, size_px: int, ground: float, origin: Point) -> None:
        side_px = OVERSAMPLE * size_px
        self.layer = Image.new("L", (side_px, side_px), _gray(ground))
        self.draw = ImageDraw.Draw(self.layer)
        self.k = side_px / UNITS  # pixels of a unit
        self.origin = origin

    def px(self, points: Sequence[Point]) -> list[Point]:
        x_0, y_0 = self.origin
        return [(self.k * (x_0 + x), self.k * (y_0 + y)) for x, y in points]

    def box(self, x_0: float, y_0: float, x_1: float, y_1: float, level: float) -> None:
        self.polygon([(x_0, y_0), (x_1, y_0), (x_1, y_1), (x_0, y_1)], level)

    def polygon(self, points: Sequence[Point], level: float) -> None:
        self.draw.polygon(self.px(points), _gray(level))

    def line(self, points: Sequence[Point], level: float, width: float) -> None:
        self.draw.line(self.px(points), _gray(level), max(1, round(width * self.k)))

    def text(self, text: str, centre: Point, height: float, level: float) -> None:
        font = ImageFont.load_default(1.35 * height * self.k)  # capitals are 3/4 of a font's size
        self.draw.text(self.px([centre])[0], text, _gray(level), font, "mm", stroke_width=1)

    def overlays(self, part: Part, layer: str) -> None:
        for overlay in part.overlays:
            if overlay.layer == layer:
                self.polygon(overlay.points, overlay.level)


def _gray(level: float) -> int:
    return min(255, max(0, round(level)))
