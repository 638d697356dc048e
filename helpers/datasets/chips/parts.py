"""Geometry of synthetic chip parts: packages, and all that varies from part to part.

A picture is drawn from a `Part`, a frozen record. A defect is a function Part -> Part (see
`defects.py`), so that a good and a bad picture of the same part differ in the defect alone.
Lengths are in units of 1/224 of the image's side, the scale of the contest's sample figures;
levels are gray values 0...255 before gain and noise.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

UNITS = 224
FIELD_SIZE = 1024  # side of the pre-drawn noise fields, in pixels
Point = tuple[float, float]


@dataclass(frozen=True)
class Package:
    """Properties of one package type; `share` is its fraction of the parts."""

    name: str
    share: float
    pocket: str  # "flared", "framed", "open" or "straight"
    pocket_x: tuple[float, float]  # left and right pocket edge
    body: tuple[float, float]  # width, height
    lead: tuple[float, float]  # width, length
    lead_blocks: int  # 2: a bright block and a dim one with a dark gap; 1: one bright block
    floor: float  # gray level of the pocket's floor
    markings: tuple[str, ...]  # "/" separates a second marking, read sideways


PACKAGES = (
    Package(
        *("small_flared", 0.40, "flared", (5, 218), (107, 73), (29, 24), 2, 15.0),
        ("A6", "A7", "A8", "ZK", "ZT", "V3", "VM", "S2", "L5"),
    ),
    Package(
        *("small_framed", 0.28, "framed", (6, 217), (109, 78), (28, 26), 2, 18.0),
        ("A6", "A7", "AM", "NZ", "E3", "ZF", "M1"),
    ),
    Package(*("square_lead", 0.12, "open", (8, 184), (108, 72), (28, 22), 1, 40.0), ("AP", "TW")),
    Package(
        *("tall", 0.12, "straight", (9, 213), (106, 112), (48, 23), 1, 34.0),
        ("W86/A8", "W87/A6", "W86/DN"),
    ),
    Package(
        *("tall_narrow", 0.08, "straight", (81, 218), (76, 112), (33, 26), 1, 36.0),
        ("W87/DN", "W86/DN", "W88/DK"),
    ),
)


@dataclass(frozen=True)
class Glyph:
    """A character of the marking, in the part's frame, turned by `turn_deg`."""

    char: str
    centre: Point
    height: float
    width: float
    turn_deg: int
    level: float


@dataclass(frozen=True)
class Lead:
    """A lead as bands (distance from the body, length, level), leaning sideways by `slant`."""

    side: int  # -1 above the body, 1 below
    x: float
    width: float
    slant: float
    bands: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Overlay:
    """A polygon painted last; `worn` gives it the uneven brightness of scratched material."""

    points: tuple[Point, ...]
    level: float
    layer: str = "part"  # "part": the part's frame, moves with it; "carrier": the image's frame
    worn: bool = False


@dataclass(frozen=True)
class Part:
    """Everything that varies from image to image, apart from noise."""

    package: Package
    marking: str  # printed on the package; parts of one lot have the same
    centre: Point
    angle_deg: float
    body: tuple[float, float]
    body_level: float
    edge_levels: tuple[float, ...]  # left, right, top, bottom
    glyphs: tuple[Glyph, ...]
    stripes: tuple[tuple[float, float], ...]  # (y, thickness) in the part's frame
    stripe_level: float
    leads: tuple[Lead, ...]
    carrier_shift: Point
    pocket_shape: tuple[float, ...]  # eight random numbers in 0...1 that shape the pocket
    edge_level: float
    floor: float
    focus_px: float
    gain: float
    wear_offset: tuple[int, int]
    overlays: tuple[Overlay, ...] = ()
    present: bool = True


