"""From what was downloaded to the layout of SPEC 2: the work of prepare_dataset.py."""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets.catalog import CUSTOM, DATA_ROOT, DATASETS, Dataset
from datasets.file_lists import MASK_PICKLE
from preparation.console import record, say_classes, say_left_out, say_outcome
from preparation.copying import CopyOptions, Placed, place, require_space
from preparation.existing_files import missing
from preparation.journal import known_sources, note_sources
from preparation.layouts import Image, recognise
from preparation.mask_files import mask_files
from preparation.published_lists import lists_that_came
from preparation.sources import FREE_SPACE, Source, open_source
from preparation.split_folder import require_free, write_split
from preparation.splits import Classes, Sorted, classes_of_split, lists_of, sort_images, split_name
from preparation.unreadable import keep_notes, remembered
from utils.cores import usable_cores
from utils.errors import InputError
from utils.files import exclusive_lock, full_disk_named
from utils.parser import MOST_WORKERS, Group, Parser, non_negative_int, path_argument, positive_int, whole_number


def preparation_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parsed options of prepare_dataset.py; a mistake exits with code 2 after one line."""
    words = f"{{{','.join(DATASETS)}}} --source PATH…"
    parser = Parser("Bring a dataset from what you downloaded into the layout the scripts read.", words)
    parser.add_argument("dataset", choices=list(DATASETS), help="folders: your own, photos/<class>/* and sketches/<class>/*")

    data = Group(parser, "data")
    data.add(
        "--source", type=path_argument, nargs="+", required=True, help="archives (zip, tar, 7z) or folders, as many as there are"
    )
    data.add("--output", type=path_argument, default=DATA_ROOT, help="data root: the folder that holds Sketchy/ and so on")
    data.add("--split", default=None, help="zeroshot1 or zeroshot2 of Sketchy, zeroshot of others; a new name wants --unseen")
    data.add("--unseen", nargs="+", default=None, help="of your own split: classes, their number or share; None: a fifth")
    data.add("--held_out", type=positive_int, default=None, help="sketches a seen class for validation; None: 50, or 10")
    data.add(
        "--seed",
        type=non_negative_int,
        default=0,
        help="of what is drawn: held-out sketches, and unseen classes that are not named",
    )

    files = Group(parser, "files")
    files.add(
        "--side",
        type=non_negative_int,
        default=None,
        help="shrink images to this shorter side; 0: never; None: 256, as published",
    )
    files.add("--copy", action="store_true", help="copy images out of folders; otherwise hard links, where the disk is the same")
    files.add("--force", action="store_true", help="replace other files and lists that are there already")
    files.add("--num_workers", type=whole_number(1, MOST_WORKERS), default=None, help="worker processes; None: one per core")
    files.add(
        "--wordnet",
        type=path_argument,
        default=None,
        help="folder of WordNet 3.0, for the mask of your own classes; None: nltk's, or download",
    )
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Plan:
    """All that is known before anything is written; `files` are those of the split's folder."""

    dataset: Dataset
    folder: Path
    classes: Classes
    found: Sorted
    files: dict[str, bytes]
    held_out: int | None  # None: as the published lists have it

    @property
    def root(self) -> Path:
        """The dataset's folder."""
        return self.folder.parent


def prepare(options: argparse.Namespace) -> Path:
    """Put images in their places, write lists, class names and mask; returns the split's folder.

    What is there already and the same is kept, so an interrupted run goes on. Raises InputError before anything is written if
    sources, classes or places do not fit; the lists come last, all at once.
    """
    started = time.perf_counter()
    with _held(options.output):
        sources = [open_source(path) for path in dict.fromkeys(options.source)]
        plan, facts_of_mask = _plan(options, sources)
        manner = CopyOptions(plan.root, options.side, options.copy, options.num_workers or usable_cores())
        images = missing(plan.found.all(), manner, known_sources(sources, manner), options.force)
        require_free(plan.folder, plan.files, options.force)
        require_space(images, options.output)
        with full_disk_named(plan.root, f"{FREE_SPACE}, or choose another --output"):
            placed = _placed(plan, images, manner, sources, options.force)
            write_split(plan.folder, plan.files)
        facts = {"dataset": plan.dataset.key, "split": plan.folder.name, "sources": list(map(str, options.source))}
        facts |= {"seed": options.seed, "held_out": plan.held_out, "side": options.side, "unseen": plan.classes.unseen}
        record(plan.folder, plan.found, placed, **facts, **facts_of_mask)
    say_outcome(plan.dataset, plan.folder, plan.found, plan.files, placed, time.perf_counter() - started)
    return plan.folder


def _placed(plan: Plan, images: list[Image], manner: CopyOptions, sources: list[Source], force: bool) -> Placed:
    """Put these images of the plan in their places; earlier runs' unreadable images are among those named."""
    plan.root.mkdir(parents=True, exist_ok=True)
    note_sources(sources, manner, force)
    there = {image.target for image in plan.found.all()} - {image.target for image in images}
    before = remembered(plan.root, there)
    placed = place(images, manner)
    placed.unreadable |= before
    keep_notes(plan.root, placed.unreadable)
    return placed


@contextlib.contextmanager
def _held(output: Path) -> Iterator[None]:
    """Nobody else prepares there; what this makes for that goes again where nothing comes of it."""
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


def _plan(options: argparse.Namespace, sources: list[Source]) -> tuple[Plan, dict[str, object]]:
    """And what is to be recorded of its classes."""
    dataset = DATASETS[options.dataset]
    split = split_name(dataset, options.split)
    if dataset is CUSTOM:
        _require_alone(options.output)
    layout = recognise(dataset, sources)
    say_left_out(layout.left_out)
    folder = options.output / dataset.folder / split
    classes = classes_of_split(dataset, folder, options.unseen, layout, options.seed)
    found = sort_images(layout, classes, split)
    say_classes(dataset, split, classes, found)
    wants_published = split in dataset.splits and options.held_out is None
    came = lists_that_came(dataset, split, classes, found) if wants_published else {}
    if came:
        print("the split's lists came with the images, and stay as they are")
    held_out = dataset.held_out if options.held_out is None else options.held_out
    files = came or lists_of(dataset, classes, found.images, held_out, options.seed)
    masks, facts_of_mask = mask_files(dataset, options.wordnet, classes, found, files.get(MASK_PICKLE))
    return Plan(dataset, folder, classes, found, files | masks, None if came else held_out), facts_of_mask


def _require_alone(output: Path) -> None:
    """Own folders are found where the script's own dataset is not."""
    for other in DATASETS.values():
        if other is not CUSTOM and (output / other.folder).exists():
            raise InputError(f"{output}: holds {other.folder}/, which scripts would take; give your folders another --output")
