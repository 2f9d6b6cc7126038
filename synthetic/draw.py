"""A demo dataset drawn by code into real files, in SAKE's layout: `python -m synthetic.draw --root demo/dataset`.

Photos are shaded, coloured, textured things in clutter; sketches are wobbly outlines by different hands. Both come from
a fresh draw of the same class geometry (`synthetic.shapes`), so what a photo and a sketch of a class share is shape
alone. Every sample has its own generator, seeded by (seed, class, kind, number): it is the same whatever else is drawn.
"""

import argparse
import colorsys
import contextlib
import functools
import json
import math
import os
import pickle
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from tqdm import tqdm

from synthetic.shapes import SEEN, UNSEEN, fitted, geometry, moved, sample_rng
from utils.errors import InputError, report_errors
from utils.files import atomic_write
from utils.pools import process_pool
from utils.text import one_line

VERSION = 1  # raise it when the same settings draw other pictures
FINE = 2  # things are drawn this many times too large and reduced, for smooth edges
HANDS = 12
DOMAIN = "tx_000000000000_ready"
FOLDERS = {"photo": f"256x256/photo/{DOMAIN}", "sketch": f"256x256/sketch/{DOMAIN}"}


def _posed(parts, rng, side, turn, skew, reach):
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


# --- photos


def _colour(rng, saturation=(0.15, 0.95), value=(0.2, 1.0)):
    """A random colour: three values in [0, 1]."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value)), np.float32)


def _cloud(rng, side, cells):
    """Smooth noise of shape (side, side, 1) in about [-1, 1], with `cells` bumps across."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))[..., None]


def _slope(side, angle):
    """A ramp of shape (side, side, 1) from -1 to 1 along `angle` in radians."""
    x, y = np.linspace(-1, 1, side, dtype=np.float32), np.linspace(-1, 1, side, dtype=np.float32)[:, None]
    return ((x * math.cos(angle) + y * math.sin(angle)) / math.sqrt(2))[..., None].astype(np.float32)