def draw_parameters(rng: np.random.Generator) -> Part:
    """Draw one good part: package, pose, geometry and brightness, all from `rng`."""
    package = PACKAGES[rng.choice(len(PACKAGES), p=[p.share for p in PACKAGES])]
    body = tuple(np.array(package.body) * rng.uniform(0.96, 1.05, 2))
    shift = rng.normal(0, (2.0, 5.0)).clip(-9, 9)
    in_pocket = rng.normal(0, 2.6, 2).clip(-6, 6)
    middle = sum(package.pocket_x) / 2 if package.pocket != "open" else 108.0
    contrast = rng.uniform(0.55, 1.25)  # of the marking and the stripes: laser and exposure
    floor = package.floor * rng.uniform(0.75, 1.3)
    body_level = floor * 0.7 + rng.uniform(9, 20)
    marking = str(rng.choice(package.markings))
    angle_deg = float(np.clip(rng.normal(0, 2.4), -8, 8))
    edge_levels = tuple(body_level + rng.uniform(4, 60, 4) * contrast)
    glyph_level = body_level + 78 * contrast * rng.uniform(0.8, 1.2)
    glyphs = _glyphs(marking, body, glyph_level, rng)
    count = int(rng.integers(4, 7))  # of the stripes
    pitch = rng.uniform(5.4, 6.4) * (1.0 if count < 6 else 0.88)
    thickness = rng.uniform(1.5, 2.6)
    bottom = body[1] * rng.uniform(0.33, 0.38)
    return Part(
        package=package,
        marking=marking,
        centre=(middle + shift[0] + in_pocket[0], 112 + shift[1] + in_pocket[1]),
        angle_deg=angle_deg,
        body=body,
        body_level=body_level,
        edge_levels=edge_levels,
        glyphs=glyphs,
        stripes=tuple((bottom - i * pitch, thickness) for i in range(count)),
        stripe_level=body_level + 88 * contrast * rng.uniform(0.7, 1.2),
        leads=tuple(_lead(side, package, rng) for side in (-1, 1)),
        carrier_shift=tuple(shift),
        pocket_shape=tuple(rng.uniform(size=8)),
        edge_level=rng.uniform(120, 225),
        floor=floor,
        focus_px=rng.uniform(0.55, 0.85) + (rng.uniform() < 0.12) * rng.uniform(0, 0.7),
        gain=float(np.exp(rng.normal(0.28, 0.17))),
        wear_offset=tuple(rng.integers(0, FIELD_SIZE, 2).tolist()),
        overlays=tuple(_speck(rng) for _ in range(rng.poisson(2.0))),
    )


def _glyphs(
    marking: str, body: tuple[float, float], level: float, rng: np.random.Generator
) -> tuple[Glyph, ...]:
    """Draw the marking in the upper half, upside down as in the contest's pictures."""
    upright, _, sideways = marking.partition("/")
    tall = bool(sideways)
    height = (16 if tall else 21) * rng.uniform(0.94, 1.08)
    pitch = (19 if tall else 37) * body[0] / 107 + (5 if tall else 0)
    y = -body[1] * (0.36 if tall else 0.24) + rng.uniform(-2, 2)
    x_0 = rng.uniform(-3, 3) + (len(upright) - 1) / 2 * pitch
    width = height * (0.95 if tall else 1.3)
    glyphs = [
        Glyph(c, (x_0 - i * pitch, y), height, width * _aspect(c), 180, level)
        for i, c in enumerate(upright)
    ]
    for i, c in enumerate(sideways):
        centre = (rng.uniform(-1, 1) - 6, y + 41 - i * 20)
        glyphs.append(Glyph(c, centre, 23, 19 * _aspect(c), 90, level))
    return tuple(glyphs)


def _lead(side: int, package: Package, rng: np.random.Generator) -> Lead:
    width, length = np.array(package.lead) * rng.uniform(0.93, 1.07, 2)
    bright = rng.uniform(205, 255)
    if package.lead_blocks == 1:
        edges = np.linspace(0.5, length, 9)
        bands = [(a, b - a, bright * rng.uniform(0.9, 1.05)) for a, b in pairwise(edges)]
    else:
        inner = length * rng.uniform(0.28, 0.44)
        bands = [(0.5, inner, bright)]
        edges = np.linspace(inner + rng.uniform(1.5, 4.5), length, 6)
        dim = rng.uniform(70, 150)
        bands += [(a, b - a, dim * rng.uniform(0.35, 1.65)) for a, b in pairwise(edges)]
    return Lead(side, rng.normal(0, 1.6), width, rng.normal(0, 0.025), tuple(bands))


def _speck(rng: np.random.Generator) -> Overlay:
    """Draw dust, which good parts have too: a dot far smaller than any defect."""
    (x, y), radius = rng.uniform(12, 212, 2), rng.uniform(0.4, 1.0)
    points = ((x - radius, y), (x, y - radius), (x + radius, y), (x, y + radius))
    return Overlay(points, rng.uniform(40, 130), "carrier")


@lru_cache(maxsize=64)
def glyph_mask(char: str) -> Image.Image:
    """Draw a character 100 px high, cropped to its ink, in Pillow's built-in typeface."""
    font = ImageFont.load_default(size=100)
    mask = Image.new("L", (200, 200))
    ImageDraw.Draw(mask).text((50, 30), char, 255, font, stroke_width=2)
    return mask.crop(mask.getbbox())


def _aspect(char: str) -> float:
    """Return the width of a character's ink relative to that of an A."""
    ink, reference = glyph_mask(char), glyph_mask("A")
    return (ink.width / ink.height) / (reference.width / reference.height)
