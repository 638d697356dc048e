"""Synthetic chip parts: packages, and all that varies from part to part.

A picture is drawn from a `Part`, a frozen record. A defect is a function Part -> Part (see
`defects.py`), so that a good and a bad picture of the same part differ in the defect alone.
Lengths are in units of 1/224 of the image's side, the scale of the contest's sample figures;
levels are gray values 0...255 before gain and noise.
"""

from dataclasses import dataclass

import numpy as np

UNITS = 224
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
