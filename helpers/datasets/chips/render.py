"""Draw synthetic chip parts: Part -> scene -> noisy 8-bit image, and the mask of a defect.

Part, noise and defect have random streams of their own: label 0 and label 1 show the same part
under the same noise, and nothing but the defect tells them apart.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from helpers.datasets.chips.defects import draw_defect
from helpers.datasets.chips.parts import (
    FIELD_SIZE,
    UNITS,
    Part,
    Point,
    draw_parameters,
    glyph_mask,
)

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
        good), package and lot (package and marking).
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
    side = OVERSAMPLE * size_px
    pen = _Pen(side, 0.3 * part.floor, 0.0, part)
    pockets = {"open": _open_pocket, "straight": _straight_pocket}
    pockets.get(part.package.pocket, _moulded_pocket)(pen, part)
    pen.overlays("carrier")
    carrier = pen.layer.reduce(OVERSAMPLE)
    if not part.present:
        return carrier
    pen = _Pen(side, 0.0, side / 2, part)
    _leads_and_body(pen, part)
    pen.overlays("part")
    # turned and shifted into the image's frame
    cos, sin = (f(math.radians(part.angle_deg)) * OVERSAMPLE for f in (math.cos, math.sin))
    t_x, t_y = (c * size_px / UNITS for c in part.centre)
    across = (cos, sin, side / 2 - cos * t_x - sin * t_y)
    down = (-sin, cos, side / 2 + sin * t_x - cos * t_y)
    affine, bilinear = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    turned = pen.layer.transform((size_px, size_px), affine, across + down, bilinear)
    return ImageChops.lighter(carrier, turned)


def _moulded_pocket(pen: "_Pen", part: Part) -> None:
    """Draw a pocket with flared bright sides; "framed" closes it with a bright line below."""
    u, (d_x, d_y), floor = part.pocket_shape, part.carrier_shift, part.floor
    left, right = (x + d_x for x in part.package.pocket_x)
    top, bottom = 30 + 8 * u[0] + d_y, 192 + 6 * u[1] + d_y
    pen.box(-2, top - 14, 226, bottom, 0.75 * floor)
    pen.rail(top - 15 * u[2], 6 * u[3] - 3, floor + 22 * u[4], 1.6)
    pen.rail(bottom + 2, 4 * u[4] - 2, floor + 8 + 22 * u[5], 1.8)
    pen.rail(bottom + 20 + 8 * u[5], 6 * u[3] - 3, floor + 12 * u[0], 1.4)
    pen.box(left, top, right, bottom, floor)
    flare, foot = 4 + 7 * u[6], 12 + 14 * u[7]
    for x, inward in ((left, 1), (right, -1)):
        path = [
            (x + inward * (flare + 2), top + 4),
            (x + inward * flare, top + foot),
            (x, top + foot + 9),
            (x, bottom - foot - 12),
            (x + inward * flare, bottom - foot),
            (x + inward * (flare + 3), bottom - 2),
        ]
        pen.line([(a + inward * 2.5, b) for a, b in path], 0.2 * part.edge_level, 9)
        pen.line([(a - inward * 0.5, b) for a, b in path], 0.42 * part.edge_level, 4.6)
        pen.line(path, part.edge_level, 1.8 + 1.4 * u[5], worn=True)
        for d, reach in ((15 + 3 * u[0], 30), (19 + 4 * u[0], 46)):
            ends = [(x + inward * d, top + reach), (x + inward * d, bottom - reach)]
            pen.line(ends, floor + 12 + 12 * u[3], 1.4, worn=True)
    if part.package.pocket == "framed":
        pen.rail(bottom - 1, 2 * u[2], 0.42 * part.edge_level, 2.2)
    # the rounded frames above and below the body that hold the leads
    middle, half = sum(part.package.pocket_x) / 2 + d_x, 66 + 6 * u[1]
    corners = pen.px(((middle - half, top + 14), (middle + half, bottom - 12)))
    frame = [(round(x), round(y)) for x, y in corners]
    fill, outline = _gray(0.7 * floor), _gray(floor + 7)
    pen.draw.rounded_rectangle(frame, round(8 * pen.k), fill, outline, pen.width_px(1.2))
    pen.box(middle - half - 18, d_y + 112 - 32, middle + half + 18, d_y + 112 + 32, 0.5 * floor)
    for x, inward in ((middle - half + 1, 1), (middle + half - 1, -1)):
        upper = [(x + inward * 6, top + 15), (x + inward, top + 19), (x, top + 42)]
        lower = [(x, bottom - 46), (x + inward, bottom - 17), (x + inward * 6, bottom - 13)]
        for path in (upper, lower):
            pen.line(path, floor + 26 + 44 * u[2], 1.5, worn=True)
    for y in (top + 9, bottom - 8):
        pen.line([(middle - 16, y), (middle + 16, y)], floor + 8 + 14 * u[3], 1.5)


def _open_pocket(pen: "_Pen", part: Part) -> None:
    """Draw a light, shallow pocket: soft lines across the image, a lighter strip at the right."""
    u, (d_x, d_y), floor = part.pocket_shape, part.carrier_shift, part.floor
    left, right = (x + d_x for x in part.package.pocket_x)
    top, bottom = 30 + d_y, 190 + 4 * u[0] + d_y
    pen.box(-2, top, 226, bottom + 6, floor)
    pen.box(right + 11, top, 226, bottom + 6, floor * 1.3)
    pen.rail(top - 16, 0, 0.8 * floor, 1.5)
    for y in (top, bottom, bottom + 8):
        pen.rail(y, 2 * u[1] - 1, floor + 16 + 12 * u[2], 2.0)
    for x in (left, right, right + 10):
        pen.line([(x, top + 8), (x, bottom - 3)], floor + 10 + 22 * u[3], 3.0)
    middle = (left + right) / 2 + 10
    for x in (middle - 72, middle - 67, middle + 65, middle + 70):
        for y in (top + 12, bottom - 34):
            pen.line([(x, y), (x, y + 22)], floor + 12, 1.2)


def _straight_pocket(pen: "_Pen", part: Part) -> None:
    """Draw a pocket with straight bright sides over the whole height."""
    u, (d_x, d_y), floor = part.pocket_shape, part.carrier_shift, part.floor
    left, right = (x + d_x for x in part.package.pocket_x)
    top, bottom = 14 + 0.5 * d_y, 208 + 3 * u[0] + 0.5 * d_y
    pen.box(-2, top, 226, bottom, floor)
    pen.box(left, top, right, bottom, 0.55 * floor)
    pen.rail(top, 3 * u[1] - 1.5, 0.35 * part.edge_level, 1.8)
    pen.rail(bottom, 3 * u[2] - 1.5, 0.4 * part.edge_level, 1.8)
    middle, half = (left + right) / 2, (right - left) / 2 - 12 - 8 * u[3]
    for x in (left, right):
        path = [(x, top + 8), (x, bottom - 8)]
        pen.line(path, 0.22 * part.edge_level, 7)
        pen.line(path, part.edge_level, 1.8 + u[5], worn=True)
    for x in (middle - half, middle - half + 4, middle + half - 4, middle + half):
        for y in (top + 10, bottom - 40):
            pen.line([(x, y), (x, y + 30)], floor + 14 + 20 * u[4], 1.2)


def _leads_and_body(pen: "_Pen", part: Part) -> None:
    w, h = part.body[0] / 2, part.body[1] / 2
    for lead in part.leads:
        half = lead.width / 2
        for offset, length, level in lead.bands:
            (x_0, y_0), (x_1, y_1) = (
                (lead.x + lead.slant * d, lead.side * (h + d)) for d in (offset, offset + length)
            )
            near, far = (
                ((x_0 - half, y_0), (x_0 + half, y_0)),
                ((x_1 + half, y_1), (x_1 - half, y_1)),
            )
            pen.polygon((*near, *far), level)
    pen.box(-w, -h, w, h, part.body_level)
    left, right, top, bottom = part.edge_levels
    pen.box(-w, -h, -w + 1.1, h, left)
    pen.box(w - 1.1, -h, w, h, right)
    pen.box(-w, -h, w, -h + 0.9, top)
    pen.box(-w, h - 0.9, w, h, bottom)
    for y, thickness in part.stripes:
        pen.box(-w + 0.8, y, w - 0.8, y + thickness, part.stripe_level)
    turns = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180}
    for glyph in part.glyphs:
        size = (pen.width_px(glyph.width), pen.width_px(glyph.height))
        mask = glyph_mask(glyph.char).resize(size, Image.Resampling.BILINEAR)
        mask = pen.thinned(mask.transpose(turns[glyph.turn_deg]))
        ((x, y),) = pen.px((glyph.centre,))
        corner = (round(x - mask.width / 2), round(y - mask.height / 2))
        pen.layer.paste(_gray(glyph.level), corner, mask)


class _Pen:
    """Draws in units on an oversampled layer whose origin is at (origin_px, origin_px)."""

    def __init__(self, side_px: int, ground: float, origin_px: float, part: Part) -> None:
        self.layer = Image.new("L", (side_px, side_px), _gray(ground))
        self.draw = ImageDraw.Draw(self.layer)
        self.k = side_px / UNITS  # pixels of a unit
        self.origin_px, self.part = origin_px, part

    def px(self, points: Sequence[Point]) -> list[Point]:
        return [(self.origin_px + self.k * x, self.origin_px + self.k * y) for x, y in points]

    def width_px(self, width: float) -> int:
        return max(1, round(width * self.k))

    def box(self, x_0: float, y_0: float, x_1: float, y_1: float, level: float) -> None:
        corners = self.px(((x_0, y_0), (x_1, y_1)))
        (a, b), (c, d) = ((round(x), round(y)) for x, y in corners)
        self.draw.rectangle((a, b, max(a, c - 1), max(b, d - 1)), _gray(level))

    def polygon(self, points: Sequence[Point], level: float, worn: bool = False) -> None:
        self._fill(lambda draw, value: draw.polygon(self.px(points), value), level, worn)

    def line(self, points: Sequence[Point], level: float, width: float, worn: bool = False) -> None:
        pixels, width_px = self.px(points), self.width_px(width)
        self._fill(lambda draw, value: draw.line(pixels, value, width_px, "curve"), level, worn)

    def rail(self, y: float, bow: float, level: float, width: float) -> None:
        """Draw a nearly straight line across the image, bowed by `bow` units in the middle."""
        points = [(x, y + bow * (1 - (x / 112 - 1) ** 2)) for x in range(-2, 240, 16)]
        self.line(points, level, width)

    def overlays(self, layer: str) -> None:
        for overlay in self.part.overlays:
            if overlay.layer == layer:
                self.polygon(overlay.points, overlay.level, overlay.worn)

    def _fill(
        self, shape: Callable[[ImageDraw.ImageDraw, int], None], level: float, worn: bool
    ) -> None:
        if not worn:
            shape(self.draw, _gray(level))
            return
        mask = Image.new("L", self.layer.size)
        shape(ImageDraw.Draw(mask), 255)
        if box := mask.getbbox():
            self.layer.paste(_gray(level), box[:2], self.thinned(mask.crop(box)))

    def thinned(self, mask: Image.Image) -> Image.Image:
        """Thin a mask by the part's piece of the wear field."""
        offsets = zip(self.part.wear_offset, mask.size, strict=True)
        x, y = (offset % max(1, FIELD_SIZE - size) for offset, size in offsets)
        piece = _fields()[3].crop((x, y, x + mask.width, y + mask.height))
        return ImageChops.multiply(mask, piece)


