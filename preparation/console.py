"""What a preparation prints, and the record it writes, `prepared.json`."""

import json
import shlex
from pathlib import Path

from datasets.catalog import DATA_ROOT, Counts, Dataset
from preparation.layouts import PHOTOS, SKETCHES
from preparation.lists import list_names
from preparation.splits import Classes, SplitImages
from utils.files import atomic_write
from utils.text import printable, some_of

RECORD = "prepared.json"  # in the split's folder
SHOWN = 8  # items of one kind
TOLERANCE = 0.01  # relative difference to a published count; some are rounded


def print_some(title: str, items: list[str]) -> None:
    """Print the first few items after a title; nothing if there are none."""
    if items:
        print(printable(f"{title}: {some_of(items, SHOWN)}"))


def print_classes(dataset: Dataset, split: str, classes: Classes, found: SplitImages) -> None:
    """Print the number of classes, new unseen ones, other spellings and other folders."""
    print(f"{dataset.name}, {split}: {len(classes.seen)} seen and {len(classes.unseen)} unseen classes")
    if split not in dataset.splits:
        print(printable(f"unseen: {', '.join(classes.unseen)}"))
    print_some("spelt otherwise", [f"{folder} is {name!r}" for folder, name in found.spelt])
    print_some("left out, no class of the split", found.other_folders)


def print_mask(published: int, looked_up: int, by_name: dict[str, tuple[str, str]], zeros: list[str]) -> None:
    """Print how many rows of the mask are published ones or WordNet's, and which may be wrong."""
    if published:
        print(f"semantic mask: published rows of {published} classes" + f", WordNet's of {looked_up}" * bool(looked_up))
    names = [f"{name} is {synset}" for name, (_, synset) in by_name.items()]
    print_some("looked up in WordNet by the class's name, because no photo's name begins with its synset", names)
    print_some("near no class of ImageNet, so their mask is zero", zeros)


def print_outcome(
    dataset: Dataset, folder: Path, found: SplitImages, lists: dict[str, bytes], copied: str, unreadable: list[str]
) -> None:
    """Print counts, unreadable images, and the command that checks the dataset."""
    photos, sketches = (sum(map(len, found.by_class[kind].values())) for kind in (PHOTOS, SKETCHES))
    print(printable(f"{folder.parent}: {photos:,} photos and {sketches:,} sketches; {copied}"))
    if unreadable:
        count = f"{len(unreadable):,} of {photos + sketches:,} images cannot be read, and are taken as they are"
        print(printable(f"{count} (the first: {unreadable[0]}); check_dataset.py lists them all"))
    print(printable(f"{folder}:"))
    for name in list_names(dataset):
        if name in lists:
            print(f"  {name}: {len(lists[name].splitlines()):,}")
    counts = dataset.splits.get(folder.name, Counts())
    _compare(PHOTOS, photos, counts.train_photos, counts.gallery_photos)
    _compare(SKETCHES, sketches, counts.train_sketches, counts.held_out_sketches, counts.query_sketches)
    root = [] if folder.parent.parent == DATA_ROOT else ["--data_root", str(folder.parent.parent)]
    split = [] if folder.name == dataset.default_split else ["--split", folder.name]
    print(printable(f"next: {shlex.join(['python', 'check_dataset.py', dataset.key, *root, *split])}"))


def _compare(kind: str, count: int, *published: int | None) -> None:
    """Print if there are more or fewer images than published: a download may be missing."""
    total = sum(part or 0 for part in published)
    if None not in published and abs(count - total) > TOLERANCE * total:
        print(f"note: {count:,} {kind} instead of the published {total:,}; was every part of the dataset named?")


def write_record(folder: Path, facts: dict[str, object]) -> None:
    """Write `prepared.json`: how the split was made, and the whole lists of which the terminal showed a part."""
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    with atomic_write(folder / RECORD) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8", errors="replace")
