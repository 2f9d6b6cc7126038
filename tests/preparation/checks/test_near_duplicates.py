"""The search for photos that look the same, against a slow one, and on drawn photos."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from preparation.checks import near_duplicates as searched
from preparation.checks.near_duplicates import close_pairs, near_duplicates, perceptual_hashes
from synthetic.draw import draw_photo

CLASSES = ("mug", "fish", "star", "house", "car", "bird")


def thumbnail(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR).convert("L"))


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [draw_photo(name, number, seed=5, side=96) for name in CLASSES for number in range(10)]


@pytest.mark.parametrize("pairs_at_once", [1, 70, 1 << 20])
@pytest.mark.parametrize("sizes", [(40, 30), (3, 200), (1, 1), (0, 5), (5, 0)])
def test_close_pairs_are_those_of_the_slow_search(monkeypatch, pairs_at_once, sizes):
    monkeypatch.setattr(searched, "PAIRS_AT_ONCE", pairs_at_once)
    generator = np.random.default_rng(sum(sizes))
    first, second = (generator.integers(0, 2**64, size, dtype=np.uint64) for size in sizes)
    for row in range(0, min(sizes), 2):  # some that are near
        second[row] = first[row] ^ np.uint64(2 ** int(generator.integers(64)) - 1)
    for radius in (0, 12, 26, 64):
        slow = {(i, j) for i, a in enumerate(first) for j, b in enumerate(second) if (int(a) ^ int(b)).bit_count() <= radius}
        found = [pair for a, b in close_pairs(first, second, radius) for pair in zip(a.tolist(), b.tolist(), strict=True)]
        assert len(found) == len(set(found)) and set(found) == slow


def test_of_too_many_candidates_the_nearest_are_taken(monkeypatch):
    monkeypatch.setattr(searched, "MOST_OF_A_CHUNK", 3)
    first = np.array([0], np.uint64)
    second = np.array([7, 0, 1, 15, 3], np.uint64)
    ((_, found),) = close_pairs(first, second, 12)
    assert sorted(found.tolist()) == [1, 2, 4]


def test_the_hash_is_the_slow_one(photos):
    """DCT-II by its definition, in float64."""
    small = np.stack([thumbnail(photo) for photo in photos[:4]])
    for image, value in zip(small, perceptual_hashes(small), strict=True):
        x = np.arange(32)
        low = np.array(
            [
                [
                    (image * np.outer(np.cos(np.pi * u * (2 * x + 1) / 64), np.cos(np.pi * v * (2 * x + 1) / 64))).sum()
                    for v in range(8)
                ]
                for u in range(8)
            ]
        ).ravel()
        bits = (low > np.median(low[1:])).astype(np.uint8)
        bits[0] = 0
        assert np.packbits(bits).view(np.uint64)[0] == value


@pytest.mark.parametrize(
    "changed",
    [
        lambda image: recompressed(image, 50),
        lambda image: recompressed(image.resize((70, 60)), 80),
        lambda image: image.crop((3, 3, 96, 96)),
        lambda image: ImageEnhance.Brightness(image).enhance(0.8),
        lambda image: image.convert("L"),
    ],
    ids=["recompressed", "resized", "cut", "darker", "grey"],
)
def test_copies_are_found_and_matched(photos, changed):
    first = np.stack([thumbnail(photo) for photo in photos])
    second = np.stack([thumbnail(changed(photo)) for photo in reversed(photos)])
    found = near_duplicates(first, second)
    assert len(found.second) >= 0.9 * len(photos)
    assert (found.first == len(photos) - 1 - found.second).all()
    assert (np.diff(found.correlation) <= 0).all() and (found.correlation >= searched.CORRELATION).all()


def test_other_photos_are_not(photos):
    small = np.stack([thumbnail(photo) for photo in photos])
    assert len(near_duplicates(small[::2], small[1::2]).first) == 0


def test_flat_pictures_are_left_out():
    generator = np.random.default_rng(2)
    flat = np.clip(200 + generator.normal(0, 1, (20, 32, 32)), 0, 255).astype(np.uint8)
    flat[:5] = 255
    assert len(near_duplicates(flat, flat).first) == 0
    assert len(near_duplicates(flat * 0, flat[:0]).first) == 0


@pytest.mark.parametrize("pairs_at_once", [1, 1 << 20])
def test_the_nearest_of_several_is_told(monkeypatch, photos, pairs_at_once):
    monkeypatch.setattr(searched, "PAIRS_AT_ONCE", pairs_at_once)
    copies = [photos[3].crop((2, 0, 96, 96)), photos[3], photos[3].crop((0, 2, 96, 96)), photos[8]]
    found = near_duplicates(np.stack([thumbnail(copy) for copy in copies]), np.stack([thumbnail(photos[3])]))
    assert (found.first.tolist(), found.second.tolist()) == ([1], [0])
    assert found.correlation[0] == pytest.approx(1, abs=1e-5)
