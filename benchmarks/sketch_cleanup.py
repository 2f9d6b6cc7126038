"""What bringing a drawing to the look of training sketches is worth: mAP of a test's sketches as one might draw them on a screen.

python benchmarks/sketch_cleanup.py --data_root DATA --image_size 64 --checkpoint FILE…

The unseen classes' sketches of Sketchy's layout are drawn, with thin strokes or with thick ones, somewhere on a transparent
canvas of 800 × 600 pixels, a quarter to three fifths of its height; then they are queries as they are, and after
`datasets/sketch_cleanup.py`.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from datasets import sketch_cleanup as drawings
from datasets.catalog import SKETCHY
from datasets.file_lists import FileList, Split
from datasets.images import decode, opened
from photo_search.encoder import Network, open_network
from retrieval.scores import evaluate_ranking
from utils.errors import report_errors
from utils.parser import image_side

CANVAS, SHARE = (800, 600), (0.25, 0.6)
BATCH = 100


def on_a_screen(sketch: Image.Image, number: int, width: float | None) -> Image.Image:
    """The sketch's lines, `width` pixels wide (None: as they are), somewhere on a transparent canvas."""
    rng = np.random.default_rng(number)
    side = int(rng.uniform(*SHARE) * CANVAS[1])
    large = sketch.convert("L").resize((4 * side, 4 * side), Image.Resampling.BICUBIC)
    lines = Image.fromarray(np.asarray(large) < 128)
    if width is not None:
        excess = round((drawings.stroke_width(np.asarray(lines) > 0) - 4 * width) / 2)
        lines = lines.convert("L").filter(ImageFilter.MinFilter(2 * min(excess, 7) + 1)) if excess > 0 else lines.convert("L")
    cover = Image.new("L", CANVAS)
    at = tuple(int(rng.integers(0, length - side)) for length in CANVAS)
    cover.paste(lines.convert("L").resize((side, side), Image.Resampling.BOX), at)
    canvas = Image.new("RGBA", CANVAS, (30, 30, 30, 0))
    canvas.putalpha(cover)
    return canvas


def plainly(picture: Image.Image, side: int) -> np.ndarray:
    """As every image is read: on white, stretched to the square."""
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    return np.asarray(paper.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


def batches(embed: Callable, images: list[np.ndarray]) -> torch.Tensor:
    parts = [embed(np.stack(images[start : start + BATCH])) for start in range(0, len(images), BATCH)]
    return torch.from_numpy(np.concatenate(parts))


def figures(network: Network, images: list[np.ndarray], queries: FileList, photos: FileList, gallery: torch.Tensor) -> str:
    found = batches(network.embed_sketches, images)
    labels = torch.from_numpy(queries.labels), torch.from_numpy(photos.labels)
    scores = evaluate_ranking("euclidean", found, labels[0], gallery, labels[1], progress=False).summary()
    return f"{scores['map_all_released']:.3f} {scores['p100_released']:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_root", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True)
    parser.add_argument("--image_size", type=image_side, default=224)
    options = parser.parse_args()
    split = Split(SKETCHY, options.data_root, SKETCHY.default_split)
    queries, photos = split.sketches("zero"), split.photos("zero")
    sketches = [opened(queries.root / path) for path in queries.paths]
    side = options.image_size
    thin, thick = ([on_a_screen(sketch, i, width) for i, sketch in enumerate(sketches)] for width in (2, None))
    rows = {
        "as published": [plainly(sketch, side) for sketch in sketches],
        "as published, brought to the look": [drawings.as_training_sketch(sketch, side) for sketch in sketches],
        "thin on a screen": [plainly(sketch, side) for sketch in thin],
        "thin, brought to the look": [drawings.as_training_sketch(sketch, side) for sketch in thin],
        "as thick as published on a screen": [plainly(sketch, side) for sketch in thick],
        "as thick, brought to the look": [drawings.as_training_sketch(sketch, side) for sketch in thick],
    }
    networks = [open_network(path, image_size=side) for path in options.checkpoint]
    pictures = [decode(photos.root / path, side) for path in photos.paths]
    galleries = [batches(network.embed_photos, pictures) for network in networks]
    print(f"mAP@all and P@100, released protocol, real-valued: {len(queries)} sketches, {len(photos)} photos")
    for title, images in rows.items():
        told = (figures(network, images, queries, photos, gallery) for network, gallery in zip(networks, galleries, strict=True))
        print(f"{title:36}" + "   ".join(told), flush=True)


if __name__ == "__main__":
    with report_errors():
        main()
