"""What a preparation prints, and the record it writes, `prepared.json`."""

import json
import shlex
from collections import Counter
from pathlib import Path

from datasets.catalog import DATA_ROOT, Dataset
from preparation.layouts import PHOTOS, SKETCHES
from preparation.splits import Classes, SplitImages
from utils.files import atomic_write
from utils.text import printable

RECORD = "prepared.json"  # in the split's folder
SHOWN = 8  # items of one kind
TOLERANCE = 0.01  # relative difference to a published count; some are rounded


def print_some(title: str, items: list[str]) -> None:
    """Print the first few items after a title; nothing if there are none."""
    if items:
        more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
        print(printable(f"{title}: {', '.join(items[:SHOWN])}{more}"))


def print_left_out(left_out: Counter[str]) -> None:
    """Print which files are not used."""
    print_some("left out", [f"{count:,} {what}" for what, count in left_out.most_common()])


def print_classes(dataset: Dataset, split: str, classes: Classes, found: SplitImages) -> None:
    """Print the number of classes, new unseen ones, other spellings and other folders."""
    print(f"{dataset.name}, {split}: {len(classes.seen)} seen and {len(classes.unseen)} unseen classes")
    if split not in dataset.splits:
        print(printable(f"unseen: {', '.join(classes.unseen)}"))
    print_some("spelt otherwise", [f"{folder} is {name!r}" for folder, name in found.spelt])
    print_some("left out, no class of the split", found.other_folders)


def print_outcome(
    dataset: Dataset,
    folder: Path,
    found: SplitImages,
    files: dict[str, bytes],
    copied: str,
    unreadable: dict[str, str],
) -> None:
    """Print counts, unreadable images, and the command that checks the dataset."""
    counts = {kind: sum(map(len, found.by_class[kind].values())) for kind in (PHOTOS, SKETCHES)}
    print(printable(f"{folder.parent}: {counts[PHOTOS]:,} photos and {counts[SKETCHES]:,} sketches; {copied}"))
    if unreadable:
        count = f"{len(unreadable):,} of {sum(counts.values()):,} images cannot be read, and are taken as they are"
        print(printable(f"{count} (the first: {_faults(unreadable)[0]}); check_dataset.py lists them all"))
    print(printable(f"{folder}:"))
    for pattern in (dataset.photo_list, dataset.sketch_list):
        for name in (pattern.format(part=part) for part in ("train", "test", "zero")):
            if name in files:
                print(f"  {name}: {len(files[name].splitlines()):,}")
    _print_other_counts(dataset, folder.name, counts)
    root = [] if folder.parent.parent == DATA_ROOT else ["--data_root", str(folder.parent.parent)]
    split = [] if folder.name == dataset.default_split else ["--split", folder.name]
    print(printable(f"next: {shlex.join(['python', 'check_dataset.py', dataset.key, *root, *split])}"))


def _print_other_counts(dataset: Dataset, split: str, counts: dict[str, int]) -> None:
    """A different count than the published one: a download may be missing."""
    published = dataset.splits.get(split)
    if published is None:
        return
    for kind, parts in (
        (PHOTOS, (published.train_photos, published.gallery_photos)),
        (SKETCHES, (published.train_sketches, published.held_out_sketches, published.query_sketches)),
    ):
        known = [part for part in parts if part is not None]
        if len(known) == len(parts) and abs(counts[kind] - sum(known)) > TOLERANCE * sum(known):
            print(f"note: {counts[kind]:,} {kind} instead of the published {sum(known):,}; was every part of the dataset named?")


def _faults(unreadable: dict[str, str]) -> list[str]:
    return [f"{target}: {fault}" for target, fault in unreadable.items()]


def write_record(folder: Path, found: SplitImages, unreadable: dict[str, str], **facts: object) -> None:
    """Write `prepared.json`: how the split was made, and the whole lists of which the terminal showed a part."""
    content = {**facts, "spelt_otherwise": dict(found.spelt), "other_folders": found.other_folders}
    text = json.dumps({**content, "could_not_be_read": _faults(unreadable)}, indent=1, ensure_ascii=False)
    with atomic_write(folder / RECORD) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8", errors="replace")
