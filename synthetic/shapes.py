"""The classes of the drawn demo dataset: each is a function that returns a geometry with random proportions.

All are built from the same few parts (ovals, boxes, tubes, rings, smooth outlines, lines), so an unseen class is a new
arrangement of known parts. x points right, y points down; `geometry` scales the result to [-1, 1], so units do not matter.
Parts are listed from back to front: a later part hides what it covers. `u(a, b)` is a random number between a and b.
"""

import itertools
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

UNSEEN = ("alarm clock", "butterfly", "fish", "house", "key", "mug", "star", "umbrella")


class Part(NamedTuple):
    """A part of a geometry; points are float arrays (n, 2)."""

    fill: np.ndarray | None  # polygon that hides parts behind it; None: only lines
    lines: tuple[np.ndarray, ...]  # contours that a sketch follows
    slot: int  # index of the colour in the photo's palette of three
    detail: bool  # some sketches leave it out


Uniform = Callable[[float, float], float]
Points = Sequence[tuple[float, float]] | np.ndarray


def _curve(points: Points, closed: bool, steps: int = 8) -> np.ndarray:
    """Catmull-Rom spline through `points`: (n, 2) to about (n * steps, 2)."""
    points = np.asarray(points, float)
    ends = (points[-1:], points[:2]) if closed else (points[:1], points[-1:])
    padded = np.concatenate([ends[0], points, ends[1]])
    a, b, c, d = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    spline = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    spline = spline.reshape(-1, 2)
    return spline if closed else np.concatenate([spline, points[-1:]])


def polar(radius: float, degrees: float, x: float = 0.0, y: float = 0.0) -> tuple[float, float]:
    """The point at this distance from (x, y), `degrees` clockwise from the right."""
    return (x + radius * np.cos(np.radians(degrees)), y + radius * np.sin(np.radians(degrees)))


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float, count: int = 24) -> list[tuple[float, float]]:
    """`count` points on an ellipse, from `start` to `stop` degrees."""
    angles = np.radians(np.linspace(start, stop, count))
    return list(zip(x + rx * np.cos(angles), y + ry * np.sin(angles), strict=True))


def shape(points: Points, slot: int = 0, detail: bool = False, smooth: bool = False) -> Part:
    """A filled outline through `points`."""
    outline = _curve(points, closed=True) if smooth else np.asarray(points, float)
    return Part(outline, (np.concatenate([outline, outline[:1]]),), slot, detail)


def mirrored(points: Points, **options: Any) -> Part:
    """A filled outline with left-right symmetry: `points` run down its right side."""
    return shape([*points, *((-x, y) for x, y in reversed(points) if abs(x) > 1e-9)], **options)


def lathed(points: Points, **options: Any) -> Part:
    """`mirrored` with smooth sides and corners at the ends."""
    return mirrored(_curve(points, closed=False), **options)


def oval(x: float, y: float, rx: float, ry: float | None = None, turn: float = 0.0, **options: Any) -> Part:
    """A filled ellipse, rotated by `turn` degrees; without `ry` a circle."""
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    points = np.array(arc(0, 0, rx, rx if ry is None else ry, 0, 360, 33)[:-1])
    return shape(points @ np.array([[cos, sin], [-sin, cos]]) + (x, y), **options)


def box(x: float, y: float, w: float, h: float, taper: float = 0.0, **options: Any) -> Part:
    """A filled box with half sizes `w`, `h`; its bottom is narrower than its top by the share `taper`."""
    b = w * (1 - taper)
    return shape([(x - w, y - h), (x + w, y - h), (x + b, y + h), (x - b, y + h)], **options)


def line(points: Points, smooth: bool = False, slot: int = 1, detail: bool = False) -> Part:
    """A line."""
    return Part(None, (_curve(points, closed=False) if smooth else np.asarray(points, float),), slot, detail)