def _texture(rng, side):
    """A factor around 1 of shape (side, side, 1): stripes, clouds or speckle."""
    strength, kind = rng.uniform(0.03, 0.22), rng.integers(3)
    if kind == 0:
        return 1 + strength * np.sin(_slope(side, rng.uniform(0, math.tau)) * rng.uniform(15, 60))
    return 1 + strength * _cloud(rng, side, int(rng.integers(3, 9) if kind == 1 else rng.integers(side // 8, side // 3)))


def _ink(colour):
    return tuple(int(c) for c in np.clip(colour * 255, 0, 255))


def _background(rng, side, colour):
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


def _flat(parts, rng, side, palette):
    """The thing without light: its colours (side, side, 3) and its cover (side, side, 1), both in [0, 1]."""
    paint = Image.new("RGB", (side * FINE, side * FINE), _ink(palette[0]))
    cover = Image.new("L", paint.size)
    pencils, edge = (ImageDraw.Draw(paint), ImageDraw.Draw(cover)), rng.uniform(0.45, 0.85)
    rim, bare = max(1, round(side * FINE * 0.006)), max(1, round(side * FINE * rng.uniform(0.014, 0.024)))
    for part in moved(parts, lambda p: p * FINE):
        colour = palette[part.slot]
        if part.fill is not None:
            for pencil, ink in zip(pencils, (_ink(colour), 255), strict=True):
                pencil.polygon(part.fill.ravel().tolist(), ink)
        for line in part.lines:
            pencils[0].line(line.ravel().tolist(), _ink(colour * edge), bare if part.fill is None else rim, "curve")
            if part.fill is None:
                pencils[1].line(line.ravel().tolist(), 255, bare, "curve")
    return (np.asarray(layer.reduce(FINE), np.float32).reshape(side, side, -1) / 255 for layer in (paint, cover))


def _blurred(layer, radius):
    """`layer` (side, side, 1) in [0, 1], softened by `radius` pixels; worked out at half the size, for speed."""
    image = Image.fromarray((layer[..., 0] * 255).astype(np.uint8))
    soft = image.reduce(2).filter(ImageFilter.GaussianBlur(radius / 2)).resize(image.size, Image.Resampling.BILINEAR)
    return np.asarray(soft, np.float32)[..., None] / 255


def draw_photo(name, number, seed=0, side=256):
    """Photo `number` of class `name`: an RGB image, `side` x `side`."""
    rng = sample_rng(seed, name, "photo", number)
    parts = _posed(geometry(name, rng), rng, side, turn=25, skew=0.13, reach=(0.32, 0.45))
    palette, ground = [_colour(rng) for _ in range(3)], _colour(rng, saturation=(0, 0.6))
    luma = np.array([0.3, 0.59, 0.11])
    while abs(luma @ (palette[0] - ground)) < 0.16:  # else nobody could tell the thing from what lies behind it
        palette[0], ground = _colour(rng), _colour(rng, saturation=(0, 0.6))
    paint, cover = _flat(parts, rng, side, palette)

    angle = rng.uniform(0, math.tau)  # where the light goes: it shades the thing, rounds its edges, throws its shadow
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


# --- sketches


class Hand(NamedTuple):
    """How somebody draws; lengths are shares of the picture's side."""

    width: float  # of the line
    ink: int  # grey of the line, 0 black
    wobble: float  # how far lines stray
    waves: float  # how often they stray along one side's length
    closing: float  # how far a closed line overshoots its start, or below 0 stops short of it
    doubled: float  # how often a line is drawn twice
    detail: float  # how often an inner detail is drawn at all


def _hand(seed, number):
    rng = sample_rng(seed, "hand", number)
    bounds = [(0.009, 0.022), (0, 70), (0.002, 0.009), (1.5, 5), (-0.05, 0.07), (0, 0.35), (0.3, 1)]
    width, ink, *rest = (rng.uniform(*bound) for bound in bounds)
    return Hand(width, int(ink), *rest)


def _stroke(line, hand, rng, side):
    """`line` (n, 2) in pixels as this hand draws it: (m, 2), with corners kept."""
    closed = np.allclose(line[0], line[-1])
    if closed:  # start at any corner
        line = np.roll(line[:-1], -rng.integers(len(line) - 1), axis=0)
        line = np.concatenate([line, line])
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    length = along[-1]
    if closed:
        once = along[len(line) // 2]
        length = once + min(hand.closing * side * rng.uniform(0.3, 1), once / 4)
    at = np.union1d(along[along < length], np.arange(0, length, side / 50))
    points = np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], 1)
    phase, pace = rng.uniform(0, math.tau, (2, 2)), hand.waves * rng.uniform(0.7, 1.4, (2, 2))
    waves = np.sin(at[:, None, None] / side * pace * math.tau + phase).sum(2)  # (m, 2): two waves for x, two for y
    return points + hand.wobble * side * (waves + rng.uniform(-1, 1, 2))


def draw_sketch(name, number, seed=0, side=256):
    """Sketch `number` of class `name` by hand `number % HANDS`: a grey image, `side` x `side`, dark on white."""
    rng, hand = sample_rng(seed, name, "sketch", number), _hand(seed, number % HANDS)
    parts = _posed(geometry(name, rng), rng, side, turn=9, skew=0.07, reach=(0.36, 0.45))
    image = Image.new("L", (side * FINE, side * FINE), 255)
    pencil, width = ImageDraw.Draw(image), max(1, round(hand.width * side * FINE))
    for part in parts:
        if part.detail and rng.uniform() > hand.detail:
            continue
        if part.fill is not None:  # nobody draws the lines that a nearer part hides
            pencil.polygon((part.fill * FINE).ravel().tolist(), 255)
        for line in part.lines:
            for _ in range(1 + (rng.uniform() < hand.doubled)):
                pencil.line((_stroke(line, hand, rng, side) * FINE).ravel().tolist(), hand.ink, width, "curve")
    return image.reduce(FINE)


# --- files


def _names(kind, name, numbers):
    """The list paths of the samples `numbers` of class `name`; the last number of a sketch tells the hand."""
    ends = (f"{n}.jpg" if kind == "photo" else f"{n}-{n % HANDS}.png" for n in numbers)
    return [f"{FOLDERS[kind]}/{name}/{name}_{end}" for end in ends]


def _draw_class(folder, kind, name, count, seed, side):
    """Draw `count` samples of one class and kind below `folder`; returns `count`."""
    paths = [Path(folder, path) for path in _names(kind, name, range(count))]
    paths[0].parent.mkdir(parents=True)
    for number, path in enumerate(paths):
        if kind == "photo":
            draw_photo(name, number, seed, side).save(path, quality=88)
        else:
            draw_sketch(name, number, seed, side).convert("RGB").save(path)
    return count


def _write_lists(folder, photos, sketches, held_out):
    """Write SAKE's lists, class names and masks below `folder`."""
    lists = folder / "zeroshot1"
    lists.mkdir()
    seen, unseen = {name: i for i, name in enumerate(SEEN)}, {name: i for i, name in enumerate(UNSEEN)}

    def write(file, kind, classes, numbers):
        lines = (f"{path} {cid}\n" for name, cid in classes.items() for path in _names(kind, name, numbers))
        (lists / file).write_text("".join(lines), encoding="utf-8")

    write("all_photo_filelist_train.txt", "photo", seen, range(photos))
    write("all_photo_filelist_zero.txt", "photo", unseen, range(photos))
    write(f"sketch_{DOMAIN}_filelist_train.txt", "sketch", seen, range(sketches))
    write(f"sketch_{DOMAIN}_filelist_test.txt", "sketch", seen, range(sketches, sketches + held_out))
    write(f"sketch_{DOMAIN}_filelist_zero.txt", "sketch", unseen, range(sketches))
    for file, classes in (("cname_cid.txt", seen), ("cname_cid_zero.txt", unseen)):
        (lists / file).write_text("".join(f"{name} {cid}\n" for name, cid in classes.items()), encoding="utf-8")
    # the masks relate ImageNet's words to the classes for a teacher; drawn things train without one, so all are zero
    masks = {cid: np.zeros(1000) for cid in seen.values()}
    (lists / "cid_mask.pickle").write_bytes(pickle.dumps(masks, protocol=4))


def _jobs(settings):
    """(kind, class, count) of all there is to draw."""
    photos, sketches, held_out = (settings[f"{what}_per_class"] for what in ("photos", "sketches", "held_out"))
    jobs = [("photo", name, photos) for name in SEEN + UNSEEN] + [("sketch", name, sketches) for name in UNSEEN]
    return jobs + [("sketch", name, sketches + held_out) for name in SEEN]


def _settings_of(target):
    """What the dataset in `target` was drawn with; None if it is not one of ours."""
    try:
        found = json.loads((target / "drawn.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "version" in found else None


def _is_kept(target, settings):
    """Whether `target` already holds the dataset of these settings; InputError where it holds anything else."""
    if not target.exists():
        return False
    found = _settings_of(target)
    if found is None:
        raise InputError(f"{target} exists already and was not drawn by synthetic.draw; give another --root")
    if found != settings:
        raise InputError(f"{target} was drawn with other settings ({found}); remove it or give another --root")
    missing = [job for job in _jobs(settings) if len(list((target / FOLDERS[job[0]] / job[1]).glob("*"))) < job[2]]
    if missing:
        raise InputError(f"{target} lacks {missing[0][0]} files of {missing[0][1]}; remove it and draw it again")
    return True


def draw_dataset(
    root, *, seed=0, photos_per_class=40, sketches_per_class=25, held_out_per_class=5, side=256, workers=None
) -> Path:
    """Draw the dataset into `<root>/Sketchy` and return that folder; one that is complete already is kept as it is.

    The `held_out_per_class` sketches come on top of `sketches_per_class`, for seen classes only. `side` is in pixels;
    the folders are called 256x256 all the same, as SAKE's lists have it. `workers` processes draw (default: one a core;
    1: this process) to the same bytes; more than one need the caller's script to guard its main. All is built aside and
    renamed once complete. InputError if a count is below 1, or if `<root>/Sketchy` exists and is something else.
    """
    settings = {"version": VERSION, "seed": seed, "side": side, "photos_per_class": photos_per_class}
    settings |= {"sketches_per_class": sketches_per_class, "held_out_per_class": held_out_per_class}
    workers = (os.cpu_count() or 1) if workers is None else workers
    for what, value in {**settings, "workers": workers}.items():
        least = {"seed": 0, "side": 32}.get(what, 1)
        if value < least:
            raise InputError(f"{what} is {value}; it must be at least {least}")
    target = Path(root) / "Sketchy"
    if _is_kept(target, settings):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".drawing-", dir=root) as aside:
            folder = Path(aside) / "Sketchy"
            _draw_all(folder, settings, workers)
            _write_lists(folder, photos_per_class, sketches_per_class, held_out_per_class)
            (folder / "drawn.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
            folder.rename(target)
    except OSError as error:
        raise InputError(f"cannot draw into {root}: {one_line(error)}; give another --root") from error
    return target


def _draw_all(folder, settings, workers):
    jobs, draw = _jobs(settings), functools.partial(_draw_class, str(folder), seed=settings["seed"], side=settings["side"])
    pooled = process_pool(min(workers, len(jobs))) if workers > 1 else contextlib.nullcontext()
    with pooled as pool, tqdm(total=sum(count for *_, count in jobs), desc="drawing", unit="file") as bar:
        for count in (pool.map if pool else map)(draw, *zip(*jobs, strict=True)):
            bar.update(count)


def contact_sheet(root, path, each=5, cell=72, columns=3):
    """Save to `path` (PNG) the first `each` photos and sketches of every class below `root`, unseen classes first.

    `cell` is in pixels; InputError if a picture cannot be read or `path` cannot be written.
    """
    target, names = Path(root) / "Sketchy", UNSEEN + SEEN
    found = _settings_of(target)
    if found is None:
        raise InputError(f"{target} holds no drawn dataset; draw it first")
    each = min(each, found["photos_per_class"], found["sketches_per_class"])
    width, height = (2 * each + 0.5) * cell, cell + 22
    size = (int(columns * width), math.ceil(len(names) / columns) * height)
    sheet = Image.new("RGB", size, "white")
    pencil, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, name in enumerate(names):
        left, top = int(i % columns * width), i // columns * height
        pencil.text((left + 4, top + 3), name + " (unseen)" * (name in UNSEEN), "black", font)
        for row, kind in enumerate(FOLDERS):
            for k, file in enumerate(_names(kind, name, range(each))):
                picture = _opened(target / file).resize((cell - 2, cell - 2), Image.Resampling.LANCZOS)
                sheet.paste(picture, (left + (row * each + k) * cell, top + 22))
    with atomic_write(path) as temporary:
        sheet.save(temporary, "PNG")


def _opened(file):
    try:
        return Image.open(file).convert("RGB")
    except OSError as error:
        raise InputError(f"cannot read {file}: {one_line(error)}; draw the dataset again") from error


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="folder to draw into; the pictures land in ROOT/Sketchy")
    for name, value in draw_dataset.__kwdefaults__.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default: {value or 'one a core'}")
    parser.add_argument("--contact_sheet", metavar="FILE", help="also save a PNG with some pictures of each class")
    options = vars(parser.parse_args())
    sheet, root = options.pop("contact_sheet"), options.pop("root")
    with report_errors():
        before = (Path(root) / "Sketchy").exists()
        target = draw_dataset(root, **options)
        if sheet:
            contact_sheet(root, sheet)
        photos, sketches = (sum(1 for _ in (target / folder).glob("*/*")) for folder in FOLDERS.values())
        print(
            f"{'kept' if before else 'drew'} {target}: {photos} photos and {sketches} sketches "
            f"of {len(SEEN)} seen and {len(UNSEEN)} unseen classes"
        )


if __name__ == "__main__":
    main()
