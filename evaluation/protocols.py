"""Who asks and what is searched: the zero-shot protocol and its relatives, each from a split's lists."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datasets.class_names import same_classes
from datasets.file_lists import FileList, Split, read_class_names
from models.cse_resnet import PHOTO, SKETCH
from utils.errors import InputError
from utils.seeding import generator_for

PHOTO_QUERIES, SEEN_PHOTOS, TRAINING_SKETCHES, TRAINING_PHOTOS = 11, 12, 13, 14  # what a generator is for
SEED = 0  # of what is drawn below: the same for every run, so that runs can be compared
CLASS_LIST = "cname_cid.txt"  # of a split's seen classes
ITQ_SAMPLE = 5_000  # training images of each kind that codes are fitted on, with --itq_fit train


@dataclass(frozen=True)
class Protocol:
    """Queries and gallery with one numbering of classes: `names[label]` for the labels of both."""

    queries: FileList
    query_domain: float  # SKETCH or PHOTO
    gallery: FileList
    names: list[str]
    text: str


def protocol_of(split: Split, options: argparse.Namespace) -> Protocol:
    """Unseen classes' sketches against their photos, changed as the options say.

    Raises InputError where that leaves nothing to test.
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
    """Drop the classes that the model saw in another dataset; `also_seen` are its split folders or their cname_cid.txt.

    Raises InputError if one is not there, naming the splits below `data_root`, or if the classes that are left lack images.
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
    """The list of seen classes that a word of `--also_seen` names. Raises InputError if there is none."""
    file = path / CLASS_LIST if path.is_dir() else path
    if file.is_file():
        return file
    fault = f"the folder holds no {CLASS_LIST}" if path.is_dir() else "no such file or folder"
    there = ", ".join(str(found.parent) for found in sorted(data_root.glob(f"*/*/{CLASS_LIST}"))) or "none"
    raise InputError(f"--also_seen {path}: {fault} ({file.absolute()}); name a split folder, of which {data_root} has: {there}")


def photo_to_photo(protocol: Protocol, count: int) -> Protocol:
    """`count` photos of each class, drawn at random but always the same, ask for the others."""
    chosen = _of_each_class(protocol.gallery.labels, lambda available: count, PHOTO_QUERIES)
    left = np.setdiff1d(np.arange(len(protocol.gallery)), chosen)
    lost = np.setdiff1d(protocol.gallery.labels, protocol.gallery.labels[left])
    if len(lost):
        raise InputError(
            f"--photo_to_photo {count}: leaves no photo of {protocol.names[lost[0]]} to be found; ask for fewer queries a class"
        )
    queries, gallery = protocol.gallery.subset(chosen), protocol.gallery.subset(left)
    text = f"{protocol.text}, photo-to-photo ({count} queries a class)"
    return replace(protocol, queries=queries, query_domain=PHOTO, gallery=gallery, text=text)


def generalized(protocol: Protocol, split: Split, fraction: float) -> Protocol:
    """This share of the photos of each of the split's training classes joins the gallery; their class ids follow the unseen."""
    photos = split.photos("train")
    chosen = _of_each_class(photos.labels, lambda available: max(1, round(fraction * available)), SEEN_PHOTOS)
    return replace(
        protocol,
        gallery=protocol.gallery.joined(photos.subset(chosen), label_offset=len(protocol.names)),
        names=protocol.names + split.class_names("train"),
        text=f"generalized {protocol.text} ({fraction:g} of each training class's photos in the gallery)",
    )


def training_samples(split: Split) -> tuple[FileList, FileList]:
    """Up to ITQ_SAMPLE training sketches and as many training photos, always the same ones."""
    lists = (split.sketches("train"), TRAINING_SKETCHES), (split.photos("train"), TRAINING_PHOTOS)
    chosen = (np.sort(generator_for(SEED, use).permutation(len(files))[:ITQ_SAMPLE]) for files, use in lists)
    sketches, photos = (files.subset(rows) for (files, _), rows in zip(lists, chosen, strict=True))
    return sketches, photos


def _of_each_class(labels: np.ndarray, how_many, use: int) -> np.ndarray:
    """Positions of so many images of each class, drawn at random, in the order of the list."""
    generator = generator_for(SEED, use)
    of_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.sort(np.concatenate([generator.permutation(rows)[: how_many(len(rows))] for rows in of_class]))
