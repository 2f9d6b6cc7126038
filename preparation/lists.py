"""The lists of a split: those that came with the images, or new ones; and the folder they are written to."""

import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.catalog import HELD_OUT, SAME_SPLIT, TRAIN, UNSEEN, Dataset
from datasets.file_lists import BLANKS, MASK_ARRAYS, MASK_PICKLE, SEEN_NAMES, UNSEEN_NAMES
from preparation.layouts import PHOTOS, SKETCHES
from preparation.splits import Classes, ImagesByClass, SplitImages
from utils.errors import InputError
from utils.files import atomic_write, umask
from utils.text import printable

LARGEST = 1 << 28  # bytes of a list or a mask
LEAST_SHARE = 5  # at most a fifth of a class's sketches is held out, but one of two


def new_lists(dataset: Dataset, classes: Classes, by_class: ImagesByClass, held_out: int, seed: int) -> dict[str, bytes]:
    """{file name: UTF-8 text} of a split's lists and class names.

    held_out: sketches of each seen class for validation, drawn by `seed` and the class's name, but at most a fifth of its
    sketches. Raises InputError if no class has a sketch to hold out.
    """
    photos, sketches = (
        {name: sorted(image.target for image in by_class[kind][name]) for name in classes} for kind in (PHOTOS, SKETCHES)
    )
    test = {name: _held_out(sketches[name], held_out, name, seed) for name in classes.seen}
    if not any(test.values()):
        raise InputError("no seen class has two sketches, so none can be held out to validate with; draw some more")
    train = {name: [path for path in sketches[name] if path not in test[name]] for name in classes.seen}
    names = {name: [name] for name in classes}
    return {
        dataset.photo_list.format(part=TRAIN): _lines(classes.seen, photos),
        dataset.photo_list.format(part=UNSEEN): _lines(classes.unseen, photos),
        dataset.sketch_list.format(part=TRAIN): _lines(classes.seen, train),
        dataset.sketch_list.format(part=HELD_OUT): _lines(classes.seen, test),
        dataset.sketch_list.format(part=UNSEEN): _lines(classes.unseen, sketches),
        SEEN_NAMES: _lines(classes.seen, names),
        UNSEEN_NAMES: _lines(classes.unseen, names),
    }


def _held_out(paths: list[str], count: int, name: str, seed: int) -> list[str]:
    most = max(len(paths) // LEAST_SHARE, min(1, len(paths) - 1))
    order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(len(paths))
    return sorted(paths[row] for row in order[: min(count, most)])


def _lines(names: list[str], paths: dict[str, list[str]]) -> bytes:
    return "".join(f"{path} {label}\n" for label, name in enumerate(names) for path in paths[name]).encode()


def list_names(dataset: Dataset) -> dict[str, str]:
    """{file name: part} of the lists of a split."""
    photos = {dataset.photo_list.format(part=part): part for part in (TRAIN, UNSEEN)}
    return photos | {dataset.sketch_list.format(part=part): part for part in (TRAIN, HELD_OUT, UNSEEN)}


def published_lists(dataset: Dataset, split: str, classes: Classes, found: SplitImages) -> dict[str, bytes]:
    """{file name: bytes} of the lists, class names and pickled mask that came with the images; empty if there are none.

    They are in the split's folder of the first source that has the dataset's layout and class names. Lists that do not fit the
    images are not used, and a printed line says why.
    """
    names = {SEEN_NAMES, UNSEEN_NAMES, MASK_PICKLE, *list_names(dataset)}
    folders = [split, *(other for other, same in SAME_SPLIT.items() if same == split)]
    for source, prefix in dict.fromkeys((image.source, image.prefix) for image in found.all() if image.name != image.prefix):
        for start in (f"{prefix}{folder}/" for folder in folders):
            paths = [path for path in source.names if path.startswith(start) and path.removeprefix(start) in names]
            if f"{start}{SEEN_NAMES}" in paths:
                content = {path.removeprefix(start): data for path, data in source.read(paths, LARGEST).items()}
                fault = _fault(dataset, content, classes, found)
                if fault:
                    print(printable(f"the lists of {split} that came with the images are not used: {fault}"))
                return {} if fault else content
    return {}


def _fault(dataset: Dataset, content: dict[str, bytes], classes: Classes, found: SplitImages) -> str | None:
    """Why these lists cannot be used; None if they can."""
    for file, names in ((SEEN_NAMES, classes.seen), (UNSEEN_NAMES, classes.unseen)):
        if dict(_entries(content.get(file, b""))) != {name: str(label) for label, name in enumerate(names)}:
            return "their classes or class ids are not the published ones"
    for file, part in list_names(dataset).items():
        names = classes.unseen if part == UNSEEN else classes.seen
        kinds = found.by_class.values()
        labels = {image.target: str(label) for label, name in enumerate(names) for kind in kinds for image in kind[name]}
        if not content.get(file):
            return f"{file} is missing or empty"
        for path, label in _entries(content[file]):
            if path not in labels:
                return f"{file} names {path}, which is not among the images of its classes"
            if label != labels[path]:
                return f"{file} says that {path} is of class {label}"
    return None


def _entries(content: bytes) -> Iterator[tuple[str, str]]:
    """(path or class name, id) of each line."""
    for line in content.decode("utf-8-sig", errors="replace").replace("\t", " ").split("\n"):
        name, _, label = line.strip(BLANKS).rpartition(" ")
        if label:
            yield name.strip(BLANKS), label


def require_unchanged(folder: Path, files: dict[str, bytes]) -> None:
    """Raise InputError if the split's folder has one of these files with another content."""
    for name, content in files.items():
        if (folder / name).exists() and _differs(folder / name, content):
            raise InputError(
                f"{folder / name}: already exists with other content; replace the lists with --force, or choose another --output"
            )


def write_lists(folder: Path, files: dict[str, bytes]) -> None:
    """Write a new split folder at once, an existing one file by file. Everything the lists name reaches the disk before.

    A mask of an earlier preparation is removed if it is not among `files` and belongs to other classes.
    """
    if hasattr(os, "sync"):
        os.sync()
    if folder.exists():
        if _differs(folder / SEEN_NAMES, files[SEEN_NAMES]):
            for name in {MASK_ARRAYS, MASK_PICKLE} - set(files):
                (folder / name).unlink(missing_ok=True)
        _write_changed(folder, files)
        return
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        _write_changed(aside, files)
        aside.chmod(0o777 & ~umask())
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_changed(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        if _differs(folder / name, content):
            with atomic_write(folder / name) as temporary:
                temporary.write_bytes(content)


def _differs(path: Path, content: bytes) -> bool:
    return not path.exists() or path.read_bytes() != content
