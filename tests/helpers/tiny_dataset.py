"""A tiny dataset in SAKE's layout."""

import pickle
from pathlib import Path

import numpy as np
from PIL import Image

SEEN, UNSEEN = ["mug", "alarm clock", "fish"], ["star", "tea pot"]
LISTS = {
    "Sketchy": ("zeroshot1", "all_photo_filelist", "sketch_tx_000000000000_ready_filelist"),
    "TUBerlin": ("zeroshot", "ImageResized_ready_filelist", "png_ready_filelist"),
    "QuickDraw": ("zeroshot", "all_photo", "sketch"),
    "Own": ("zeroshot", "photo_filelist", "sketch_filelist"),
}


def write_tiny_dataset(root: Path, folder: str = "Sketchy", photos: int = 12, sketches: int = 6, side: int = 40) -> Path:
    """Three seen and two unseen classes of noise images whose mean colour is the class's."""
    generator = np.random.default_rng(7)
    split, photo_list, sketch_list = LISTS[folder]
    lists = root / folder / split
    lists.mkdir(parents=True)

    def write(kind: str, names: list[str], count: int, part: str, start: int = 0) -> None:
        suffix = "jpg" if kind == "photo" else "png"
        lines = []
        for label, name in enumerate(names):
            (root / folder / kind / name).mkdir(parents=True, exist_ok=True)
            for number in range(start, start + count):
                path = f"{kind}/{name}/{number}.{suffix}"
                level = 40 + 50 * label + generator.integers(0, 40, (side, side, 3))
                Image.fromarray(level.astype(np.uint8)).save(root / folder / path)
                lines.append(f"{path} {label}")
        pattern = photo_list if kind == "photo" else sketch_list
        (lists / f"{pattern}_{part}.txt").write_text("\n".join(lines) + "\n")

    write("photo", SEEN, photos, "train")
    write("photo", UNSEEN, photos, "zero")
    write("sketch", SEEN, sketches, "train")
    write("sketch", SEEN, 2, "test", start=sketches)
    write("sketch", UNSEEN, sketches, "zero")
    (lists / "cname_cid.txt").write_text("".join(f"{name} {i}\n" for i, name in enumerate(SEEN)))
    (lists / "cname_cid_zero.txt").write_text("".join(f"{name} {i}\n" for i, name in enumerate(UNSEEN)))
    mask = {i: generator.uniform(0, 1, 1000) for i in range(len(SEEN))}
    (lists / "cid_mask.pickle").write_bytes(pickle.dumps(mask))
    return root
