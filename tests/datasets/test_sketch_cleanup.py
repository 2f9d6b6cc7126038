import numpy as np
import pytest
from PIL import Image, ImageDraw

from datasets.sketch_cleanup import EXTENT, STROKE, as_training_sketch, stroke_width
from utils.errors import InputError

SIDE = 128


def house(size, left, top, scale, width, mode="RGB", ink="black", paper="white"):
    """A house of lines, 100 × scale pixels high."""
    image = Image.new(mode, size, paper)
    points = [(0, 100), (0, 40), (40, 0), (80, 40), (80, 100), (0, 100)]
    ImageDraw.Draw(image).line([(left + x * scale, top + y * scale) for x, y in points], ink, width, "curve")
    return image


def box(pixels):
    """left, top, right, bottom of what is dark, as shares of the side."""
    rows, columns = np.nonzero(pixels[..., 0] < 128)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / len(pixels)


def likeness(one, other):
    return np.corrcoef(one.astype(float).ravel(), other.astype(float).ravel())[0, 1]


def test_place_and_size_of_a_drawing_do_not_count():
    large = as_training_sketch(house((300, 300), 20, 20, 2.5, 5), SIDE)
    small = as_training_sketch(house((800, 600), 600, 400, 0.8, 2), SIDE)
    assert likeness(large, small) > 0.8
    left, top, right, bottom = box(small)
    assert bottom - top == pytest.approx(EXTENT, abs=0.03)
    assert (left + right) / 2 == pytest.approx(0.5, abs=0.02) and (top + bottom) / 2 == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    "picture",
    [
        {"mode": "RGBA", "paper": (0, 0, 0, 0), "ink": (20, 20, 20, 255)},
        {"mode": "RGBA", "paper": (0, 0, 0, 0), "ink": (255, 255, 255, 255)},  # white ink of a dark page
        {"mode": "L", "paper": 30, "ink": 240},
        {"mode": "RGB", "paper": (235, 230, 220), "ink": (90, 90, 120)},  # a pencil on paper
        {"mode": "P", "paper": 255, "ink": 0},
    ],
    ids=["transparent", "white on transparent", "chalk", "pencil", "palette"],
)
def test_any_ink_on_any_paper_is_dark_on_white(picture):
    plain = as_training_sketch(house((300, 300), 40, 60, 2, 4), SIDE)
    if picture["mode"] == "P":
        other = house((300, 300), 40, 60, 2, 4, mode="L", paper=255, ink=0).convert("P")
    else:
        other = house((300, 300), 40, 60, 2, 4, **picture)
    sketch = as_training_sketch(other, SIDE)
    assert sketch.shape == (SIDE, SIDE, 3) and sketch.dtype == np.uint8
    assert sketch[0, 0].min() == 255 and likeness(plain, sketch) > 0.98


def test_thin_lines_are_thickened_and_thick_ones_stay():
    def width(pixels):
        return stroke_width(as_training_sketch(house((1200, 1200), 50, 50, 10, pixels), 512)[..., 0] < 128) / 512

    assert width(2) == pytest.approx(STROKE, rel=0.25)
    assert width(80) > 4 * STROKE


def test_the_width_of_a_line_is_told():
    for pixels in (4, 10, 20):
        ink = np.asarray(house((1000, 1000), 100, 100, 8, pixels, mode="L", paper=255, ink=0)) < 128
        assert stroke_width(ink) == pytest.approx(pixels, rel=0.25)


@pytest.mark.parametrize(
    "image", [Image.new("RGB", (50, 50), "white"), Image.new("RGBA", (50, 50)), Image.new("L", (50, 50), 128)]
)
def test_an_empty_drawing_is_refused(image):
    with pytest.raises(InputError, match="the drawing is empty"):
        as_training_sketch(image, SIDE)


def test_one_dot_is_a_drawing():
    image = Image.new("L", (500, 400), 255)
    image.putpixel((3, 3), 0)
    assert (as_training_sketch(image, SIDE) < 128).any()
