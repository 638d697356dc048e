"""Draw synthetic chip parts: parameters -> Part -> scene -> noisy 8-bit image, and a defect's mask.

A picture is drawn from a `Part`, a frozen record of all that varies. A defect is a function
Part -> Part with a strength from 0 (at the limit of what an attentive person finds) to 1 (seen at a
glance). Part, noise and defect have random streams of their own: label 0 and label 1 show the same
part under the same noise, and nothing but the defect tells them apart. Lengths are in units of
1/224 of the image's side, the scale of the contest's sample figures; levels are gray values 0...255
before gain and noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

UNITS = 224
IMAGE_SIZE_PX = 280
SPLITS = ("train", "test")
PURPOSES = ("part", "sensor", "defect", "labels", "names")
OVERSAMPLE = 2  # ImageDraw does not antialias; drawing at twice the size and averaging does
Point = tuple[float, float]


@dataclass(frozen=True)
class Package:
    """Properties of one package type; `share` is its fraction of the parts."""

    name: str
    share: float
    pocket: tuple[float, float]  # x of its left and right side
    body: tuple[float, float]  # width, height
    lead: tuple[float, float]  # width, length
    floor: float  # gray level of the pocket's floor
    markings: tuple[str, ...]


PACKAGES = (
    Package(
        *("small", 0.65, (6, 218), (108, 75), (28, 25), 16.0),
        ("A6", "A7", "A8", "AM", "E3", "L5", "M1", "NZ", "S2", "V3", "VM", "ZF", "ZK", "ZT"),
    ),
    Package("square", 0.12, (8, 184), (108, 72), (28, 22), 40.0, ("AP", "TW")),
    Package("tall", 0.15, (9, 213), (106, 112), (48, 23), 34.0, ("W86", "W87", "W89")),
    Package("narrow", 0.08, (81, 218), (76, 112), (33, 26), 36.0, ("D6", "D7", "K8")),
)


@dataclass(frozen=True)
class Glyph:
    """A character of the marking, in the part's frame."""

    char: str
    centre: Point
    height: float
    level: float


@dataclass(frozen=True)
class Lead:
    """A lead, bright at the body and dim at its end, leaning sideways by `slant`."""

    side: int  # -1 above the body, 1 below
    x: float
    width: float
    length: float
    slant: float
    levels: tuple[float, float]


@dataclass(frozen=True)
class Overlay:
    """A polygon painted last."""

    points: tuple[Point, ...]
    level: float
    layer: str = "part"  # "part": the part's frame, moves with it; "carrier": the image's frame


@dataclass(frozen=True)
class Part:
    """Everything that varies from image to image, apart from noise."""

    package: Package
    marking: str  # printed on the package; parts of one lot have the same
    centre: Point
    angle_deg: float
    body: tuple[float, float]
    body_level: float
    glyphs: tuple[Glyph, ...]
    stripes: tuple[float, ...]  # y of the printed lines, in the part's frame
    print_level: float  # of marking and stripes
    leads: tuple[Lead, ...]
    carrier_shift: Point
    rails: tuple[float, ...]  # y of the carrier's bright lines
    edge_level: float
    floor: float
    focus: float  # radius of the blur, in units
    gain: float
    overlays: tuple[Overlay, ...] = ()
    present: bool = True


