"""What is told of a preparation, on the terminal and in `prepared.json`."""

import json
import shlex
from collections import Counter
from pathlib import Path

from datasets.catalog import DATA_ROOT, Dataset
from preparation.copying import Placed
from preparation.layouts import PHOTO, SKETCH
from preparation.splits import Classes, Sorted
from utils.files import atomic_write
from utils.text import printable

RECORD = "prepared.json"  # in the split's folder
SHOWN = 8  # of one kind
ABOUT = 0.01  # that published counts may be off, for some are rounded


def say_some(title: str, items: list[str]) -> None:
    """The first few of what there is to say under a title; nothing if there is nothing."""
    if items:
        more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
        print(printable(f"{title}: {', '.join(items[:SHOWN])}{more}"))


def say_left_out(left_out: Counter) -> None:
    """Images in other folders, and files that are no images by their names."""
    say_some("left out", [f"{count:,} {what}" for what, count in left_out.most_common()])


def say_classes(dataset: Dataset, split: str, classes: Classes, found: Sorted) -> None:
    """The classes, and where folders call them otherwise."""
    print(f"{dataset.name}, {split}: {len(classes.seen)} seen and {len(classes.unseen)} unseen classes")
    if split not in dataset.splits:
        print(printable(f"unseen: {', '.join(classes.unseen)}"))
    say_some("spelt otherwise", [f"{folder} is {name!r}" for folder, name in found.spelt])
    say_some("left out, no class of the split", found.other_folders)


def say_outcome(dataset: Dataset, folder: Path, found: Sorted, files: dict[str, bytes], placed: Placed, seconds: float) -> None:
    """Counts, and the command that checks them."""
    photos, sketches = (sum(map(len, found.images[kind].values())) for kind in (PHOTO, SKETCH))
    counts = f"{photos:,} photos and {sketches:,} sketches; {placed.images:,} put there now, {placed.shrunk:,} of them shrunk"
    print(printable(f"{folder.parent}: {counts}, in {seconds:.0f} s"))
    if placed.unreadable:
        count = f"{len(placed.unreadable):,} of {photos + sketches:,} images cannot be read, and are taken as they are"
        print(printable(f"{count} (the first: {_faults(placed)[0]}); check_dataset.py lists them all"))
    print(printable(f"{folder}:"))
    for pattern in (dataset.photo_list, dataset.sketch_list):
        for name in (pattern.format(part=part) for part in ("train", "test", "zero")):
            if name in files:
                print(f"  {name}: {len(files[name].splitlines()):,}")
    _say_other_counts(dataset, folder.name, photos, sketches)
    root = [] if folder.parent.parent == DATA_ROOT else ["--data_root", str(folder.parent.parent)]
    split = [] if folder.name == dataset.default_split else ["--split", folder.name]
    print(printable(f"next: {shlex.join(['python', 'check_dataset.py', dataset.key, *root, *split])}"))


def _faults(placed: Placed) -> list[str]:
    return [f"{target}: {fault}" for target, fault in sorted(placed.unreadable.items())]


def _say_other_counts(dataset: Dataset, split: str, photos: int, sketches: int) -> None:
    """A download may have been forgotten."""
    published = dataset.splits.get(split)
    if published is None or published.train_photos is None:
        return
    for what, found, parts in (
        ("photos", photos, (published.train_photos, published.gallery_photos)),
        ("sketches", sketches, (published.train_sketches, published.held_out_sketches, published.query_sketches)),
    ):
        if None not in parts and abs(found - sum(parts)) > ABOUT * sum(parts):
            print(f"note: {found:,} {what} instead of the published {sum(parts):,}; was every part of the dataset named?")


def record(folder: Path, found: Sorted, placed: Placed, **facts: object) -> None:
    """Write `prepared.json`: how the split was made, and all that was told of in part."""
    content = {**facts, "spelt_otherwise": dict(found.spelt), "other_folders": found.other_folders}
    with atomic_write(folder / RECORD) as temporary:
        text = json.dumps({**content, "could_not_be_read": _faults(placed)}, indent=1, ensure_ascii=False)
        temporary.write_text(f"{text}\n", encoding="utf-8", errors="replace")
