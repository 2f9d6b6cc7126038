"""Drawings to start from, drawn by code."""

import functools
import io

from datasets.drawn import draw_sketch

# (name, number): things that many photos show, each by a hand that draws it well
DRAWINGS = (("umbrella", 0), ("fish", 0), ("house", 0), ("mug", 0), ("butterfly", 0), ("key", 0), ("star", 0), ("alarm clock", 0))
SIDE = 384  # pixels


@functools.lru_cache(len(DRAWINGS))
def example_png(number: int) -> bytes:
    """Of DRAWINGS[number]."""
    name, variant = DRAWINGS[number]
    file = io.BytesIO()
    draw_sketch(name, variant, side=SIDE).point(lambda grey: 0 if grey < 110 else 255).save(file, "PNG")
    return file.getvalue()
