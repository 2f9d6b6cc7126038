"""The pixels of cropping preprocessing, compared with timm's own transform."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from timm.data import create_transform

from datasets.preprocessing import Preprocessing, Transform

SIDE, CROP_PCT = 55, 0.875  # the shorter side becomes 62: the margins are odd


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photos_of_odd_sizes_are_cropped_as_timm_does(tmp_path, orientation, interpolation):
    rng, exif, path = np.random.default_rng(0), Image.Exif(), tmp_path / "a.png"
    exif[0x0112] = orientation
    transform = Transform(Preprocessing(SIDE, interpolation=interpolation, crop_pct=CROP_PCT, crop_mode="center"))
    timms = create_transform((3, SIDE, SIDE), is_training=False, interpolation=interpolation, crop_pct=CROP_PCT)
    for size in ((97, 62), (75, 51), (61, 88), (45, 45)):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path, exif=exif)
        with Image.open(path) as image:
            expected = timms(ImageOps.exif_transpose(image).convert("RGB"))
        torch.testing.assert_close(transform(path), expected, rtol=0, atol=1e-5)
