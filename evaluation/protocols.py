"""Queries and gallery of the zero-shot protocol and its variants, from the lists of a split."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datasets.class_names import same_classes
from datasets.file_lists import FileList, Split, read_class_names
from evaluation.config import ProtocolOptions
from models.names import PHOTO, SKETCH
from utils.errors import InputError
from utils.seeding import generator_for

PHOTO_QUERIES, SEEN_PHOTOS, TRAINING_SKETCHES, TRAINING_PHOTOS = 11, 12, 13, 14  # a random stream for each purpose
SEED = 0  # the same samples in every run, so that runs can be compared
CLASS_LIST = "cname_cid.txt"  # names and ids of a split's seen classes
ITQ_SAMPLE = 5_000  # training sketches and as many photos for --itq_fit train


@dataclass(frozen=True)
class Protocol:
    """Queries and gallery; `names[label]` is the class name for the labels of both."""

    queries: FileList
    query_domain: float  # SKETCH or PHOTO
    gallery: FileList
    names: list[str]
    text: str


def protocol_of(split: Split, options: ProtocolOptions) -> Protocol:
    """Sketches of unseen classes as queries, photos of unseen classes as gallery, with the changes that the options name.

    Raises InputError if nothing is left to test.
    """
    protocol = Protocol(split.sketches("zero"), SKETCH, split.photos("zero"), split.class_names("zero"), "zero-shot")
    if options.also_seen:
        protocol = without_classes(protocol, options.also_seen, split.root.parent)
    if options.photo_to_photo is not None:
        protocol = photo_to_photo(protocol, options.photo_to_photo)
    if options.generalized is not None:
        protocol = generalized(protocol, split, options.generalized)
    return protocol


def without_classes(protocol: Protocol, also_seen: list[Path], data_root: Path) -> Protocol:
    """Leave out classes that the model was trained on elsewhere; `also_seen` are split folders or their cname_cid.txt.

    Raises InputError if one does not exist, naming the splits below `data_root`, or if the remaining classes lack images.
    """
    seen = [name for path in also_seen for name in read_class_names(_class_list(path, data_root))]
    pairs = same_classes(protocol.names, seen)
    kept = np.array([name not in pairs for name in protocol.names])
    if not kept.any():
        raise InputError(f"--also_seen: the model saw all {len(kept)} classes of this test; test it on another split")
    queries, gallery = (files.subset(np.flatnonzero(kept[files.labels])) for files in (protocol.queries, protocol.gallery))
    if not len(queries) or not len(gallery):
        raise InputError("--also_seen: the classes that are left have no sketch or no photo; test on another split")
    if not pairs:
        print(f"note: --also_seen drops nothing: none of the {len(kept)} classes is among the {len(seen)} given")
        return protocol
    spelt = ", ".join(name if name == other else f"{name} ({other})" for name, other in pairs.items())
    print(f"--also_seen drops {len(pairs)} of {len(kept)} classes: {spelt}")
    names = ", ".join(sorted(pairs))
    return replace(protocol, queries=queries, gallery=gallery, text=f"{protocol.text}, without classes seen elsewhere ({names})")


def _class_list(path: Path, data_root: Path) -> Path:
    """The list of seen classes at a path of `--also_seen`. Raises InputError if there is none."""
    file = path / CLASS_LIST if path.is_dir() else path
    if file.is_file():
        return file
    fault = f"the folder holds no {CLASS_LIST}" if path.is_dir() else "no such file or folder"
    there = ", ".join(str(found.parent) for found in sorted(data_root.glob(f"*/*/{CLASS_LIST}"))) or "none"
    raise InputError(f"--also_seen {path}: {fault} ({file.absolute()}); name a split folder, of which {data_root} has: {there}")


def photo_to_photo(protocol: Protocol, count: int) -> Protocol:
    """Use `count` photos of each class as queries and the others as gallery; the choice is random but fixed.

    Raises InputError if a class has no other photo.
    """
    chosen = _sample_each_class(protocol.gallery.labels, lambda available: count, PHOTO_QUERIES)
    left = np.setdiff1d(np.arange(len(protocol.gallery)), chosen)
    lost = np.setdiff1d(protocol.gallery.labels, protocol.gallery.labels[left])
    if len(lost):
        raise InputError(
            f"--photo_to_photo {count}: leaves no photo of {protocol.names[lost[0]]} in the gallery; use fewer queries per class"
        )
    queries, gallery = protocol.gallery.subset(chosen), protocol.gallery.subset(left)
    text = f"{protocol.text}, photo-to-photo ({count} queries a class)"
    return replace(protocol, queries=queries, query_domain=PHOTO, gallery=gallery, text=text)


def generalized(protocol: Protocol, split: Split, fraction: float) -> Protocol:
    """Add this fraction (0, 1] of the photos of each seen class to the gallery; ids of seen classes follow the unseen ones."""
    photos = split.photos("train")
    chosen = _sample_each_class(photos.labels, lambda available: max(1, round(fraction * available)), SEEN_PHOTOS)
    return replace(
        protocol,
        gallery=protocol.gallery.joined(photos.subset(chosen), label_offset=len(protocol.names)),
        names=protocol.names + split.class_names("train"),
        text=f"generalized {protocol.text} ({fraction:g} of each training class's photos in the gallery)",
    )


def training_samples(split: Split) -> tuple[FileList, FileList]:
    """Up to ITQ_SAMPLE training sketches and as many training photos; the choice is random but fixed."""
    return _sample(split.sketches("train"), TRAINING_SKETCHES), _sample(split.photos("train"), TRAINING_PHOTOS)


def _sample(files: FileList, stream: int) -> FileList:
    return files.subset(np.sort(generator_for(SEED, stream).permutation(len(files))[:ITQ_SAMPLE]))


def _sample_each_class(labels: np.ndarray, how_many: Callable[[int], int], stream: int) -> np.ndarray:
    """Positions of `how_many(n)` random images of each class of n images, in the order of the list."""
    generator = generator_for(SEED, stream)
    of_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.sort(np.concatenate([generator.permutation(rows)[: how_many(len(rows))] for rows in of_class]))