def draw_parameters(rng: np.random.Generator) -> Part:
    """Draw one good part: package, pose, geometry and brightness, all from `rng`."""
    package = PACKAGES[rng.choice(len(PACKAGES), p=[p.share for p in PACKAGES])]
    marking = str(rng.choice(package.markings))
    width, height = np.array(package.body) * rng.uniform(0.96, 1.05, 2)
    shift = rng.normal(0, (2.0, 5.0)).clip(-9, 9)
    middle = np.array([sum(package.pocket) / 2, UNITS / 2])
    centre = middle + shift + rng.normal(0, 2.6, 2).clip(-6, 6)
    floor = package.floor * rng.uniform(0.75, 1.3)
    body_level = floor * 0.7 + rng.uniform(9, 20)
    print_level = body_level + rng.uniform(45, 100)
    pitch = 0.8 * width / len(marking)
    row = -0.24 * height + rng.uniform(-2, 2)
    columns = (np.arange(len(marking)) - (len(marking) - 1) / 2) * pitch + rng.uniform(-3, 3)
    glyphs = [
        Glyph(char, (x, row), 22 * rng.uniform(0.94, 1.08), print_level * rng.uniform(0.9, 1.1))
        for char, x in zip(marking, columns, strict=True)
    ]
    leads = [
        Lead(
            side,
            rng.normal(0, 1.6),
            package.lead[0] * rng.uniform(0.93, 1.07),
            package.lead[1] * rng.uniform(0.93, 1.07),
            rng.normal(0, 0.025),
            (rng.uniform(205, 255), rng.uniform(60, 180)),
        )
        for side in (-1, 1)
    ]
    return Part(
        package=package,
        marking=marking,
        centre=tuple(centre),
        angle_deg=float(np.clip(rng.normal(0, 2.4), -8, 8)),
        body=(width, height),
        body_level=body_level,
        glyphs=tuple(glyphs),
        stripes=tuple(height * rng.uniform(0.33, 0.38) - 6 * np.arange(rng.integers(3, 6))),
        print_level=print_level,
        leads=tuple(leads),
        carrier_shift=tuple(shift),
        rails=tuple(np.array([14, 30, 192, 212]) + rng.uniform(-4, 4, 4)),
        edge_level=rng.uniform(120, 225),
        floor=floor,
        focus=rng.uniform(0.55, 0.85) + (rng.uniform() < 0.12) * rng.uniform(0, 0.7),
        gain=float(np.exp(rng.normal(0.28, 0.17))),
        overlays=tuple(_speck(rng) for _ in range(rng.poisson(2.0))),
    )


def _speck(rng: np.random.Generator) -> Overlay:
    """Draw dust, which good parts have too: a dot far smaller than any defect."""
    (x, y), radius = rng.uniform(12, 212, 2), rng.uniform(0.4, 1.0)
    points = ((x - radius, y), (x, y - radius), (x + radius, y), (x, y + radius))
    return Overlay(points, rng.uniform(40, 130), "carrier")


def _between(weak: float, strong: float, strength: float) -> float:
    return weak + (strong - weak) * strength


def _with(part: Part, *overlays: Overlay) -> Part:
    return replace(part, overlays=part.overlays + overlays)


def _streak(
    start: ArrayLike, direction_rad: float, length: float, width: float, rng: np.random.Generator
) -> tuple[Point, ...]:
    """Draw a ragged, tapering polygon around a line."""
    t = np.linspace(0, 1, 9)
    along = np.array([np.cos(direction_rad), np.sin(direction_rad)])
    across = np.array([-along[1], along[0]])
    centre = np.array(start) + np.outer(t * length, along)  # (9, 2)
    taper = np.minimum(1, 3 * np.minimum(t + 0.1, 1.05 - t))
    half = width / 2 * taper * rng.uniform(0.5, 1.5, (2, 9))  # (2 sides, 9)
    sides = centre + half[..., None] * across * np.array([1, -1])[:, None, None]
    return tuple((float(x), float(y)) for x, y in np.concatenate([sides[0], sides[1][::-1]]))


def _blob(centre: ArrayLike, radius: float, rng: np.random.Generator) -> tuple[Point, ...]:
    angle = np.linspace(0, 2 * np.pi, 11, endpoint=False)
    reach = radius * rng.uniform(0.6, 1.4, 11)
    points = np.array(centre) + np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)
    return tuple((float(x), float(y)) for x, y in points)


