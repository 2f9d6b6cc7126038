"""The picture of a test."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from report.photo_grid import write_photo_grid
from retrieval.scores import evaluate_ranking
from utils.errors import InputError

NAMES = ["wine_bottle", "$hot air {balloon}", "saw"]
GREEN, RED = (0x1A, 0x8F, 0x3C), (0xC6, 0x28, 0x28)


def written(folder, right, photos=12):
    """The picture of three queries whose photos are of their class, or of others, as `right` (3,) says."""
    labels = torch.arange(3)
    codes = torch.eye(3, dtype=torch.bool)
    nearest = torch.where(torch.tensor(right), labels, (labels + 1) % 3)  # the class of the photos at distance 0
    gallery_labels = torch.arange(3 * photos) % 3
    scores = evaluate_ranking("hamming", codes, labels, codes[nearest.argsort()[gallery_labels]], gallery_labels)
    grey = {"query": 200, "gallery": 120}
    path = folder / "out" / "grid.png"
    write_photo_grid(path, scores, gallery_labels.numpy(), NAMES, lambda side, i: np.full((9 + i, 20, 3), grey[side], np.uint8))
    assert os.listdir(path.parent) == ["grid.png"]
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)


def count(pixels, colour):
    return int((np.abs(pixels - colour) < 6).all(1).sum())


def test_the_picture_has_frames_and_marks(tmp_path):
    right = written(tmp_path, [True] * 3)
    assert len(right) > 300_000 and count(right, RED) == 0 and count(right, GREEN) > 10_000
    wrong = written(tmp_path, [False] * 3)
    # a tick covers slightly more or less of its badge than a cross
    assert count(wrong, GREEN) == 0 and count(wrong, RED) == pytest.approx(count(right, GREEN), rel=0.1)
    # tick and cross differ without colour
    assert ((right > 250).all(1) != (wrong > 250).all(1)).sum() > 30


def test_a_gallery_of_few_photos(tmp_path):
    assert count(written(tmp_path, [True] * 3, photos=1), (255, 255, 255)) > 50_000


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        written(tmp_path, [True] * 3)
