"""Draws procedural scenes: several objects on a varied background, with exact masks.

An object has a shape, a colour, a texture and a size; objects may overlap slightly, and
the nearer one occludes the farther one. Boxes and masks are those of the visible part, as
in COCO. Everything is drawn from one `numpy.random.Generator`, so a seed determines a scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

SIDE = 256
"""Width and height of a scene in pixels."""
_PIXEL = np.arange(SIDE, dtype=np.float32)

COLORS = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (40, 80, 220),
    "yellow": (240, 215, 40),
    "purple": (140, 50, 190),
    "orange": (250, 140, 20),
    "white": (245, 245, 245),
    "black": (18, 18, 18),
}
TEXTURES = ("plain", "striped", "dotted")
RADII = {"small": (51.0, 57.0), "large": (68.0, 78.0)}
"""Range of the circumscribed radius, in pixels, by size word."""

Field = np.ndarray


def _rotated(u: Field, v: Field, angle: float) -> tuple[Field, Field]:
    c, s = np.cos(angle), np.sin(angle)
    return c * u + s * v, c * v - s * u


def _in_star(u: Field, v: Field, inner: float = 0.45) -> Field:
    """Indicator of a five-pointed star: folds the plane onto half a point, then tests one line."""
    point = 2 * np.pi / 5
    fold = np.abs((np.arctan2(v, u) + np.pi / 2 + point / 2) % point - point / 2)
    radius = np.hypot(u, v)
    x, y = radius * np.cos(fold), radius * np.sin(fold)
    corner_x, corner_y = inner * np.cos(point / 2), inner * np.sin(point / 2)
    return (x - 1) * corner_y - y * (corner_x - 1) <= 0


# Each shape is an indicator over u (right) and v (down), both in units of the radius.
SHAPES: dict[str, Callable[[Field, Field], Field]] = {
    "circle": lambda u, v: u**2 + v**2 <= 0.92,
    "square": lambda u, v: np.maximum(abs(u), abs(v)) <= 0.84,
    "triangle": lambda u, v: (v <= 0.72) & (abs(u) <= 0.55 * (v + 1.0)),
    "star": _in_star,
    "cross": lambda u, v: (np.minimum(abs(u), abs(v)) <= 0.34) & (np.maximum(abs(u), abs(v)) <= 0.95),
    "ring": lambda u, v: (u**2 + v**2 <= 0.95) & (u**2 + v**2 >= 0.26),
    "crescent": lambda u, v: (u**2 + v**2 <= 1.0) & ((u - 0.55) ** 2 + v**2 >= 0.62),
    "bracket": lambda u, v: (np.maximum(abs(u), abs(v)) <= 0.84) & ((u <= -0.2) | (v >= 0.2)),
}
ROUND = ("circle", "ring", "crescent")
"""The curved shapes: scenes of testA have only these, scenes of testB only the others."""

_FREE_ROTATION = {"crescent": np.pi, "bracket": np.pi}
_JITTER = np.pi / 18


@dataclass(frozen=True)
class Thing:
    """One drawn object: its attributes, and its centre and radius in pixels."""

    shape: str
    color: str
    texture: str
    size: str
    x: float
    y: float
    radius: float
    angle: float

    @property
    def window(self) -> tuple[slice, slice]:
        """Returns the rows and columns of the scene that enclose the object."""
        low = (max(0, int(c - self.radius)) for c in (self.y, self.x))
        high = (min(SIDE, int(c + self.radius) + 1) for c in (self.y, self.x))
        rows, columns = (slice(a, b) for a, b in zip(low, high, strict=True))
        return rows, columns

    def indicator(self) -> Field:
        """Returns the boolean `SIDE × SIDE` mask of the whole object, hidden parts included."""
        rows, columns = self.window
        x, y = _PIXEL[None, columns] + 0.5 - self.x, _PIXEL[rows, None] + 0.5 - self.y
        mask = np.zeros((SIDE, SIDE), bool)
        mask[rows, columns] = SHAPES[self.shape](*_rotated(x / self.radius, y / self.radius, self.angle))
        return mask

    def paint(self) -> Field:
        """Returns the colours of the window, `rows × columns × 3`."""
        rows, columns = self.window
        x, y = _PIXEL[None, columns], _PIXEL[rows, None]
        base = np.array(COLORS[self.color], np.float32)
        dark = base * 0.35 + (75 if base.sum() < 90 else 0)
        if self.texture == "striped":
            pattern = ((x + y) // 16 % 2) == 0
        elif self.texture == "dotted":
            pattern = (x % 20 - 10) ** 2 + (y % 20 - 10) ** 2 <= 30
        else:
            pattern = np.zeros((len(y), x.shape[1]), bool)
        return np.where(pattern[..., None], dark, base)


@dataclass(frozen=True)
class Scene:
    """Objects from far to near, and the visible part of each."""

    things: tuple[Thing, ...]
    background: Field
    masks: Field
    """Boolean `things × SIDE × SIDE`: the visible part of each."""

    @cached_property
    def image(self) -> Field:
        """Returns the image: `SIDE × SIDE × 3` unsigned bytes, RGB."""
        picture = self.background.copy()
        for thing, mask in zip(self.things, self.masks, strict=True):
            view, seen = picture[thing.window], mask[thing.window]
            view[seen] = thing.paint()[seen]
        return np.clip(picture, 0, 255).astype(np.uint8)

    @cached_property
    def boxes(self) -> Field:
        """Returns tight half-open xyxy boxes of the masks in pixels, `things × 4`."""
        return np.array([mask_box(mask) for mask in self.masks])


def mask_box(mask: Field) -> tuple[int, int, int, int]:
    """Returns the tight half-open box `(x0, y0, x1, y1)` of a non-empty mask."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _background(rng: np.random.Generator) -> Field:
    """A greyish floor: flat, a gradient, a soft checker board, clouds, stripes or blotches, with grain.

    Half of the floors are littered with faint specks, so that few patches of a picture look alike.
    """
    one, two = (np.float32(rng.uniform(95, 175) + rng.uniform(-14, 14, 3)) for _ in range(2))
    blend = _FLOORS[rng.integers(len(_FLOORS))](rng, _PIXEL[None] / SIDE, _PIXEL[:, None] / SIDE)
    floor = one + (two - one) * np.broadcast_to(blend, (SIDE, SIDE))[..., None]
    if rng.random() < 0.5:
        _litter(rng, floor)
    grain = rng.uniform(3, 9) * rng.standard_normal((SIDE, SIDE, 1), np.float32)
    return np.asarray(floor + grain, np.float32)


