"""Draw the demo dataset into image files in the layout of Sketchy: `python -m synthetic.draw --root demo/dataset`."""

import functools
import json
import os
import pickle
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from datasets.catalog import SKETCHY
from preparation.checks.contact_sheet import Row, save_contact_sheet
from synthetic.pictures import HANDS, draw_photo, draw_sketch
from synthetic.shapes import SEEN, UNSEEN
from utils.errors import InputError, report_errors
from utils.options import as_text, option, parse
from utils.parser import Parser, non_negative_int, path_argument, positive_int, whole_number
from utils.text import one_line

VERSION = 1  # raise it when the same settings draw other pictures
CHUNK = 16  # pictures that a worker draws at a time
FOLDERS = {"photo": SKETCHY.photo_folder, "sketch": SKETCHY.sketch_folder}


@dataclass(frozen=True)
class Settings:
    """What to draw."""

    title: ClassVar[str] = "drawing"
    seed: int = option(0, type=non_negative_int, help="random seed")
    side: int = option(256, type=whole_number(32, 8192), help="side of the pictures in pixels")
    photos_per_class: int = option(40, type=positive_int, help="number of photos per class")
    sketches_per_class: int = option(25, type=positive_int, help="number of sketches per class")
    held_out_per_class: int = option(5, type=positive_int, help="number of further sketches per seen class, for validation")


@dataclass(frozen=True)
class Output:
    """Where and how to write."""

    title: ClassVar[str] = "output"
    root: Path = option(None, type=path_argument, required=True, help="data root; the pictures are written to ROOT/Sketchy")
    contact_sheet: Path | None = option(None, type=path_argument, help="PNG file for some pictures of each class")
    workers: int | None = option(None, type=positive_int, help="worker processes; default: one per core")


def draw_dataset(root: Path, settings: Settings, workers: int | None = None) -> Path:
    """Draw the dataset into `<root>/Sketchy` and return that folder; a complete one of the same settings is kept.

    The files do not depend on `workers`. The folder appears when it is complete. Raises InputError if it exists and is something
    else, or if `root` cannot be written.
    """
    target = root / SKETCHY.folder
    record = target / "drawn.json"
    if target.exists():
        if not record.is_file() or record.read_bytes() != _record(settings).encode():
            raise InputError(f"{target} exists and was not drawn with these settings; remove it or choose another --root")
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".drawing-", dir=root) as temporary:
            folder = Path(temporary) / SKETCHY.folder
            _draw_images(folder, settings, workers or os.cpu_count() or 1)
            _write_lists(folder / SKETCHY.default_split, settings)
            (folder / record.name).write_text(_record(settings), encoding="utf-8")
            folder.rename(target)
    except OSError as error:
        raise InputError(f"cannot draw into {root}: {one_line(error)}; choose another --root") from error
    return target


def _record(settings: Settings) -> str:
    return json.dumps({"version": VERSION, **as_text(settings)}, indent=1) + "\n"


def _jobs(settings: Settings) -> list[tuple[str, str, int]]:
    """(kind, class, number) of each picture."""
    sketches = {name: settings.sketches_per_class + settings.held_out_per_class * (name in SEEN) for name in SEEN + UNSEEN}
    photos = [("photo", name, number) for name in sketches for number in range(settings.photos_per_class)]
    return photos + [("sketch", name, number) for name, count in sketches.items() for number in range(count)]


def _draw_images(folder: Path, settings: Settings, workers: int) -> None:
    from datasets.loading import map_in_workers  # here, because it imports PyTorch

    draw = functools.partial(_draw, folder, settings)
    for _ in map_in_workers(draw, _jobs(settings), CHUNK, workers if workers > 1 else 0, "drawing"):
        pass


def _draw(folder: Path, settings: Settings, job: tuple[str, str, int]) -> None:
    kind, name, number = job
    path = folder / _paths(kind, name, [number])[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "photo":
        draw_photo(name, number, settings.seed, settings.side).save(path, quality=88)
    else:
        draw_sketch(name, number, settings.seed, settings.side).convert("RGB").save(path)


def _paths(kind: str, name: str, numbers: Iterable[int]) -> list[str]:
    """Paths below the dataset's folder; the last number of a sketch is that of the hand."""
    ends = (f"{n}.jpg" if kind == "photo" else f"{n}-{n % HANDS}.png" for n in numbers)
    return [f"{FOLDERS[kind]}/{name}/{name}_{end}" for end in ends]


def _write_lists(lists: Path, settings: Settings) -> None:
    lists.mkdir()
    photos, sketches = range(settings.photos_per_class), range(settings.sketches_per_class)
    held_out = range(len(sketches), len(sketches) + settings.held_out_per_class)
    for kind, pattern, part, classes, numbers in (
        ("photo", SKETCHY.photo_list, "train", SEEN, photos),
        ("photo", SKETCHY.photo_list, "zero", UNSEEN, photos),
        ("sketch", SKETCHY.sketch_list, "train", SEEN, sketches),
        ("sketch", SKETCHY.sketch_list, "test", SEEN, held_out),
        ("sketch", SKETCHY.sketch_list, "zero", UNSEEN, sketches),
    ):
        lines = (f"{path} {label}\n" for label, name in enumerate(classes) for path in _paths(kind, name, numbers))
        (lists / pattern.format(part=part)).write_text("".join(lines), encoding="utf-8")
    for file, classes in (("cname_cid.txt", SEEN), ("cname_cid_zero.txt", UNSEEN)):
        (lists / file).write_text("".join(f"{name} {label}\n" for label, name in enumerate(classes)), encoding="utf-8")
    masks = {label: np.zeros(1000) for label in range(len(SEEN))}  # drawn classes train without a teacher
    (lists / "cid_mask.pickle").write_bytes(pickle.dumps(masks, protocol=4))


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the dataset, and a contact sheet if one is named."""
    parser = Parser("Draw the demo dataset into image files in the layout of Sketchy.", "--root FOLDER")
    settings, output = parse(parser, [Settings, Output], arguments)
    target = draw_dataset(output.root, settings, output.workers)
    if output.contact_sheet:
        rows = []
        for name in UNSEEN + SEEN:
            photos = _paths("photo", name, range(min(5, settings.photos_per_class)))
            sketches = _paths("sketch", name, range(min(5, settings.sketches_per_class)))
            side = "unseen" if name in UNSEEN else "seen"
            rows.append(Row([name, side], [target / path for path in photos + sketches]))
        save_contact_sheet(output.contact_sheet, rows, columns=3)
    kinds = [kind for kind, *_ in _jobs(settings)]
    counts = [f"{kinds.count(each)} {each}" for each in FOLDERS]
    print(f"{target}: {' and '.join(counts)} files of {len(SEEN)} seen and {len(UNSEEN)} unseen classes")


if __name__ == "__main__":
    with report_errors():
        main()
