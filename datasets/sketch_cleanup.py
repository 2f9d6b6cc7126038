"""A drawing from a screen or a sheet of paper, brought to what training sketches look like.

A network that learned from sketches that fill their picture, in dark lines of one width on white, does not know a small
drawing in a corner of a large canvas. What is done about it:

1. ink: how dark each pixel is against the paper, which is the border's median; light on dark is turned around, and on a
   transparent canvas what is opaque is ink;
2. place: the ink's bounding box is scaled so that its longer side is EXTENT of the picture's, and put in its middle;
3. lines: thinner ones than STROKE of the picture's side are thickened to that; thicker ones stay, for a filled shape is no line.

Measured by `benchmarks/sketch_cleanup.py`: README, "Search your own photos".
"""

import numpy as np
from PIL import Image, ImageFilter

from utils.errors import InputError

SHEET = 512  # pixels of the square on which lines are thickened
EXTENT, STROKE = 0.92, 0.012  # shares of the picture's side
FAINT = 0.3  # of the darkest ink: what counts as drawn, rather than as paper's grain
LINE = 0.4  # of the darkest: what belongs to a line, once the drawing is scaled
LEAST_CONTRAST = 25  # grey values of 255 between paper and the darkest ink
EDGE = 1.27  # mean of |cos| + |sin|: what an edge of random direction counts more in pixels' sides than it is long


def as_training_sketch(drawing: Image.Image, side: int) -> np.ndarray:
    """(side, side, 3) uint8, dark on white, of a picture in any size and mode.

    Raises InputError if nothing is drawn on it.
    """
    sheet = _centred(_drawn(drawing))
    grey = 255 - np.asarray(_thickened(sheet).resize((side, side), Image.Resampling.BILINEAR))
    return np.repeat(grey[..., None], 3, axis=2)


def dark_on_white(drawing: Image.Image) -> Image.Image:
    """What is drawn, cut out with a margin, dark on white: the same to `as_training_sketch`, and fit to be drawn upon.

    Raises InputError if nothing is drawn on it.
    """
    ink = _drawn(drawing)
    ink = np.pad(ink, 1 + max(ink.shape) // 32)  # so that its border is paper
    return Image.fromarray((255 - ink * 255).round().astype(np.uint8))


def _drawn(drawing: Image.Image) -> np.ndarray:
    """(h, w) float32 in [0, 1]: the ink, and no more of the paper than lies between."""
    ink = _ink(drawing)
    is_drawn = ink > FAINT
    if not is_drawn.any():
        raise InputError("the drawing is empty; draw something darker (or lighter) than its paper")
    rows, columns = (np.flatnonzero(is_drawn.any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _ink(drawing: Image.Image) -> np.ndarray:
    """(h, w) float32 in [0, 1]; all 0 where there is too little contrast."""
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
    lines = picture > LINE * picture.max()  # far reduced, thin lines are pale
    sheet = Image.new("L", (SHEET, SHEET), 0)
    sheet.paste(Image.fromarray(lines), ((SHEET - width) // 2, (SHEET - height) // 2))
    return sheet


def _thickened(sheet: Image.Image) -> Image.Image:
    missing = round((STROKE * SHEET - stroke_width(np.asarray(sheet) > 127)) / 2)  # pixels on either side
    return sheet.filter(ImageFilter.MaxFilter(2 * missing + 1)) if missing > 0 else sheet


def stroke_width(is_ink: np.ndarray) -> float:
    """Pixels: twice the area over the outline's length, which it is for long lines; of (h, w) bool."""
    padded = np.pad(is_ink, 1)
    outline = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    return 2 * EDGE * is_ink.sum() / max(1, outline)