def tube(points: Points, width: float, end: float | None = None, smooth: bool = False, **options: Any) -> Part:
    """A thick line, `width` wide at its start and `end` wide at its end."""
    spine = _curve(points, closed=False) if smooth else np.asarray(points, float)
    along = np.gradient(spine, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
    half = np.linspace(width, width if end is None else end, len(spine))[:, None] / 2
    return shape(np.concatenate([spine + half * normal, (spine - half * normal)[::-1]]), **options)


def ring(x: float, y: float, rx: float, ry: float, thick: float, **options: Any) -> Part:
    """A filled ellipse with a hole: the polygon runs along the outside, then back along the inside."""
    outer, inner = np.array(arc(x, y, rx, ry, 0, 360, 33)), np.array(arc(x, y, rx - thick, ry - thick, 0, 360, 33))
    return shape([(0, 0)], **options)._replace(fill=np.concatenate([outer, inner[::-1]]), lines=(outer, inner))


def airplane(u: Uniform) -> list[Part]:
    span, back, tail = u(0.7, 0.95), u(0.1, 0.35), u(0.25, 0.4)
    wings = [[(0.25, 0), (-back, s * span), (-back - 0.2, s * span), (-0.15, 0)] for s in (1, -1)]
    tails = [[(-0.65, 0), (-0.9, s * tail), (-1.02, s * tail), (-0.9, 0)] for s in (1, -1)]
    body = oval(0, 0, 1, u(0.1, 0.16))
    return [*map(shape, wings), *map(shape, tails), body, oval(0.75, 0, 0.08, 0.05, slot=2, detail=True)]


def anchor(u: Uniform) -> list[Part]:
    reach, low, w = u(0.6, 0.8), u(0.75, 0.9), u(0.12, 0.18)
    hook, shaft = tube(arc(0, low - 0.6, reach, 0.6, 15, 165), w), tube([(0, -0.6), (0, low)], w)
    barbs = [shape([(x - 0.2, low - 0.3), (x, low - 0.65), (x + 0.2, low - 0.3)]) for x in (reach, -reach)]
    return [hook, *barbs, shaft, box(0, -0.4, u(0.3, 0.45), 0.07), ring(0, -0.8, 0.2, 0.2, 0.09)]


def apple(u: Uniform) -> list[Part]:
    w, dip = u(0.75, 0.95), u(0.5, 0.62)
    half = [(0, -dip), (w * 0.5, -0.78), (w, -0.35), (w * 0.85, 0.35), (w * 0.4, 0.8), (0, 0.7)]
    stem = tube([(0, -dip), (0.03, -0.8), (u(0.05, 0.2), -1.05)], 0.08, smooth=True, slot=1)
    leaf_ = oval(0.3, -0.95, u(0.22, 0.3), 0.1, turn=u(-35, -15), slot=2)
    return [mirrored(half, smooth=True), stem, leaf_]


def arrow(u: Uniform) -> list[Part]:
    w, head, neck = u(0.12, 0.22), u(0.4, 0.6), u(0.1, 0.4)
    half = [(1, 0), (neck, head), (neck, w), (-1, w)]
    return [shape([*half, *((x, -y) for x, y in reversed(half[1:]))])]


def bell(u: Uniform) -> list[Part]:
    w, waist = u(0.75, 0.9), u(0.4, 0.5)
    half = [(0, -0.8), (0.3, -0.7), (waist, -0.2), (waist + 0.1, 0.3), (w, 0.6)]
    rim = box(0, 0.6, w, 0.08, slot=1)
    return [oval(0, 0.72, 0.18, slot=2), ring(0, -0.87, 0.14, 0.14, 0.06, slot=1), lathed(half), rim]


def bicycle(u: Uniform) -> list[Part]:
    r, gap = u(0.42, 0.5), u(0.62, 0.72)
    seat, bar, pedal = (-0.25, -0.5), (0.4, -0.55), (-0.02, 0.32)
    wheels = [ring(s * gap, 0.3, r, r, 0.09, slot=1) for s in (-1, 1)]
    frame = [tube(p, 0.08) for p in ([(-gap, 0.3), seat, bar], [seat, pedal, bar], [(gap, 0.3), bar, (0.36, -0.75)])]
    return [*wheels, *frame, oval(-0.27, -0.58, 0.2, 0.07, slot=2), tube([(0.2, -0.78), (0.5, -0.78)], 0.09, slot=2)]


def bird(u: Uniform) -> list[Part]:
    fat, tail = u(0.36, 0.48), u(0.1, 0.3)
    legs = [line([(x, 0.3), (x + 0.03, 0.85), (x + 0.15, 0.87)], slot=2) for x in (-0.05, 0.15)]
    tip = shape([(-0.4, -0.1), (-1.1, -tail), (-1.05, 0.2), (-0.4, 0.25)])
    head = [shape([(0.75, -0.6), (1.08, -0.45), (0.75, -0.38)], slot=2), oval(0.57, -0.48, u(0.25, 0.32))]
    wing = oval(-0.1, 0.05, 0.36, 0.18, turn=u(-5, 25), slot=1)
    return [*legs, tip, oval(0, 0.05, 0.62, fat, turn=-15), *head, wing, oval(0.63, -0.53, 0.05, slot=2)]


def bottle(u: Uniform) -> list[Part]:
    w, neck, shoulder = u(0.3, 0.4), u(0.1, 0.14), u(-0.4, -0.15)
    half = [(neck, -0.9), (neck, shoulder - 0.15), (w * 0.8, shoulder + 0.05), (w, shoulder + 0.2), (w, 1)]
    label = box(0, u(0.35, 0.5), w, u(0.18, 0.25), slot=1)
    return [mirrored(half), label, box(0, -0.93, neck + 0.04, 0.08, slot=2)]


def bow_tie(u: Uniform) -> list[Part]:
    h, pinch = u(0.45, 0.65), u(0.1, 0.18)
    sides = [[(0, -pinch), (s * 0.95, -h), (s * u(0.85, 1), 0), (s * 0.95, h), (0, pinch)] for s in (1, -1)]
    folds = [line([(s * 0.2, 0), (s * 0.6, y)], detail=True) for s in (1, -1) for y in (-0.15, 0.15)]
    return [*map(shape, sides), *folds, box(0, 0, 0.16, pinch + 0.08, slot=1)]


def bucket(u: Uniform) -> list[Part]:
    w, taper = u(0.65, 0.8), u(0.2, 0.4)
    handle = tube(arc(0, -0.5, w, u(0.5, 0.8), 180, 360), 0.07, slot=1)
    return [handle, box(0, 0.2, w, 0.7, taper), oval(0, -0.5, w, u(0.12, 0.2), slot=1)]


def cactus(u: Uniform) -> list[Part]:
    w, spread = u(0.36, 0.46), u(0.5, 0.65)
    elbow = np.array([(0.1, 0.35), (0.5, 0.32), (spread, 0.1), (spread, -0.35)])
    arms = [tube(elbow * (s, 1) + (0, u(-0.35, 0.15)), 0.24, smooth=True) for s in (-1, 1)]
    trunk = mirrored([(0, -0.95), (w * 0.4, -0.85), (w / 2, -0.6), (w / 2, 0.75)])
    spines = [line([(0, y), (0, y + 0.15)], detail=True) for y in (-0.7, -0.3, 0.1)]
    return [*arms, trunk, *spines, box(0, 0.85, u(0.38, 0.5), 0.2, 0.25, slot=1)]


def camera(u: Uniform) -> list[Part]:
    h, r = u(0.52, 0.65), u(0.34, 0.44)
    top = [box(u(-0.1, 0.1), -h, 0.32, 0.2, -0.2), box(-0.7, -h, 0.13, 0.08, slot=2)]
    lens = [oval(0, 0.08, r, slot=1), oval(0, 0.08, r * 0.55, slot=2)]
    return [*top, box(0, 0.05, 1, h), *lens, oval(0.78, -0.3, 0.09, slot=2, detail=True)]


def candle(u: Uniform) -> list[Part]:
    w, top = u(0.22, 0.32), u(-0.35, -0.15)
    flame = mirrored([(0, top - 0.7), (0.17, top - 0.35), (0.1, top - 0.14), (0, top - 0.1)], smooth=True, slot=2)
    dish = [oval(0, 0.85, u(0.6, 0.75), 0.15, slot=1), ring(0.75, 0.8, 0.18, 0.15, 0.07, slot=1)]
    return [*dish[::-1], box(0, (top + 0.85) / 2, w, (0.85 - top) / 2), line([(0, top), (0, top - 0.15)]), flame]


def car(u: Uniform) -> list[Part]:
    roof, front, back, r = u(-0.55, -0.4), u(0.3, 0.45), u(-0.55, -0.35), u(0.2, 0.26)
    cabin = shape([(-0.7, 0), (back, roof), (front - 0.1, roof), (front + 0.25, 0)])
    pane = shape([(-0.5, -0.02), (back + 0.06, roof + 0.1), (front - 0.15, roof + 0.1), (front + 0.08, -0.02)], slot=1)
    body = shape([(-1, 0.02), (0.7, 0), (1, 0.15), (1, 0.42), (-1, 0.42)])
    wheels = [p for x in (-0.55, 0.55) for p in (oval(x, 0.42, r, slot=2), oval(x, 0.42, r * 0.45, slot=1))]
    return [cabin, pane, line([(-0.02, roof + 0.1), (-0.02, 0)]), body, *wheels]


def carrot(u: Uniform) -> list[Part]:
    w, n = u(0.28, 0.4), int(u(3, 6))
    leaves = [oval(0.3 * np.sin(np.radians(a)), -0.85, 0.34, 0.09, a - 90, slot=1) for a in np.linspace(-40, 40, n)]
    marks = [line([(s * w * 0.8, y), (s * w * 0.25, y + 0.04)], slot=2, detail=True) for s, y in ((1, -0.25), (-1, 0), (1, 0.2))]
    root = [(0, -0.56), (w * 0.8, -0.56), (w, -0.4), (w * 0.6, 0.3), (0, 1.1)]
    return [*leaves, mirrored(root, smooth=True), *marks]


def cat(u: Uniform) -> list[Part]:
    w, ear = u(0.75, 0.9), u(0.45, 0.65)
    ears = [shape([(s * 0.78 * w, -0.15), (s * 0.8 * w, -0.5 - ear), (s * 0.15, -0.5)]) for s in (-1, 1)]
    eyes = [oval(s * 0.32, -0.08, 0.09, u(0.09, 0.15), slot=2) for s in (-1, 1)]
    whiskers = [line([(s * 0.35, 0.3), (s * 1.05, y)], slot=2, detail=True) for s in (-1, 1) for y in (0.15, 0.3, 0.45)]
    nose = shape([(-0.09, 0.18), (0.09, 0.18), (0, 0.3)], slot=1)
    return [*ears, oval(0, 0.1, w, 0.7), *eyes, nose, *whiskers]


def chair(u: Uniform) -> list[Part]:
    back, seat, w = u(-1.05, -0.8), u(0.0, 0.15), u(0.42, 0.52)
    legs = [tube([(x, seat), (x * 1.1, 1)], 0.1) for x in (-w + 0.05, w - 0.05)]
    far_legs = [tube([(x, seat), (x, 0.75)], 0.08) for x in (-w * 0.45, w * 0.75)]
    frame = [tube([(x, seat), (x * 0.9, back)], 0.1) for x in (-w + 0.05, w - 0.05)]
    slats = [tube([(-w * 0.9, y), (w * 0.9, y)], 0.13, slot=1) for y in (back + 0.1, (back + seat) / 2)]
    cushion = shape([(-w, seat - 0.08), (w, seat - 0.08), (w + 0.12, seat + 0.1), (-w - 0.12, seat + 0.1)], slot=1)
    return [*far_legs, *slats, *frame, *legs, cushion]


def cherry(u: Uniform) -> list[Part]:
    r, top = u(0.32, 0.4), (u(-0.1, 0.25), -0.9)
    stems = [tube([top, (s * 0.35, -0.2), (s * 0.5, 0.45)], 0.06, smooth=True, slot=1) for s in (-1, 1)]
    balls = [oval(s * 0.5, u(0.45, 0.6), r) for s in (-1, 1)]
    return [*stems, *balls, oval(top[0] + 0.3, -0.85, u(0.28, 0.36), 0.14, turn=u(5, 30), slot=2)]


def crown(u: Uniform) -> list[Part]:
    n, low = int(u(3, 5.99)), u(0.0, 0.2)
    tops = np.linspace(-1, 1, n)
    zigzag = [p for i, x in enumerate(tops) for p in ([(x, -0.6)] + ([((x + tops[i + 1]) / 2, low)] if i < n - 1 else []))]
    balls = [oval(x, -0.65, 0.1, slot=2) for x in tops]
    return [shape([*zigzag, (0.85, 0.7), (-0.85, 0.7)]), *balls, box(0, 0.6, 0.86, u(0.1, 0.16), slot=1)]


def envelope(u: Uniform) -> list[Part]:
    h, tip = u(0.55, 0.72), u(-0.05, 0.2)
    folds = [line([(s, h), (s * 0.25, tip - 0.1)], detail=True) for s in (-1, 1)]
    return [box(0, 0, 1, h), *folds, shape([(-1, -h), (1, -h), (0, tip)], slot=1)]


def flag(u: Uniform) -> list[Part]:
    h, wave = u(0.35, 0.5), u(0.06, 0.16)
    x = np.linspace(-0.5, 0.9, 12)
    y = wave * np.sin((x + 0.5) * u(4, 6))
    cloth = [*zip(x, y - 0.5 - h, strict=True), *zip(x[::-1], y[::-1] - 0.5 + h, strict=True)]
    stripe = line(list(zip(x, y - 0.5, strict=True)), detail=True)
    return [shape(cloth), stripe, tube([(-0.55, -1.05), (-0.55, 1.1)], 0.1, slot=1), oval(-0.55, -1.05, 0.1, slot=2)]


def flower(u: Uniform) -> list[Part]:
    n, r = int(u(5, 7.99)), u(0.2, 0.25)
    petals = [oval(*polar(0.36, 360 * i / n, 0, -0.4), r + 0.03, r * 0.75, 360 * i / n) for i in range(n)]
    stem = tube([(0, -0.4), (u(-0.08, 0.08), 0.4), (0, 1.1)], 0.08, smooth=True, slot=1)
    leaves = [oval(s * 0.25, u(0.45, 0.75), 0.26, 0.1, turn=-s * 30, slot=1) for s in (-1, 1)]
    return [stem, *leaves, *petals, oval(0, -0.4, u(0.17, 0.24), slot=2)]


def guitar(u: Uniform) -> list[Part]:
    w, waist = u(0.42, 0.52), u(0.24, 0.3)
    half = [(0, -0.1), (w * 0.7, -0.05), (w * 0.75, 0.15), (waist, 0.35), (w, 0.6), (w * 0.8, 0.95), (0, 1.02)]
    neck = [box(0, -0.5, 0.07, 0.6, slot=1), box(0, -1.15, 0.12, 0.15, slot=2)]
    return [mirrored(half, smooth=True), *neck, oval(0, 0.3, 0.14, slot=2), box(0, 0.7, 0.18, 0.05, slot=1)]


def hammer(u: Uniform) -> list[Part]:
    w, h = u(0.4, 0.5), u(0.13, 0.19)
    claw = [(0, -0.7 - h), (-0.4, -0.75 - h), (-0.75, u(-0.55, -0.4)), (-0.4, -0.62), (0, -0.7 + h)]
    head = [shape(claw), box(w / 2, -0.7, w / 2 + 0.05, h), box(w, -0.7, 0.1, h + 0.06)]
    return [tube([(0, -0.8), (0, 1)], u(0.14, 0.2), slot=1), *head]


def heart(u: Uniform) -> list[Part]:
    dip, w, low = u(-0.5, -0.3), u(0.85, 1), u(0.85, 1.05)
    lobe = [(0, dip), (0.2, -0.68), (w * 0.55, -0.8), (w * 0.92, -0.6), (w, -0.2)]
    return [lathed([*lobe, (w * 0.7, 0.3), (0.25, low - 0.25), (0, low)])]


def hot_air_balloon(u: Uniform) -> list[Part]:
    w, low = u(0.65, 0.78), u(0.65, 0.8)
    half = [(0, -1.05), (w * 0.7, -0.85), (w, -0.3), (w * 0.65, 0.2), (0.2, 0.45)]
    ropes = [line([(s * 0.19, 0.4), (s * 0.14, low)], slot=2) for s in (-1, 1)]
    seams = [line([(0, -1.05), (s * w * 0.4, -0.4), (s * 0.08, 0.45)], smooth=True, detail=True) for s in (-1, 1)]
    return [*ropes, lathed(half), *seams, box(0, low + 0.12, 0.18, 0.15, 0.15, slot=1)]


def ice_cream(u: Uniform) -> list[Part]:
    w, low = u(0.42, 0.52), u(0.9, 1.15)
    scoops = [oval(0, -0.85, w * 0.8, slot=2)] * int(u(0, 1) < 0.6) + [oval(0, -0.35, w)]
    waffle = [line([(s * w * 0.6, -0.15), (-s * 0.12, low - 0.4)], slot=2, detail=True) for s in (-1, 1)]
    return [*scoops, shape([(-w, -0.2), (w, -0.2), (0, low)], slot=1), *waffle]


def ladder(u: Uniform) -> list[Part]:
    w, top, n = u(0.3, 0.42), u(0.6, 1), int(u(4, 6.99))
    rungs = [tube([(-w, y), (w, y)], 0.09, slot=1) for y in np.linspace(-0.75, 0.75, n)]
    return [*rungs, *(tube([(s * w * top, -1), (s * w, 1)], 0.11) for s in (-1, 1))]


def light_bulb(u: Uniform) -> list[Part]:
    w, neck = u(0.55, 0.68), u(0.2, 0.28)
    half = [(0, -1), (w * 0.7, -0.82), (w, -0.35), (w * 0.75, 0.05), (neck, 0.35), (neck, 0.45)]
    wire = line([(-0.12, 0.4), (-0.2, -0.2), (0, -0.05), (0.2, -0.2), (0.12, 0.4)], slot=2, detail=True)
    base = [box(0, y, neck, 0.09, slot=1) for y in (0.53, 0.7)]
    return [lathed(half), wire, *base, box(0, 0.84, neck * 0.5, 0.07, slot=2)]


def magnifying_glass(u: Uniform) -> list[Part]:
    r, turn = u(0.5, 0.62), u(35, 55)
    start, stop = polar(r, turn, -0.3, -0.3), polar(r + u(0.7, 0.95), turn, -0.3, -0.3)
    return [tube([start, stop], u(0.16, 0.24), slot=1), ring(-0.3, -0.3, r, r, u(0.09, 0.15))]


def moon(u: Uniform) -> list[Part]:
    horn, thick = u(45, 70), u(0.4, 0.65)
    x, y = polar(1, horn)
    return [shape([*arc(0, 0, 1, 1, horn, 360 - horn), *arc(x, 0, 1 + x - thick, y, 270, 90)])]


def mushroom(u: Uniform) -> list[Part]:
    w, h, stem = u(0.8, 1), u(0.75, 0.95), u(0.2, 0.3)
    dots = [oval(x * w, y * h, u(0.09, 0.15), slot=2) for x, y in ((-0.45, -0.3), (0.1, -0.6), (0.5, -0.25))]
    foot = mirrored([(stem, -0.1), (stem * 0.9, 0.4), (stem * 1.4, 0.85)], slot=1)
    return [foot, shape(arc(0, 0, w, h, 180, 360)), *dots]


def padlock(u: Uniform) -> list[Part]:
    w, h, up = u(0.6, 0.72), u(0.42, 0.52), u(0.35, 0.6)
    r = w * 0.65
    shackle = tube([(-r, 0.1), (-r, -up * 0.4), *arc(0, -up * 0.5, r, r, 180, 360, 12), (r, -up * 0.4), (r, 0.1)], 0.15, slot=1)
    return [shackle, box(0, 0.45, w, h), oval(0, 0.38, 0.11, slot=2), box(0, 0.55, 0.05, 0.14, slot=2)]


def pencil(u: Uniform) -> list[Part]:
    w, tip = u(0.13, 0.2), u(0.55, 0.7)
    body = [box(-0.15, 0, tip + 0.15, w), line([(-0.8, 0), (tip, 0)], detail=True)]
    wood = shape([(tip, -w), (tip, w), (1.05, 0)], slot=1)
    lead = shape([(0.9, -w * 0.35), (0.9, w * 0.35), (1.05, 0)], slot=2)
    return [*body, wood, lead, box(-0.85, 0, 0.06, w, slot=1), box(-1, 0, 0.11, w, slot=2)]


def rocket(u: Uniform) -> list[Part]:
    w, fin = u(0.26, 0.34), u(0.5, 0.65)
    half = [(0, -1.1), (w * 0.6, -0.75), (w, -0.25), (w, 0.35), (w * 0.75, 0.7)]
    fins = [shape([(x * 0.4, 0.15), (x, 0.6), (x, 0.9), (x * 0.3, 0.65)], slot=1) for x in (-fin, fin)]
    flame = mirrored([(w * 0.5, 0.65), (w * 0.35, 0.9), (0, u(1.05, 1.25))], slot=2)
    return [flame, *fins, lathed(half), oval(0, -0.3, w * 0.5, slot=2)]


def sailboat(u: Uniform) -> list[Part]:
    low, deep, mast = u(0.35, 0.45), u(0.8, 0.95), u(-0.1, 0.1)
    main = shape([(mast + 0.06, -1), (mast + 0.06, low - 0.12), (mast + u(0.6, 0.85), low - 0.12)])
    fore = shape([(mast - 0.06, -0.8), (mast - 0.06, low - 0.12), (mast - u(0.45, 0.65), low - 0.12)], slot=2)
    hull = shape([(-0.95, low), (0.95, low), (0.6, deep), (-0.65, deep)], slot=1)
    return [tube([(mast, -1.05), (mast, low)], 0.07, slot=1), main, fore, hull]


def scissors(u: Uniform) -> list[Part]:
    spread, r = u(14, 24), u(0.2, 0.26)
    halves = []
    for s in (-1, 1):
        grip, tip = polar(0.75, 90 - s * spread), polar(1.05, -90 - s * spread)
        halves += [tube([grip, (0, 0), tip], 0.16, 0.05), ring(*grip, r, r * 1.2, 0.09, slot=1)]
    return [*halves, oval(0, 0, 0.06, slot=2)]


def snail(u: Uniform) -> list[Part]:
    r, turns = u(0.5, 0.62), u(1.8, 2.6)
    angles = np.linspace(0, turns * 360, 50)
    spiral = [polar(r * a / angles[-1], a + 60, -0.1, -0.1) for a in angles]
    foot = [(-1.05, 0.6), (-0.4, 0.42), (0.45, 0.4), (0.65, -0.15), (0.9, -0.25), (1, 0), (0.85, 0.5), (0.4, 0.62)]
    horns = [line([(0.8, -0.15), (0.75 + d, -0.6)], slot=0) for d in (-0.05, 0.25)]
    return [*horns, shape(foot, smooth=True), oval(-0.1, -0.1, r, slot=1), line(spiral, slot=2)]


def snowman(u: Uniform) -> list[Part]:
    low, mid, top = u(0.45, 0.52), u(0.32, 0.38), u(0.22, 0.27)
    arms = [line([(s * mid * 0.8, -0.1), (s * 0.75, u(-0.5, -0.15))], slot=1) for s in (-1, 1)]
    balls = [oval(0, 0.55, low), oval(0, -0.1, mid), oval(0, -0.6, top)]
    hat = [box(0, -0.98, top * 0.7, 0.16, slot=1), box(0, -0.8, top * 1.2, 0.04, slot=1)]
    eyes = [oval(s * 0.08, -0.62, 0.03, slot=2) for s in (-1, 1)]
    return [*arms, *balls, *hat, *eyes, *(oval(0, y, 0.04, slot=2, detail=True) for y in (-0.2, 0, 0.35))]


def spectacles(u: Uniform) -> list[Part]:
    rx, ry, gap = u(0.36, 0.43), u(0.28, 0.4), u(0.5, 0.56)
    temples = [tube([(s * (gap + rx * 0.9), -0.05), (s * 1.1, u(-0.4, -0.3)), (s * 1.02, -0.62)], 0.08) for s in (-1, 1)]
    bridge = tube(arc(0, 0, gap - rx + 0.05, 0.14, 180, 360, 10), 0.08)
    return [*temples, bridge, *(ring(s * gap, 0, rx, ry, 0.09) for s in (-1, 1))]


def sun(u: Uniform) -> list[Part]:
    n, r, long = int(u(7, 12.99)), u(0.45, 0.58), u(0.9, 1)
    rays = []
    for a in np.arange(n) * 360 / n:
        rays.append(shape([polar(r * 0.95, a - 150 / n), polar(long, a), polar(r * 0.95, a + 150 / n)], slot=1))
    return [*rays, oval(0, 0, r)]


def table_lamp(u: Uniform) -> list[Part]:
    w, top, low = u(0.55, 0.7), u(0.3, 0.5), u(0.8, 0.9)
    foot = shape(arc(0, low + 0.1, u(0.35, 0.5), 0.2, 180, 360), slot=1)
    return [tube([(0, -0.3), (0, low)], u(0.09, 0.15), slot=1), mirrored([(w * top, -1), (w, -0.2)]), foot]


def teapot(u: Uniform) -> list[Part]:
    w, h = u(0.55, 0.65), u(0.45, 0.55)
    spout = tube([(0.35, 0.35), (0.75, 0.15), (0.85, -0.2), (1.05, u(-0.45, -0.3))], 0.3, 0.12, smooth=True)
    handle = ring(-w, 0.05, u(0.32, 0.4), u(0.3, 0.36), 0.11)
    lid = [oval(0, -h - 0.12, 0.09, slot=2), shape(arc(0, -h + 0.1, w * 0.6, 0.2, 180, 360), slot=1)]
    return [spout, handle, oval(0, 0.1, w, h), *lid, box(0, h + 0.08, w * 0.5, 0.05)]


def tent(u: Uniform) -> list[Part]:
    peak, w, door = u(-0.8, -0.6), u(0.85, 1), u(0.2, 0.35)
    poles = [line([(0, peak), (s * 0.1, peak - 0.16)], slot=2) for s in (-1, 1)]
    cloth, flap = (shape([(0, y), (x, 0.6), (-x, 0.6)], slot) for y, x, slot in ((peak, w, 0), (peak + 0.15, door, 1)))
    return [*poles, cloth, flap, line([(0, peak + 0.15), (0, 0.6)], slot=2, detail=True)]


def tree(u: Uniform) -> list[Part]:
    n, w = int(u(3, 4.99)), u(0.6, 0.78)
    tops, sizes = np.linspace(0.05, -1.1, n), np.linspace(1, 0.5, n)
    tiers = [shape([(0, t), (s * w, t + 0.62), (-s * w, t + 0.62)]) for t, s in zip(tops, sizes, strict=True)]
    return [box(0, 0.85, u(0.1, 0.16), 0.25, slot=1), *tiers]


def turtle(u: Uniform) -> list[Part]:
    h, low = u(0.55, 0.72), 0.25
    legs = [box(x, low + 0.15, 0.13, 0.22) for x in (-0.4, 0.4)]
    neck = tube([(0.5, 0.2), (0.85, 0.1), (1, -0.12)], 0.2, smooth=True)
    head = [oval(1, -0.15, u(0.17, 0.22)), oval(1.05, -0.2, 0.04, slot=2)]
    plates = [line([(x, low), (x * 0.6, -h * 0.35), (x * 0.3, low - h)], slot=2, detail=True) for x in (-0.35, 0.35)]
    tail = shape([(-0.65, 0.1), (-0.98, 0.32), (-0.65, 0.27)])
    return [*legs, neck, *head, tail, shape(arc(0, low, 0.75, h, 180, 360), slot=1), *plates]


def whale(u: Uniform) -> list[Part]:
    fat, tail = u(0.42, 0.52), u(-0.6, -0.45)
    back = [(0.95, 0), (0.7, -fat * 0.8), (0.2, -fat), (-0.4, -0.1), (-0.8, tail + 0.1)]
    belly = [(-0.65, 0.15), (-0.2, 0.42), (0.4, 0.45), (0.85, 0.3)]
    lobes = [(-0.26, 0.1), (-0.37, 0.1), (-0.25, -0.2), (0, 0), (0.3, -0.2), (0.28, 0.1)]
    fluke = shape(np.array(lobes) + (-0.8, tail))
    jets = [line(arc(0.3 + x, -fat - 0.2, abs(x), 0.2, a, b), slot=2) for x, a, b in ((0.17, 180, 330), (-0.17, 0, -150))]
    fin = shape([(0.2, 0.3), (0, 0.68), (-0.12, 0.3)], slot=1)
    return [*jets, fluke, shape(back + belly, smooth=True), oval(0.6, -0.02, 0.05, slot=2), fin]


def wine_glass(u: Uniform) -> list[Part]:
    w, h, low = u(0.42, 0.52), u(-0.1, 0.1), u(0.85, 0.95)
    half = [(w * 0.85, -1), (w, -0.6), (w * 0.8, h - 0.2), (0.06, h)]
    wine = line([(-w * 0.97, u(-0.6, -0.4)), (w * 0.97, -0.5)], slot=2, detail=True)
    return [tube([(0, h - 0.1), (0, low)], 0.1), lathed(half), wine, oval(0, low, u(0.32, 0.42), 0.08)]


def alarm_clock(u: Uniform) -> list[Part]:
    r, bell_ = u(0.6, 0.68), u(0.24, 0.3)
    legs = [tube([polar(r * 0.9, a), polar(r + 0.32, a)], 0.13, slot=1) for a in (60, 120)]
    bells = [shape(arc(*polar(r + 0.1, a), bell_, bell_, a - 90, a + 90, 14), slot=1) for a in (-50, -130)]
    hands = [line([(0, 0), polar(r * size, u(0, 360))], slot=2) for size in (0.45, 0.62)]
    knob = tube([(0, -r), (0, -r - 0.2)], 0.1, slot=2)
    return [*legs, *bells, knob, oval(0, 0, r), oval(0, 0, r * 0.8, slot=1), *hands, oval(0, 0, 0.05, slot=2)]


def butterfly(u: Uniform) -> list[Part]:
    w, h, low = u(0.8, 1), u(0.65, 0.9), u(0.5, 0.75)
    wings = []
    for x in (-w, w):
        fore = [(0, 0), (x * 0.5, -h), (x, -h), (x * 0.95, -0.3), (x * 0.5, 0.05)]
        hind = [(0, 0), (x * 0.6, 0.02), (x * 0.75, low * 0.6), (x * 0.45, low), (x * 0.12, low * 0.6)]
        spot = oval(x * 0.65, -h * 0.6, 0.15, slot=2, detail=True)
        wings += [shape(hind, smooth=True), shape(fore, smooth=True), spot]
    feelers = [line([(0, -0.4), (s * 0.12, -0.7), (s * 0.26, -0.9)], smooth=True, slot=1) for s in (-1, 1)]
    return [*wings, *feelers, oval(0, 0, 0.08, u(0.45, 0.55), slot=1)]


def fish(u: Uniform) -> list[Part]:
    fat, tail = u(0.4, 0.55), u(0.35, 0.5)
    upper = shape([(-0.2, -fat * 0.85), (-0.1, -fat - 0.25), (0.35, -fat * 0.8)], slot=1)
    lower = shape([(-0.1, 0.3), (-0.15, fat + 0.2), (0.2, 0.3)], slot=1)
    rear = shape([(-0.5, 0), (-1.05, -tail), (-0.9, 0), (-1.05, tail)], slot=1)
    body = shape([*arc(0.1, 0.35, 0.9, fat + 0.35, 205, 335), *arc(0.1, -0.35, 0.9, fat + 0.35, 25, 155)])
    gill = line(arc(0.15, 0, 0.2, fat * 0.75, -60, 60), slot=1)
    return [upper, lower, rear, body, gill, oval(0.55, -0.1, 0.07, slot=2)]


def house(u: Uniform) -> list[Part]:
    w, h, peak, side = u(0.65, 0.8), u(-0.15, 0.05), u(-1, -0.75), np.sign(u(-1, 1))
    chimney = box(w * 0.55, (h + peak) / 2 - 0.05, 0.1, 0.3, slot=2)
    roof = shape([(-w - 0.18, h), (0, peak), (w + 0.18, h)], slot=1)
    walls, door = box(0, (h + 0.8) / 2, w, (0.8 - h) / 2), box(side * w * 0.35, 0.5, 0.16, 0.3, slot=2)
    x, y = -side * w * 0.45, h / 2 + 0.35
    window = [box(x, y, 0.17, 0.16, slot=2), line([(x, y - 0.16), (x, y + 0.16)], detail=True)]
    return [chimney, walls, roof, door, *window]


def key(u: Uniform) -> list[Part]:
    r, end, w = u(0.32, 0.42), u(0.9, 1.05), u(0.1, 0.15)
    teeth = [box(end - x, w / 2 + d, 0.06, d) for x, d in ((0.08, u(0.1, 0.17)), (0.32, u(0.1, 0.17)))]
    return [*teeth, tube([(-0.35, 0), (end, 0)], w), ring(-0.65, 0, r, r * u(0.85, 1.1), u(0.11, 0.16))]


def mug(u: Uniform) -> list[Part]:
    w, h, rim = u(0.5, 0.65), u(0.6, 0.75), u(0.09, 0.16)
    handle = ring(w, u(-0.05, 0.1), u(0.36, 0.45), u(0.34, 0.46), u(0.11, 0.15))
    band = line([(-w * 0.95, 0.35), (w * 0.95, 0.35)], detail=True)
    return [handle, box(0, 0, w, h, u(0, 0.15)), band, oval(0, -h, w, rim, slot=1)]


def star(u: Uniform) -> list[Part]:
    inner = u(0.38, 0.5)
    return [shape([polar(inner if i % 2 else 1, 36 * i - 90) for i in range(10)])]


def umbrella(u: Uniform) -> list[Part]:
    h, low, n = u(0.65, 0.85), u(0.7, 0.9), int(u(3, 5.99))
    edges = np.linspace(1, -1, n + 1)
    scallops = [p for a, b in itertools.pairwise(edges) for p in arc((a + b) / 2, 0, 1 / n, 0.13, 0, -180, 8)[1:]]
    cloth = shape([*arc(0, 0, 1, h, 180, 360), *scallops])
    ribs = [line([(0, -h), (x * 0.75, -h * 0.55), (x, 0)], smooth=True) for x in edges[1:-1]]
    hook = tube([(0, -0.2), (0, low), *arc(0.17, low, 0.17, 0.17, 180, 20, 8)[1:]], 0.09, slot=2)
    return [hook, tube([(0, -h - 0.15), (0, -h + 0.1)], 0.06, slot=2), cloth, *ribs]


# fmt: off
THINGS: dict[str, Callable[[Uniform], list[Part]]] = {draw.__name__.replace("_", " "): draw for draw in (
    airplane, anchor, apple, arrow, bell, bicycle, bird, bottle, bow_tie, bucket, cactus, camera, candle, car,
    carrot, cat, chair, cherry, crown, envelope, flag, flower, guitar, hammer, heart, hot_air_balloon,
    ice_cream, ladder, light_bulb, magnifying_glass, moon, mushroom, padlock, pencil, rocket, sailboat,
    scissors, snail, snowman, spectacles, sun, table_lamp, teapot, tent, tree, turtle, whale, wine_glass,
    alarm_clock, butterfly, fish, house, key, mug, star, umbrella,
)}
# fmt: on
SEEN = tuple(name for name in THINGS if name not in UNSEEN)


def sample_rng(seed: int, *what: object) -> np.random.Generator:
    """The generator of one picture; it depends only on the seed and on what is drawn."""
    return np.random.default_rng([seed, *(zlib.crc32(repr(key).encode()) for key in what)])


def moved(parts: Iterable[Part], change: Callable[[np.ndarray], np.ndarray]) -> list[Part]:
    """`parts` with `change` applied to every array of points (n, 2)."""
    return [p._replace(fill=None if p.fill is None else change(p.fill), lines=tuple(map(change, p.lines))) for p in parts]


def fitted(parts: Sequence[Part]) -> list[Part]:
    """`parts` centred and scaled, without distortion, so that their longer side spans [-1, 1]."""
    points = np.concatenate([line_ for part in parts for line_ in part.lines])
    low, high = points.min(0), points.max(0)
    return moved(parts, lambda p: (p - (low + high) / 2) * (2 / (high - low).max()))


def geometry(name: str, rng: np.random.Generator) -> list[Part]:
    """A random instance of class `name`: parts from back to front, in [-1, 1]."""
    return fitted(THINGS[name](rng.uniform))
