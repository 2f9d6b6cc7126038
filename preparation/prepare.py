"""From downloads to a dataset: images in their folders, lists, class names and semantic mask."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from datasets.catalog import CUSTOM, DATASETS, Dataset
from datasets.file_lists import MASK_PICKLE
from preparation.archives import FREE_SPACE, open_source
from preparation.config import DataOptions, FileOptions
from preparation.console import print_classes, print_outcome, print_some, write_record
from preparation.copying import copy_images, images_to_copy, note_sources, require_space
from preparation.layouts import recognise
from preparation.lists import new_lists, published_lists, require_unchanged, write_lists
from preparation.mask import mask_files
from preparation.shrinking import strict_decoding, unreadable
from preparation.splits import Classes, SplitImages, classes_of_split, images_of_split, split_name
from utils.errors import InputError
from utils.files import exclusive_lock, report_full_disk


def prepare(data: DataOptions, files: FileOptions) -> Path:
    """Copy images to their places, write lists, class names and mask; returns the split's folder.

    Existing files that are equal are kept, so an interrupted run can be repeated. Raises InputError before anything is written
    if sources, classes or existing files do not fit; the lists are written last, all at once.
    """
    started = time.perf_counter()
    dataset = DATASETS[data.dataset]
    with _locked(data.output):
        sources = [open_source(path) for path in dict.fromkeys(data.source)]
        split = split_name(dataset, data.split)
        if dataset is CUSTOM:
            _require_no_other_dataset(data.output)
        folder = data.output / dataset.folder / split
        layout = recognise(dataset, sources)
        print_some("left out", [f"{count:,} {what}" for what, count in layout.left_out.most_common()])
        classes = classes_of_split(dataset, folder, data.unseen, layout, data.seed)
        found = images_of_split(layout, classes, split)
        print_classes(dataset, split, classes, found)
        lists, held_out = _lists_of_split(dataset, split, classes, found, data)
        mask, facts = mask_files(dataset, files.wordnet, classes, found, lists.get(MASK_PICKLE))
        lists |= mask
        if not files.force:
            require_unchanged(folder, lists)
        root = folder.parent
        images = images_to_copy(found.all(), root, sources, files)
        require_space(images, data.output)
        with strict_decoding(), report_full_disk(root, f"{FREE_SPACE}, or choose another --output"):
            root.mkdir(parents=True, exist_ok=True)
            note_sources(sources, root, files)
            shrunk = copy_images(images, root, files)
            faults = unreadable(root, [image.target for image in found.all()])
            write_lists(folder, lists)
        facts = {
            "dataset": dataset.key,
            "split": split,
            "sources": list(map(str, data.source)),
            "seed": data.seed,
            "held_out": held_out,
            "side": files.side,
            "unseen": classes.unseen,
            **facts,
            "spelt_otherwise": dict(found.spelt),
            "other_folders": found.other_folders,
            "could_not_be_read": faults,
        }
        write_record(folder, facts)
    done = f"{len(images):,} linked or copied, {shrunk:,} of them shrunk, in {time.perf_counter() - started:.0f} s"
    print_outcome(dataset, folder, found, lists, done, faults)
    return folder


def _lists_of_split(
    dataset: Dataset, split: str, classes: Classes, found: SplitImages, data: DataOptions
) -> tuple[dict[str, bytes], int | None]:
    """The lists that came with the images, or new ones; and how many sketches of each class the new ones hold out."""
    if split in dataset.splits and data.held_out is None and (lists := published_lists(dataset, split, classes, found)):
        print("the split's lists came with the images, and stay as they are")
        return lists, None
    held_out = data.held_out or dataset.held_out
    return new_lists(dataset, classes, found.by_class, held_out, data.seed), held_out


@contextlib.contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Only one process prepares below `output` at a time; if nothing was written there, a new folder is removed."""
    is_new = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output).close()
    except OSError as error:
        raise InputError(f"{output}: nothing can be written there ({error.strerror}); choose another --output") from error
    lock = output / ".preparing.lock"
    try:
        with exclusive_lock(lock, f"{output}: is being prepared already; wait for that to end"):
            yield
    finally:
        if is_new and os.listdir(output) == [lock.name]:
            lock.unlink()
            output.rmdir()


def _require_no_other_dataset(output: Path) -> None:
    """Scripts find own folders only if their own dataset is not in the same data root."""
    for other in DATASETS.values():
        if other is not CUSTOM and (output / other.folder).exists():
            raise InputError(f"{output}: holds {other.folder}/, which scripts would take; give your folders another --output")
