"""Photos and sketches of the drawn classes.

Photos are shaded, coloured, textured things in clutter; sketches are wobbly outlines by different hands. Each has its own draw
of the class geometry (`synthetic.shapes`), so a photo and a sketch of a class share only the shape. Each picture has its own
generator, seeded by (seed, class, kind, number): it is the same whatever else is drawn.
"""

import colorsys
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from synthetic.shapes import Part, fitted, geometry, moved, sample_rng

Generator = np.random.Generator
FINE = 2  # pictures are drawn this many times larger and reduced, for smooth edges
HANDS = 12


def _posed(parts: Sequence[Part], rng: Generator, side: int, turn: float, skew: float, reach: tuple[float, float]) -> list[Part]:
    """`parts` seen from a random side, in pixels of a `side` x `side` picture.

    turn: largest rotation in degrees; skew: largest squeeze, shear and perspective, as a share; reach: (low, high) of the
    half size in the picture, as a share of `side`.
    """
    angle = math.radians(rng.uniform(-turn, turn))
    squeeze, shear, *tilt = rng.uniform(-skew, skew, 4)
    flip = rng.choice([-1, 1])
    rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    matrix = np.diag([flip * (1 + squeeze), 1 - squeeze]) @ np.array([[1, 0], [shear, 1]]) @ rotation
    parts = moved(parts, lambda p: p @ matrix)
    parts = fitted(moved(parts, lambda p: p / (1 + p @ np.array(tilt))[:, None]))
    half = rng.uniform(*reach)
    shift = rng.uniform(-1, 1, 2) * (0.48 - half) * 0.8
    return moved(parts, lambda p: (p * half + 0.5 + shift) * side)


def _colour(rng: Generator, saturation: tuple[float, float] = (0.15, 0.95)) -> np.ndarray:
    """A random colour: three values in [0, 1]."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(0.2, 1.0)), np.float32)


def _cloud(rng: Generator, side: int, cells: int) -> np.ndarray:
    """Smooth noise of shape (side, side, 1) in about [-1, 1], with `cells` bumps across."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))[..., None]


def _slope(side: int, angle: float) -> np.ndarray:
    """A ramp of shape (side, side, 1) from -1 to 1 along `angle` in radians."""
    x, y = np.linspace(-1, 1, side, dtype=np.float32), np.linspace(-1, 1, side, dtype=np.float32)[:, None]
    return ((x * math.cos(angle) + y * math.sin(angle)) / math.sqrt(2))[..., None].astype(np.float32)


