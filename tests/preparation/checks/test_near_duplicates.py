"""The search for photos that look the same, against a slow one, and on drawn photos."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from preparation.checks import near_duplicates as searched
from preparation.checks.near_duplicates import close_codes, near_duplicates, perceptual_hashes
from synthetic.pictures import draw_photo

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


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20), st.integers(0, 2**64 - 1), st.integers(0, 30))
def test_close_codes_are_those_of_the_slow_search(codes, code, bits):
    codes += [code ^ (2**bits - 1), code]
    slow = [row for row, other in enumerate(codes) if (other ^ code).bit_count() <= searched.HAMMING]
    assert sorted(close_codes(np.array(codes, np.uint64), np.uint64(code)).tolist()) == slow


def test_of_too_many_candidates_the_nearest_are_taken(monkeypatch):
    monkeypatch.setattr(searched, "MOST_CANDIDATES", 3)
    assert close_codes(np.array([7, 0, 1, 15, 3], np.uint64), np.uint64(0)).tolist() == [1, 2, 4]


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
    assert len(found) >= 0.9 * len(photos)
    assert all(a == len(photos) - 1 - b for a, b, _ in found)
    correlations = [correlation for *_, correlation in found]
    assert correlations == sorted(correlations, reverse=True) and correlations[-1] >= searched.CORRELATION


def test_other_photos_are_not(photos):
    small = np.stack([thumbnail(photo) for photo in photos])
    assert near_duplicates(small[::2], small[1::2]) == []


def test_flat_pictures_are_left_out():
    generator = np.random.default_rng(2)
    flat = np.clip(200 + generator.normal(0, 1, (20, 32, 32)), 0, 255).astype(np.uint8)
    flat[:5] = 255
    assert near_duplicates(flat, flat) == []
    assert near_duplicates(flat * 0, flat[:0]) == []


@pytest.mark.parametrize("chunk", [1, 3, 1 << 14])
def test_the_best_match_is_reported_whatever_the_chunks(monkeypatch, photos, chunk):
    monkeypatch.setattr(searched, "CHUNK", chunk)
    copies = [photos[3].crop((2, 0, 96, 96)), photos[3], photos[3].crop((0, 2, 96, 96)), photos[8]]
    ((first, second, correlation),) = near_duplicates(*(np.stack(list(map(thumbnail, each))) for each in (copies, [photos[3]])))
    assert (first, second, correlation) == (1, 0, pytest.approx(1, abs=1e-5))