def _gradient(rng: np.random.Generator, x: Field, y: Field) -> Field:
    a, b = rng.uniform(-0.5, 0.5, 2).astype(np.float32)
    return np.asarray(0.5 + a * (x - 0.5) + b * (y - 0.5))


def _checker(rng: np.random.Generator, x: Field, y: Field) -> Field:
    tiles = rng.integers(3, 9)
    return np.asarray(((x * tiles).astype(np.int8) + (y * tiles).astype(np.int8)) % 2 * np.float32(0.35))


def _clouds(rng: np.random.Generator, x: Field, y: Field) -> Field:
    waves = (rng.uniform(-3, 3, (4, 2)) * 2 * np.pi).astype(np.float32)
    return np.asarray(0.5 + np.sum([np.sin(a * x + b * y + a) for a, b in waves], 0) / 8)


def _stripes(rng: np.random.Generator, x: Field, y: Field) -> Field:
    a, b = (rng.uniform(-8, 8, 2) * 2 * np.pi).astype(np.float32)
    return np.asarray(0.3 + 0.2 * np.sin(a * x + b * y))


def _blotches(rng: np.random.Generator, x: Field, y: Field) -> Field:
    cells = int(rng.choice([8, 16, 32]))
    coarse = rng.uniform(0, 0.5, (cells, cells)).astype(np.float32)
    return np.kron(coarse, np.ones((SIDE // cells, SIDE // cells), np.float32))


_FLOORS: tuple[Callable[[np.random.Generator, Field, Field], Field], ...] = (
    lambda rng, x, y: np.zeros((1, 1), np.float32),
    _gradient,
    _checker,
    _clouds,
    _stripes,
    _blotches,
)


def _litter(rng: np.random.Generator, floor: Field) -> None:
    """Draws 10 to 40 faint grey rectangles of 2 to 12 pixels onto a floor, in place."""
    for _ in range(rng.integers(10, 41)):
        (y, x), (height, width) = rng.integers(0, SIDE - 12, 2), rng.integers(2, 13, 2)
        floor[y : y + height, x : x + width] += np.float32(rng.uniform(-28, 28))


def _attributes(rng: np.random.Generator, count: int, shapes: tuple[str, ...]) -> list[dict[str, str]]:
    """Draws the attributes of `count` objects from small palettes, so that objects resemble each other."""
    palettes: dict[str, Sequence[str] | np.ndarray] = {
        "shape": rng.choice(np.array(shapes), min(len(shapes), int(rng.integers(1, 4))), replace=False),
        "color": rng.choice(list(COLORS), rng.integers(1, 5), replace=False),
        "texture": rng.choice(np.array(TEXTURES), rng.integers(1, 4), replace=False),
        "size": rng.choice(list(RADII), rng.integers(1, 3), replace=False),
    }
    if count >= 4:
        palettes["size"] = np.array(["small"])
    return [{k: str(rng.choice(v)) for k, v in palettes.items()} for _ in range(count)]


def _place(rng: np.random.Generator, attributes: dict[str, str], others: list[Thing]) -> Thing | None:
    radius = rng.uniform(*RADII[attributes["size"]])
    angle = rng.uniform(-1, 1) * _FREE_ROTATION.get(attributes["shape"], _JITTER)
    for _ in range(40):
        x, y = rng.uniform(0.92 * radius, SIDE - 0.92 * radius, 2)
        if all(np.hypot(x - o.x, y - o.y) > 0.82 * (radius + o.radius) for o in others):
            return Thing(**attributes, x=x, y=y, radius=radius, angle=angle)
    return None


def draw_scene(
    rng: np.random.Generator,
    most: int = 5,
    shapes: tuple[str, ...] = tuple(SHAPES),
    least: int = 2,
) -> Scene:
    """Draws a scene of `least` to `most` objects of the given shapes; at least 70 % of each is visible."""
    while True:
        things: list[Thing] = []
        for attributes in _attributes(rng, int(rng.integers(least, most + 1)), shapes):
            thing = _place(rng, attributes, things)
            if thing is not None:
                things.append(thing)
        whole = np.array([thing.indicator() for thing in things])
        nearer = np.logical_or.accumulate(whole[::-1])[::-1]
        masks = whole.copy()
        masks[:-1] &= ~nearer[1:]
        if len(things) >= least and (masks.sum((1, 2)) >= 0.7 * whole.sum((1, 2))).all():
            return Scene(tuple(things), _background(rng), masks)
