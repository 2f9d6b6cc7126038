"""The effect of `datasets/sketch_cleanup.py` on retrieval: mAP and P@100 of sketches as a user may draw them on a screen.

python benchmarks/sketch_cleanup.py --data_root DATA --image_size 64 --checkpoint FILE…

The sketches of Sketchy's unseen classes are placed at random on a transparent canvas of 800 × 600 pixels, a quarter to three
fifths of its height high, in thin or in thick strokes. They are queries as they are and after the cleaning.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from datasets.catalog import SKETCHY, UNSEEN
from datasets.file_lists import Split
from datasets.images import decode, on_white, opened
from datasets.sketch_cleanup import as_training_sketch, stroke_width
from photo_search.encoder import open_network
from photo_search.network import Computing
from retrieval.scores import evaluate_ranking
from utils.errors import report_errors
from utils.parser import image_side

CANVAS, SHARE = (800, 600), (0.25, 0.6)
BATCH = 100


def on_a_screen(sketch: Image.Image, seed: int, width: float | None) -> Image.Image:
    """The sketch somewhere on a transparent canvas, its lines thinned to `width` pixels (None: as they are)."""
    rng = np.random.default_rng(seed)
    side = int(rng.uniform(*SHARE) * CANVAS[1])
    large = sketch.convert("L").resize((4 * side, 4 * side), Image.Resampling.BICUBIC)
    lines = Image.fromarray(np.asarray(large) < 128).convert("L")
    excess = 0 if width is None else round((stroke_width(np.asarray(lines) > 0) - 4 * width) / 2)
    if excess > 0:
        lines = lines.filter(ImageFilter.MinFilter(2 * min(excess, 7) + 1))
    left, top = (int(rng.integers(0, length - side)) for length in CANVAS)
    cover = Image.new("L", CANVAS)
    cover.paste(lines.resize((side, side), Image.Resampling.BOX), (left, top))
    canvas = Image.new("RGBA", CANVAS, (30, 30, 30, 0))
    canvas.putalpha(cover)
    return canvas


def as_it_is(picture: Image.Image, side: int) -> np.ndarray:
    """The picture on white, stretched to the square."""
    return np.asarray(on_white(picture).resize((side, side), Image.Resampling.BILINEAR))


def embedded(embed: Callable[[np.ndarray], np.ndarray], images: list[np.ndarray]) -> torch.Tensor:
    parts = [embed(np.stack(images[start : start + BATCH])) for start in range(0, len(images), BATCH)]
    return torch.from_numpy(np.concatenate(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description="The effect of cleaning sketches on retrieval.")
    parser.add_argument("--data_root", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True)
    parser.add_argument("--image_size", type=image_side, default=224)
    options = parser.parse_args()
    split, side = Split(SKETCHY, options.data_root, SKETCHY.default_split), options.image_size
    queries, photos = split.sketches(UNSEEN), split.photos(UNSEEN)
    labels = torch.from_numpy(queries.labels), torch.from_numpy(photos.labels)
    published = [opened(queries.root / path) for path in queries.paths]
    thin, thick = ([on_a_screen(sketch, row, width) for row, sketch in enumerate(published)] for width in (2, None))
    networks = [open_network(path, Computing(precision="float32"), side) for path in options.checkpoint]
    pictures = [decode(photos.root / path, side) for path in photos.paths]
    galleries = [embedded(network.embed_photos, pictures) for network in networks]
    print(f"mAP@all and P@100, released protocol, real-valued: {len(queries)} sketches, {len(photos)} photos")
    for title, sketches in {"as published": published, "thin on a screen": thin, "thick on a screen": thick}.items():
        for suffix, prepare in (("", as_it_is), (", cleaned", as_training_sketch)):
            images, columns = [prepare(sketch, side) for sketch in sketches], []
            for network, gallery in zip(networks, galleries, strict=True):
                found = embedded(network.embed_sketches, images)
                scores = evaluate_ranking("euclidean", found, labels[0], gallery, labels[1], progress=False).summary()
                columns.append(f"{scores['map_all_released']:.3f} {scores['p100_released']:.3f}")
            print(f"{title + suffix:36}" + "   ".join(columns), flush=True)


if __name__ == "__main__":
    with report_errors():
        main()
