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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFilter, ImageFont

UNITS = 224
IMAGE_SIZE_PX = 280
SPLITS = ("train", "test")
PURPOSES = ("part", "sensor", "defect", "labels", "names")
OVERSAMPLE = 2  # ImageDraw does not antialias; drawing at twice the size and averaging does
Point = tuple[float, float]


class Package(NamedTuple):
    """Properties of one package type; `share` is its fraction of the parts."""

    name: str
    share: float
    pocket: tuple[float, float]  # x of its left and right side
    body: tuple[float, float]  # width, height
    lead: tuple[float, float]  # width, length
    floor: float  # gray level of the pocket's floor
    markings: tuple[str, ...]


SMALL = ("A6", "A7", "A8", "AM", "E3", "L5", "M1", "NZ", "S2", "V3", "VM", "ZF", "ZK", "ZT")
PACKAGES = (
    Package("small", 0.65, (6, 218), (108, 75), (28, 25), 16.0, SMALL),
    Package("square", 0.12, (8, 184), (108, 72), (28, 22), 40.0, ("AP", "TW")),
    Package("tall", 0.15, (9, 213), (106, 112), (48, 23), 34.0, ("W86", "W87", "W89")),
    Package("narrow", 0.08, (81, 218), (76, 112), (33, 26), 36.0, ("D6", "D7", "K8")),
)


class Lead(NamedTuple):
    """A lead, bright at the body and dim at its end, leaning sideways by `slant`."""

    side: int  # -1 above the body, 1 below
    width: float
    length: float
    slant: float
    level: float


class Overlay(NamedTuple):
    """A polygon painted last; its points are relative to the part's centre."""

    points: tuple[Point, ...]
    level: float


@dataclass(frozen=True)
class Part:
    """Everything that varies from image to image, apart from noise."""

    package: Package
    marking: str  # of the lot
    printed: str  # the marking, with a space for each lost character
    centre: Point
    angle_deg: float
    body: tuple[float, float]
    level: float  # of the body
    print_level: float  # of marking and stripes
    leads: tuple[Lead, ...]
    edge_level: float  # of the pocket's sides
    floor: float
    focus: float  # radius of the blur, in units
    gain: float
    overlays: tuple[Overlay, ...]
    present: bool = True


def draw_parameters(rng: np.random.Generator) -> Part:
    """Draw one good part: package, pose, geometry, brightness and dust, all from `rng`."""
    package = PACKAGES[rng.choice(len(PACKAGES), p=[p.share for p in PACKAGES])]
    marking = str(rng.choice(package.markings))
    shift = rng.normal(0, (3, 5)).clip(-9, 9)
    floor = package.floor * rng.uniform(0.75, 1.3)
    level = floor * 0.7 + rng.uniform(9, 20)
    width, length = package.lead
    leads = [
        Lead(
            side,
            width * rng.uniform(0.93, 1.07),
            length * rng.uniform(0.93, 1.07),
            rng.normal(0, 0.025),
            rng.uniform(205, 255),
        )
        for side in (-1, 1)
    ]
    # good parts have dust too: dots far smaller than any defect
    dust = [
        Overlay(_ragged(rng.uniform(-100, 100, 2), 1.6, 1.6, 0, rng), rng.uniform(40, 130))
        for _ in range(rng.poisson(2.0))
    ]
    return Part(
        package=package,
        marking=marking,
        printed=marking,
        centre=(sum(package.pocket) / 2 + shift[0], UNITS / 2 + shift[1]),
        angle_deg=float(np.clip(rng.normal(0, 2.4), -8, 8)),
        body=tuple(np.array(package.body) * rng.uniform(0.96, 1.05, 2)),
        level=level,
        print_level=level + rng.uniform(45, 100),
        leads=tuple(leads),
        edge_level=rng.uniform(120, 225),
        floor=floor,
        focus=rng.uniform(0.55, 0.85) + (rng.uniform() < 0.12) * rng.uniform(0, 0.7),
        gain=float(np.exp(rng.normal(0.28, 0.17))),
        overlays=tuple(dust),
    )


def _ragged(
    centre: ArrayLike, length: float, width: float, turn_rad: float, rng: np.random.Generator
) -> tuple[Point, ...]:
    """Draw a ragged ellipse: a scratch if it is long, a crumb if it is round."""
    t = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    reach = rng.uniform(0.7, 1.3, 16) / 2
    along, across = reach * length * np.cos(t), reach * width * np.sin(t)
    cos, sin = np.cos(turn_rad), np.sin(turn_rad)
    turned = [cos * along - sin * across, sin * along + cos * across]
    points = np.array(centre) + np.stack(turned, axis=1)  # (16, 2)
    return tuple((float(x), float(y)) for x, y in points)


# --- defects ---------------------------------------------------------------------------------


def _between(weak: float, strong: float, strength: float) -> float:
    return weak + (strong - weak) * strength


def _with(part: Part, points: Sequence[Point], level: float) -> Part:
    return replace(part, overlays=(*part.overlays, Overlay(tuple(points), level)))


