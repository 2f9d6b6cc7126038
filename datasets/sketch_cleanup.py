"""Drawing on a screen or a sheet of paper → image in the style of the training sketches.

Training sketches fill their image, in dark lines of one width on white. A network trained on them does not recognise a small
drawing in a corner of a large canvas. Three steps bring a drawing to their style:

1. Ink: the darkness of each pixel against the paper, the median of the border. Light lines on dark paper are inverted. On a
   transparent canvas, opaque pixels are ink.
2. Position: the ink's bounding box is scaled until its longer side is EXTENT of the image's side, and centred.
3. Lines: lines thinner than STROKE of the image's side are thickened to it. Thicker ones, such as filled shapes, are kept.

`benchmarks/sketch_cleanup.py` measures what this is worth.
"""

import numpy as np
from PIL import Image, ImageFilter

from utils.errors import InputError

SHEET = 512  # side in pixels of the square on which lines are thickened
EXTENT, STROKE = 0.92, 0.012  # shares of the image's side
FAINT = 0.3  # share of the darkest ink above which a pixel is drawn; below, it is the paper's grain
LINE = 0.4  # share of the darkest ink above which a pixel of the scaled drawing belongs to a line
LEAST_CONTRAST = 25  # between paper and the darkest ink, in grey values up to 255
EDGE = 1.27  # mean of |cos| + |sin|: length of an edge in pixel sides / its true length, averaged over directions


def as_training_sketch(drawing: Image.Image, side: int) -> np.ndarray:
    """Image of any size and mode → (side, side, 3) uint8, dark on white. Raises InputError if nothing is drawn on it."""
    sheet = _centred(_drawn(drawing))
    grey = 255 - np.asarray(_thickened(sheet).resize((side, side), Image.Resampling.BILINEAR))
    return np.repeat(grey[..., None], 3, axis=2)


def dark_on_white(drawing: Image.Image) -> Image.Image:
    """The drawing, cropped with a margin, as an image "L", dark on white, that can be drawn on.

    `as_training_sketch` makes the same sketch of it as of the original. Raises InputError if nothing is drawn on it.
    """
    ink = _drawn(drawing)
    ink = np.pad(ink, 1 + max(ink.shape) // 32)  # makes the border paper
    return Image.fromarray((255 - ink * 255).round().astype(np.uint8))


def _drawn(drawing: Image.Image) -> np.ndarray:
    """(h, w) float32 in [0, 1]: the ink, cropped to its bounding box."""
    ink = _ink(drawing)
    is_drawn = ink > FAINT
    if not is_drawn.any():
        raise InputError("the drawing is empty; draw something darker (or lighter) than its paper")
    rows, columns = (np.flatnonzero(is_drawn.any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _ink(drawing: Image.Image) -> np.ndarray:
    """(h, w) float32 in [0, 1]; all 0 if the contrast is too low."""
    has_alpha = "A" in drawing.getbands() or "transparency" in drawing.info
    if has_alpha:
        alpha = np.asarray(drawing.convert("RGBA"))[..., 3].astype(np.float32)
        if np.median(_border(alpha)) < 128:  # a transparent canvas
            return _scaled(alpha)
        drawing = Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing.convert("RGBA"))
    grey = np.asarray(drawing.convert("L")).astype(np.float32)
    paper = np.median(_border(grey))
    return _scaled(paper - grey if paper >= 128 else grey - paper)


def _border(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def _scaled(contrast: np.ndarray) -> np.ndarray:
    greatest = contrast.max()
    return np.clip(contrast / greatest, 0, 1) if greatest >= LEAST_CONTRAST else np.zeros_like(contrast)


def _centred(ink: np.ndarray) -> Image.Image:
    scale = EXTENT * SHEET / max(ink.shape)
    height, width = (max(1, round(length * scale)) for length in ink.shape)
    picture = np.asarray(Image.fromarray((ink * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC))
    lines = picture > LINE * picture.max()  # thin lines are pale if the drawing was reduced a lot
    sheet = Image.new("L", (SHEET, SHEET), 0)
    sheet.paste(Image.fromarray(lines), ((SHEET - width) // 2, (SHEET - height) // 2))
    return sheet


def _thickened(sheet: Image.Image) -> Image.Image:
    missing = round((STROKE * SHEET - stroke_width(np.asarray(sheet) > 127)) / 2)  # pixels on each side
    return sheet.filter(ImageFilter.MaxFilter(2 * missing + 1)) if missing > 0 else sheet


def stroke_width(is_ink: np.ndarray) -> float:
    """Width in pixels of the lines of (h, w) bool: 2 · area / length of the outline, which holds for long lines."""
    padded = np.pad(is_ink, 1)
    outline = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    return 2 * EDGE * is_ink.sum() / max(1, outline)
