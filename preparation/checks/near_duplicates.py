"""Photos that show the same picture though their files differ: recompressed, resized, brightened, cut a little.

Two steps. A perceptual hash of 64 bits (signs of the lowest 8 × 8 DCT coefficients about their median, the mean left out) finds
candidates among all pairs; the thumbnails, each brought to 16 × 16 with mean 0 and length 1, then decide by their correlation.
A picture with hardly any contrast resembles anything flat, and is left out.

Measured with the thresholds below on 1,500 Tiny-ImageNet photos (32 px, enlarged to 64 for cuts). Found again: JPEG quality 50,
100 %; at 48 or 100 px, 100 %; contrast × 0.7 and 50 px and quality 50, 100 %; brightness × 0.7, 100 %, and × 1.3, 99.7 %; 2 px
of 64 cut off from each way, 96.5 %, or both at one corner, 94.5 %; 4 px, only 53 and 18 %. Among 13,858 × 3,300 unrelated photos
(46 million pairs) 155 are within HAMMING and none is taken for a copy; with 14 bits one is, with 18 seven. Among 1,920 × 320
photos drawn by `synthetic.draw`, 18 and none. 176,500 × 28,000 pairs take 7 to 10 s on four cores (1.4 GB at the peak).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from utils.cores import usable_cores

HAMMING = 12  # bits of 64 that candidates may differ in
CORRELATION = 0.9  # of normalised thumbnails, from which on two pictures are one
LEAST_CONTRAST = 4.0  # standard deviation of grey values of 255; the least of 17,158 photos was 5.8
LOW = 8  # frequencies of the hash each way
PAIRS_AT_ONCE = 1 << 21  # 16 MB of differences
THUMBNAILS_AT_ONCE = 1 << 14  # 64 MB of them as floats
MOST_OF_A_CHUNK = 1 << 14  # candidates: a bound for pictures that are all alike; the nearest are taken


@dataclass(frozen=True)
class NearDuplicates:
    """For each of `second` that resembles one of `first`, the one it resembles most: rows (k,), rows (k,), correlation (k,).

    The most alike pairs come first.
    """

    first: np.ndarray
    second: np.ndarray
    correlation: np.ndarray


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """(n, side, side) uint8 grey → (n,) uint64."""
    side = thumbnails.shape[-1]
    cosines = np.cos(np.pi * np.outer(np.arange(LOW), 2 * np.arange(side) + 1) / (2 * side)).astype(np.float32)
    hashes = np.zeros(len(thumbnails), np.uint64)
    for start in range(0, len(thumbnails), THUMBNAILS_AT_ONCE):
        part = thumbnails[start : start + THUMBNAILS_AT_ONCE].astype(np.float32)
        low = (cosines @ part @ cosines.T).reshape(len(part), LOW * LOW)
        bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
        bits[:, 0] = False
        hashes[start : start + len(part)] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return hashes


def close_pairs(first: np.ndarray, second: np.ndarray, radius: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows (k,) and (k,) of all pairs of hashes, (n,) and (m,) uint64, that differ in at most `radius` bits; in parts.

    A part of more than MOST_OF_A_CHUNK pairs is cut to the nearest.
    """
    rows = max(1, PAIRS_AT_ONCE // max(1, len(second)))

    def part(start: int) -> tuple[np.ndarray, np.ndarray]:
        distances = np.bitwise_count(first[start : start + rows, None] ^ second)
        found = np.flatnonzero(distances <= radius)
        if len(found) > MOST_OF_A_CHUNK:
            found = found[np.argsort(distances.ravel()[found], kind="stable")[:MOST_OF_A_CHUNK]]
        return found // len(second) + start, found % len(second)

    starts = range(0, len(first) if len(second) else 0, rows)
    with ThreadPoolExecutor(min(8, usable_cores())) as threads:  # NumPy leaves the interpreter to others meanwhile
        for group in range(0, len(starts), 64):  # so that results do not pile up
            yield from threads.map(part, starts[group : group + 64])


def near_duplicates(first: np.ndarray, second: np.ndarray) -> NearDuplicates:
    """For each thumbnail of `second` (m, side, side) uint8 the one of `first` (n, side, side) that shows the same, if any."""
    own, other = _contrasty(first), _contrasty(second)
    of_first, of_second = _normalised(first), _normalised(second)
    best, partner = np.full(len(second), -1.0, np.float32), np.zeros(len(second), np.int64)
    for a, b in close_pairs(perceptual_hashes(first[own]), perceptual_hashes(second[other]), HAMMING):
        a, b = own[a], other[b]
        alike = np.einsum("ij,ij->i", of_first[a], of_second[b])
        better = np.argsort(alike)  # of several assignments to one place NumPy keeps the last
        better = better[alike[better] > best[b[better]]]
        best[b[better]], partner[b[better]] = alike[better], a[better]
    found = np.flatnonzero(best >= CORRELATION)
    found = found[np.argsort(-best[found], kind="stable")]
    return NearDuplicates(partner[found], found, best[found])


def _contrasty(thumbnails: np.ndarray) -> np.ndarray:
    """Rows of those with enough contrast to be told apart."""
    starts = range(0, len(thumbnails), THUMBNAILS_AT_ONCE)
    parts = [thumbnails[start : start + THUMBNAILS_AT_ONCE].std(axis=(1, 2), dtype=np.float32) for start in starts]
    return np.flatnonzero(np.concatenate([*parts, np.zeros(0)]) >= LEAST_CONTRAST)


def _normalised(thumbnails: np.ndarray) -> np.ndarray:
    """(n, side, side) uint8 → (n, side² / 4) float32: means of 2 × 2 pixels, then mean 0 and length 1."""
    n, half = len(thumbnails), thumbnails.shape[1] // 2
    coarse = np.zeros((n, half, half), np.float32)
    for down in (0, 1):
        for right in (0, 1):
            coarse += thumbnails[:, down::2, right::2]
    coarse = coarse.reshape(n, half * half)
    coarse -= coarse.mean(axis=1, keepdims=True)
    coarse /= np.maximum(np.linalg.norm(coarse, axis=1, keepdims=True), 1e-6)
    return coarse
