"""From downloads to a dataset: images in their folders, lists, class names and semantic mask."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from datasets.catalog import CUSTOM, DATA_ROOT, DATASETS, Dataset
from datasets.file_lists import MASK_PICKLE
from preparation.archives import FREE_SPACE, open_source
from preparation.console import print_classes, print_outcome, print_some, write_record
from preparation.copying import FileOptions, copy_images, images_to_copy, note_sources, require_space
from preparation.layouts import recognise
from preparation.lists import new_lists, published_lists, require_unchanged, write_lists
from preparation.mask import mask_files
from preparation.shrinking import strict_decoding, unreadable
from preparation.splits import Classes, SplitImages, classes_of_split, images_of_split, split_name
from utils.errors import InputError
from utils.files import exclusive_lock, report_full_disk
from utils.options import operand, option, parse
from utils.parser import Parser, non_negative_int, path_argument, positive_int


@dataclass(frozen=True)
class DataOptions:
    """The dataset, its source and its split."""

    title: ClassVar[str] = "data"
    dataset: str = operand(choices=list(DATASETS), help="folders: your own images, photos/<class>/* and sketches/<class>/*")
    source: list[Path] = option(
        None, type=path_argument, nargs="+", required=True, help="all archives (zip, tar, 7z) or folders of the download"
    )
    output: Path = option(DATA_ROOT, type=path_argument, help="data root, the folder that holds Sketchy/ and the others")
    split: str | None = option(
        None,
        help="zeroshot1 (default) or zeroshot2 of Sketchy, zeroshot of others; a new name needs --unseen",
    )
    unseen: list[str] | None = option(
        None, nargs="+", help="unseen classes of a new split: names, or a number or share of the classes; default: a fifth"
    )
    held_out: int | None = option(
        None, type=positive_int, help="sketches of each seen class held out for validation; default: 50 or 10, by dataset"
    )
    seed: int = option(0, type=non_negative_int, help="seed of held-out sketches and of unseen classes that are not named")


def preparation_options(arguments: list[str] | None = None) -> tuple[DataOptions, FileOptions]:
    """Parsed options of prepare_dataset.py; a mistake exits with code 2 after one line."""
    operands = f"{{{','.join(DATASETS)}}} --source PATH…"
    parser = Parser("Bring a dataset from its downloads into the layout the scripts read.", operands)
    data, files = parse(parser, [DataOptions, FileOptions], arguments)
    return data, files


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