def scratch(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Draw a ragged bright streak across body or marking."""
    centre = rng.uniform(-0.25, 0.25, 2) * part.body
    length, width = _between(30, 76, strength), _between(2.8, 6.4, strength)
    points = _ragged(centre, length, width, rng.normal(0, 0.5), rng)
    return _with(part, points, part.level + _between(105, 195, strength))


def chipped_corner(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Break a corner off; the facet is bright."""
    s_x, s_y = rng.choice([-1, 1], 2)
    along = _between(19, 48, strength) * rng.uniform(0.8, 1.2)
    down = _between(10, 23, strength) * rng.uniform(0.8, 1.2)
    x, y = s_x * part.body[0] / 2, s_y * part.body[1] / 2
    facet = ((x, y), (x - s_x * along, y), (x, y - s_y * down))
    return _with(part, facet, part.level + _between(95, 185, strength))


def foreign_material(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Put a crumb on body or pocket."""
    centre, size = rng.uniform(-0.62, 0.62, 2) * part.body, _between(10, 27, strength)
    points = _ragged(centre, size, size, 0, rng)
    return _with(part, points, part.level + _between(85, 205, strength))


def bent_lead(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Bend one lead sideways; it looks shorter."""
    which = int(rng.integers(len(part.leads)))
    lead, leads = part.leads[which], list(part.leads)
    slant = lead.slant + rng.choice([-1, 1]) * _between(0.45, 1.2, strength)
    leads[which] = lead._replace(slant=slant, length=lead.length * _between(0.95, 0.7, strength))
    return replace(part, leads=tuple(leads))


def smeared_lead(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Smear solder or metal sideways out of one lead."""
    lead = part.leads[int(rng.integers(len(part.leads)))]
    y = lead.side * (part.body[1] / 2 + rng.uniform(0.2, 0.5) * lead.length)
    length, width = lead.width * _between(1.4, 2.4, strength), _between(5, 14, strength)
    points = _ragged((rng.choice([-0.3, 0.3]) * lead.width, y), length, width, 0, rng)
    return _with(part, points, _between(130, 255, strength))


def damaged_marking(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Remove a character or, from a strength of 0.5 on, the whole marking."""
    which = int(rng.integers(len(part.marking)))
    kept = "".join(" " if n == which else char for n, char in enumerate(part.printed))
    return replace(part, printed=kept if strength < 0.5 else "")


def pocket_damage(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Break a side of the pocket, with bright debris."""
    x = part.package.pocket[int(rng.integers(2))]
    inside, y = np.sign(UNITS / 2 - x) * rng.uniform(4, 8), rng.uniform(75, 150)
    centre, extent = np.array([x + inside, y]) - part.centre, _between(12, 40, strength)
    points = _ragged(centre, extent, 0.4 * extent, np.pi / 2, rng)
    return _with(part, points, part.floor + _between(60, 190, strength))


def empty_pocket(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Leave the pocket empty."""
    return replace(part, present=False)


def overexposed_pocket(part: Part, rng: np.random.Generator, strength: float) -> Part:
    """Leave the pocket empty, with light from below that saturates the sensor."""
    w, h = 0.65 * part.body[0], rng.uniform(70, 92)
    return replace(_with(part, ((-w, -h), (w, -h), (w, h), (-w, h)), 255), present=False)


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


# --- images ----------------------------------------------------------------------------------


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
        kind = str(rng.choice(list(DEFECTS), p=[share for share, _ in DEFECTS.values()]))
        info["defect"] = kind
        info["difficulty"] = 0.0 if kind in UNMISSABLE else float(rng.uniform())
        image = photograph(DEFECTS[kind][1](part, rng, 1 - info["difficulty"]))
    return image, image != good, info


def draw_scene(part: Part, size_px: int) -> Image.Image:
    """Draw a part in its pocket, in focus and without noise, as an 8-bit gray image."""
    k = OVERSAMPLE * size_px / UNITS  # pixels of a unit
    ground = _gray(0.75 * part.floor)
    scene = Image.new("L", (OVERSAMPLE * size_px,) * 2, ground)
    draw = ImageDraw.Draw(scene)
    (x, y), (w, h) = part.centre, (part.body[0] / 2, part.body[1] / 2)

    def polygon(points: Sequence[Point], level: float) -> None:
        draw.polygon([(k * (x + d_x), k * (y + d_y)) for d_x, d_y in points], _gray(level))

    def box(x_0: float, y_0: float, x_1: float, y_1: float, level: float) -> None:
        polygon([(x_0, y_0), (x_1, y_0), (x_1, y_1), (x_0, y_1)], level)

    left, right = (side - x for side in part.package.pocket)
    box(left, 30 - y, right, 192 - y, part.floor)
    for side in (left, right):
        box(side - 1.1, 38 - y, side + 1.1, 184 - y, part.edge_level)
    if part.present:
        for lead in part.leads:
            half = lead.width / 2
            for start, end, level in ((0, 0.4, lead.level), (0.5, 1, 0.5 * lead.level)):
                (x_0, y_0), (x_1, y_1) = (
                    (lead.slant * d, lead.side * (h + d))
                    for d in (start * lead.length, end * lead.length)
                )
                ends = [(x_0 - half, y_0), (x_0 + half, y_0), (x_1 + half, y_1), (x_1 - half, y_1)]
                polygon(ends, level)
        box(-w, -h, w, h, part.level + 25)
        box(-w + 1.1, -h + 1.1, w - 1.1, h - 1.1, part.level)
        for n in range(4):  # printed lines
            box(-w + 2, 0.7 * h - 6 * n, w - 2, 0.7 * h - 6 * n + 2, part.print_level)
        pitch = 1.6 * w / len(part.marking)
        font = ImageFont.load_default(30 * k)  # capitals are 3/4 of a font's size
        for n, char in enumerate(part.printed):
            at = (k * (x + (n - (len(part.marking) - 1) / 2) * pitch), k * (y - 0.48 * h))
            draw.text(at, char, _gray(part.print_level), font, "mm", stroke_width=1)
    for overlay in part.overlays:
        polygon(overlay.points, overlay.level)
    small = scene.reduce(OVERSAMPLE)
    return small.rotate(part.angle_deg, Image.Resampling.BILINEAR, fillcolor=ground)


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


def _gray(level: float) -> int:
    return min(255, max(0, round(level)))