def _gray(level: float) -> int:
    return min(255, max(0, round(level)))


@lru_cache(maxsize=1)
def _fields() -> tuple[np.ndarray, np.ndarray, np.ndarray, Image.Image]:
    """Draw speckle, read noise, illumination and wear, each of FIELD_SIZE squared and tiling."""
    rng = np.random.default_rng(2018)  # the same for every data set
    speckle, noise = (rng.standard_normal((FIELD_SIZE, FIELD_SIZE), np.float32) for _ in "ab")
    # The contest's images come from a line camera: neighbours in a row are alike, and rows differ.
    speckle = np.float32(0.8) * (speckle + np.float32(0.7) * np.roll(speckle, 1, axis=1))
    noise += 0.45 * rng.standard_normal((FIELD_SIZE, 1), np.float32)
    illumination = 1 + 0.06 * _smooth_field(rng, 8)
    wear = (0.84 + 0.12 * _smooth_field(rng, 160)).clip(0.35, 1)
    return speckle, noise, illumination, Image.fromarray((wear * 255).astype(np.uint8))


def _smooth_field(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Draw Gaussian noise of standard deviation 1, no finer than FIELD_SIZE / cells pixels."""
    frequency = np.fft.fftfreq(FIELD_SIZE, 1 / FIELD_SIZE)
    damping = np.exp(-(frequency[:, None] ** 2 + frequency[None] ** 2) / cells**2)
    spectrum = np.fft.fft2(rng.standard_normal((FIELD_SIZE, FIELD_SIZE))) * damping
    field = np.fft.ifft2(spectrum).real
    return ((field - field.mean()) / field.std()).astype(np.float32)


def expose(scene: Image.Image, part: Part, rng: np.random.Generator) -> np.ndarray:
    """Photograph a scene (H, W) as uint8: focus, gain, uneven light, speckle and read noise.

    `rng` gives offsets into the noise fields: the same stream gives the same noise.
    """
    side = scene.height
    radius_px = part.focus_px * side / UNITS
    image = np.asarray(scene.filter(ImageFilter.GaussianBlur(radius_px)), np.float32) * part.gain
    corners = rng.integers(0, FIELD_SIZE - side, (3, 2))
    speckle, noise, illumination = (
        field[y : y + side, x : x + side]
        for field, (y, x) in zip(_fields()[:3], corners, strict=False)
    )
    image *= (1 + 0.10 * speckle) * illumination  # speckle of rough metal and plastic: a tenth
    image += 1.7 * noise + 0.5  # read noise in gray levels
    return image.clip(0, 255).astype(np.uint8)
