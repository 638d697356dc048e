"""Damage synthetic chip parts: functions Part -> Part with a strength from 0 to 1.

Strength 1 is seen at a glance, strength 0 is at the limit of what an attentive person finds.
Each function draws from its own stream `rng`, never from the part's.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from helpers.datasets.chips.parts import UNITS, Overlay, Part, Point

Defect = Callable[[Part, np.random.Generator, float], Part]


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
DEFECTS: dict[str, tuple[float, Defect]] = {
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