def _texture(rng: Generator, side: int) -> np.ndarray:
    """A factor around 1 of shape (side, side, 1): stripes, clouds or speckle."""
    strength, kind = rng.uniform(0.03, 0.22), rng.integers(3)
    if kind == 0:
        return 1 + strength * np.sin(_slope(side, rng.uniform(0, math.tau)) * rng.uniform(15, 60))
    return 1 + strength * _cloud(rng, side, int(rng.integers(3, 9) if kind == 1 else rng.integers(side // 8, side // 3)))


def _ink(colour: np.ndarray) -> tuple[int, ...]:
    return tuple(int(c) for c in np.clip(colour * 255, 0, 255))


def _background(rng: Generator, side: int, colour: np.ndarray) -> np.ndarray:
    """Clutter of shape (side, side, 3) in [0, 1]: a gradient with noise, and blobs and lines of low contrast."""
    other = np.clip(colour + rng.uniform(-0.25, 0.25, 3), 0, 1).astype(np.float32)
    ground = colour + (other - colour) * (_slope(side, rng.uniform(0, math.tau)) * 0.5 + 0.5)
    image = Image.fromarray((ground * 255).astype(np.uint8))
    pencil = ImageDraw.Draw(image)
    for _ in range(rng.integers(3, 9)):
        tint = _ink(np.clip(colour + rng.uniform(-0.22, 0.22, 3), 0, 1))
        (x, y), size, kind = rng.uniform(0, side, 2), side * rng.uniform(0.05, 0.25), rng.integers(3)
        if kind == 0:
            pencil.ellipse([x - size, y - size * 0.6, x + size, y + size * 0.6], tint)
        elif kind == 1:
            pencil.polygon((rng.uniform(-size, size, (4, 2)) + (x, y)).ravel().tolist(), tint)
        else:
            pencil.line([x, y, *rng.uniform(0, side, 2)], tint, max(1, int(size / 6)))
    image = image.filter(ImageFilter.BoxBlur(side * rng.uniform(0.004, 0.018)))
    return np.asarray(image, np.float32) / 255 * (1 + 0.12 * _cloud(rng, side, 8)) * _texture(rng, side)


def _unlit(parts: Sequence[Part], rng: Generator, side: int, palette: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The thing without light: its colours (side, side, 3) and its cover (side, side, 1), both in [0, 1]."""
    paint = Image.new("RGB", (side * FINE, side * FINE), _ink(palette[0]))
    cover = Image.new("L", paint.size)
    pencils, edge = (ImageDraw.Draw(paint), ImageDraw.Draw(cover)), rng.uniform(0.45, 0.85)
    rim, bare = max(1, round(side * FINE * 0.006)), max(1, round(side * FINE * rng.uniform(0.014, 0.024)))
    for part in moved(parts, lambda p: p * FINE):
        colour = palette[part.slot]
        if part.fill is not None:
            pencils[0].polygon(part.fill.ravel().tolist(), _ink(colour))
            pencils[1].polygon(part.fill.ravel().tolist(), 255)
        for line in part.lines:
            pencils[0].line(line.ravel().tolist(), _ink(colour * edge), bare if part.fill is None else rim, "curve")
            if part.fill is None:
                pencils[1].line(line.ravel().tolist(), 255, bare, "curve")
    return [np.asarray(layer.reduce(FINE), np.float32).reshape(side, side, -1) / 255 for layer in (paint, cover)]


def _blurred(layer: np.ndarray, radius: float) -> np.ndarray:
    """`layer` (side, side, 1) in [0, 1], blurred by `radius` pixels; computed at half the size, for speed."""
    image = Image.fromarray((layer[..., 0] * 255).astype(np.uint8))
    soft = image.reduce(2).filter(ImageFilter.GaussianBlur(radius / 2)).resize(image.size, Image.Resampling.BILINEAR)
    return np.asarray(soft, np.float32)[..., None] / 255


def draw_photo(name: str, number: int, seed: int = 0, side: int = 256) -> Image.Image:
    """Photo `number` of class `name`: an RGB image, `side` x `side`."""
    rng = sample_rng(seed, name, "photo", number)
    parts = _posed(geometry(name, rng), rng, side, turn=25, skew=0.13, reach=(0.32, 0.45))
    palette, ground = [_colour(rng) for _ in range(3)], _colour(rng, saturation=(0, 0.6))
    luma = np.array([0.3, 0.59, 0.11])
    while abs(luma @ (palette[0] - ground)) < 0.16:  # a thing of the background's brightness would be invisible
        palette[0], ground = _colour(rng), _colour(rng, saturation=(0, 0.6))
    paint, cover = _unlit(parts, rng, side, palette)

    angle = rng.uniform(0, math.tau)  # of the light: it shades the thing, rounds its edges, casts its shadow
    soft = _blurred(cover, side * 0.03)
    down, right = np.gradient(soft[..., 0])
    rounding = (right * math.cos(angle) + down * math.sin(angle))[..., None] * side * rng.uniform(0.015, 0.04)
    paint = paint * _texture(rng, side) * (1 + rng.uniform(0.1, 0.35) * _slope(side, angle + math.pi) - rounding)
    offset = [round(side * rng.uniform(0.02, 0.05) * f(angle)) for f in (math.sin, math.cos)]
    shadow = np.roll(soft, offset, axis=(0, 1)) * rng.uniform(0.2, 0.5)

    picture = _background(rng, side, ground) * (1 - shadow)
    picture += (paint - picture) * cover
    picture += rng.uniform(0.005, 0.03) * rng.standard_normal((side, side, 1), np.float32)
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    return image.filter(ImageFilter.BoxBlur(side * rng.uniform(0, 0.008)))


class Hand(NamedTuple):
    """A drawing style; lengths are shares of the picture's side."""

    width: float  # of the line
    ink: int  # grey of the line, 0 black
    wobble: float  # amplitude of the waves of a line
    waves: float  # number of waves per side's length
    closing: float  # how far a closed line overshoots its start; below 0: ends before it
    doubled: float  # probability that a line is drawn twice
    detail: float  # probability that an inner detail is drawn


def hand(seed: int, number: int) -> Hand:
    """The hand of this number, out of HANDS."""
    rng = sample_rng(seed, "hand", number)
    bounds = [(0.009, 0.022), (0, 70), (0.002, 0.009), (1.5, 5), (-0.05, 0.07), (0, 0.35), (0.3, 1)]
    width, ink, *rest = (rng.uniform(*bound) for bound in bounds)
    return Hand(width, int(ink), *rest)


def _stroke(line: np.ndarray, style: Hand, rng: Generator, side: int) -> np.ndarray:
    """`line` (n, 2) in pixels drawn in a style: (m, 2), with corners kept."""
    closed = np.allclose(line[0], line[-1])
    if closed:  # start at any corner
        line = np.roll(line[:-1], -rng.integers(len(line) - 1), axis=0)
        line = np.concatenate([line, line])
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    length = along[-1]
    if closed:
        once = along[len(line) // 2]
        length = once + min(style.closing * side * rng.uniform(0.3, 1), once / 4)
    at = np.union1d(along[along < length], np.arange(0, length, side / 50))
    points = np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], 1)
    phase, pace = rng.uniform(0, math.tau, (2, 2)), style.waves * rng.uniform(0.7, 1.4, (2, 2))
    waves = np.sin(at[:, None, None] / side * pace * math.tau + phase).sum(2)  # (m, 2): two waves for x, two for y
    return points + style.wobble * side * (waves + rng.uniform(-1, 1, 2))


def draw_sketch(name: str, number: int, seed: int = 0, side: int = 256) -> Image.Image:
    """Sketch `number` of class `name` by hand `number % HANDS`: a grey image, `side` x `side`, dark on white."""
    rng, style = sample_rng(seed, name, "sketch", number), hand(seed, number % HANDS)
    parts = _posed(geometry(name, rng), rng, side, turn=9, skew=0.07, reach=(0.36, 0.45))
    image = Image.new("L", (side * FINE, side * FINE), 255)
    pencil, width = ImageDraw.Draw(image), max(1, round(style.width * side * FINE))
    for part in parts:
        if part.detail and rng.uniform() > style.detail:
            continue
        if part.fill is not None:  # hides the lines of parts behind it
            pencil.polygon((part.fill * FINE).ravel().tolist(), 255)
        for line in part.lines:
            for _ in range(1 + (rng.uniform() < style.doubled)):
                pencil.line((_stroke(line, style, rng, side) * FINE).ravel().tolist(), style.ink, width, "curve")
    return image.reduce(FINE)