def scratch(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Draw a ragged bright streak across body or marking."""
    w, h = part.body
    start = (rng.uniform(-0.45, 0.1) * w, rng.uniform(-0.42, 0.3) * h)
    length, width = _between(30, 76, strength), _between(2.8, 6.4, strength)
    level = part.body_level + _between(105, 195, strength)
    return _with(part, Overlay(_streak(start, rng.normal(0, 0.5), length, width, rng), level))


def chipped_corner(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Break a corner off; the facet is bright."""
    s_x, s_y = rng.choice([-1, 1], 2)
    along = _between(19, 48, strength) * rng.uniform(0.8, 1.2)
    down = _between(10, 23, strength) * rng.uniform(0.8, 1.2)
    corner = np.array([s_x * part.body[0] / 2, s_y * part.body[1] / 2])
    a, b = corner - (s_x * along, 0), corner - (0, s_y * down)
    ragged = [a + (b - a) * t + rng.normal(0, 0.8, 2) for t in (0.3, 0.5, 0.7)]
    facet = tuple(map(tuple, (corner, a, *ragged, b)))
    return _with(part, Overlay(facet, part.body_level + _between(95, 185, strength)))


def foreign_material(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Put a crumb or a fibre on body or pocket."""
    centre = rng.uniform(-0.62, 0.62, 2) * part.body
    level = part.body_level + _between(85, 205, strength)
    if rng.uniform() < 0.3:
        length, width = _between(24, 60, strength), _between(1.8, 3.2, strength)
        turn = rng.uniform(0, np.pi)
        return _with(part, Overlay(_streak(centre, turn, length, width, rng), level))
    return _with(part, Overlay(_blob(centre, _between(5.0, 13.5, strength), rng), level))


def bent_lead(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Bend one lead sideways; it looks shorter."""
    which = int(rng.integers(len(part.leads)))
    lead = part.leads[which]
    slant = lead.slant + rng.choice([-1, 1]) * _between(0.45, 1.2, strength)
    bent = replace(lead, slant=slant, length=lead.length * _between(0.95, 0.7, strength))
    return replace(part, leads=(*part.leads[:which], bent, *part.leads[which + 1 :]))


def smeared_lead(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Smear solder or metal sideways out of one lead."""
    lead = part.leads[int(rng.integers(len(part.leads)))]
    smears = []
    for _ in range(3):
        reach = lead.width * _between(0.95, 1.7, strength)
        y = lead.side * (part.body[1] / 2 + rng.uniform(0.15, 0.6) * lead.length)
        start = (lead.x - reach * rng.uniform(0.3, 0.7), y)
        points = _streak(start, rng.normal(0, 0.12), reach, _between(2.4, 6.5, strength), rng)
        smears.append(Overlay(points, _between(130, 255, strength)))
    return _with(part, *smears)


def damaged_marking(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Remove a character or the marking, or wipe a part of a character off."""
    which = int(rng.integers(len(part.glyphs)))
    if strength > 0.4:
        glyphs = part.glyphs[:which] + part.glyphs[which + 1 :]
        return replace(part, glyphs=glyphs if rng.uniform() < 0.75 else ())
    glyph = part.glyphs[which]
    start = (glyph.centre[0] - 0.6 * glyph.height, glyph.centre[1])
    width = _between(0.55, 0.95, strength / 0.4) * glyph.height
    wipe = _streak(start, rng.normal(0, 0.3), 1.2 * glyph.height, width, rng)
    return _with(part, Overlay(wipe, part.body_level))


def pocket_damage(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Break a side of the pocket, with bright debris."""
    x = part.package.pocket[int(rng.integers(2))] + part.carrier_shift[0]
    y, extent = rng.uniform(75, 150), _between(12, 40, strength)
    gap = _streak((x, y - extent / 2), np.pi / 2, extent, 9, rng)
    centre = (x + np.sign(UNITS / 2 - x) * rng.uniform(2, 7), y + rng.normal(0, 0.3) * extent)
    debris = _blob(centre, _between(3.5, 11, strength), rng)
    level = part.floor + _between(60, 190, strength)
    return _with(part, Overlay(gap, part.floor, "carrier"), Overlay(debris, level, "carrier"))


def empty_pocket(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Leave the pocket empty."""
    return replace(part, present=False)


def overexposed_pocket(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Leave the pocket empty, with light from below that saturates the sensor."""
    (x, y), w, h = part.centre, 0.65 * part.body[0], rng.uniform(70, 92)
    light = ((x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h))
    return replace(_with(part, Overlay(light, 255, "carrier")), present=False)


# name: (fraction of the bad parts, function)
DEFECTS: dict[str, tuple[float, Callable[[Part, np.random.Generator, float], Part]]] = {
    "scratch": (0.22, scratch),
    "chipped_corner": (0.17, chipped_corner),
    "foreign_material": (0.17, foreign_material),
    "bent_lead": (0.08, bent_lead),
    "smeared_lead": (0.09, smeared_lead),
    "damaged_marking": (0.14, damaged_marking),
    "pocket_damage": (0.08, pocket_damage),
    "empty_pocket": (0.03, empty_pocket),
    "overexposed_pocket": (0.02, overexposed_pocket),
}
UNMISSABLE = ("empty_pocket", "overexposed_pocket")  # come in one strength only


def draw_defect(part: Part, rng: np.random.Generator) -> tuple[Part, str, float]:
    """Draw a defect and its difficulty; return (bad part, kind, difficulty 0...1)."""
    kind = str(rng.choice(list(DEFECTS), p=[share for share, _ in DEFECTS.values()]))
    difficulty = 0.0 if kind in UNMISSABLE else float(rng.uniform())
    return DEFECTS[kind][1](part, rng, 1 - difficulty), kind, difficulty


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
