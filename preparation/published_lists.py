"""Lists and masks that came with the images: published ones are kept as they are, held-out sketches included."""

import tempfile
from pathlib import Path

from datasets.catalog import SAME_SPLIT, Dataset
from datasets.file_lists import MASK_PICKLE, FileList, Split
from preparation.splits import Classes, Sorted
from utils.errors import InputError
from utils.text import printable

LARGEST = 1 << 28  # bytes of a list or a mask


def lists_that_came(dataset: Dataset, split: str, classes: Classes, found: Sorted) -> dict[str, bytes]:
    """{file name: bytes} of the split's lists, class names and, if there is one, pickled mask; empty if none came or they
    do not fit the images, which is told.
    """
    content = _content(dataset, split, found)
    if "cname_cid.txt" not in content:
        return {}
    fault = _fault(dataset, split, content, classes, found)
    if fault:
        print(printable(f"the lists of {split} that came with the images are not used: {fault}"))
        return {}
    return content


def _content(dataset: Dataset, split: str, found: Sorted) -> dict[str, bytes]:
    """The files of the split's folder beside the images, where they lie in the dataset's layout."""
    names = {"cname_cid.txt", "cname_cid_zero.txt", MASK_PICKLE}
    for pattern in (dataset.photo_list, dataset.sketch_list):
        names |= {pattern.format(part=part) for part in ("train", "test", "zero")}
    folders = [split, *(other for other, same in SAME_SPLIT.items() if same == split)]
    for source, prefix in dict.fromkeys((image.source, image.prefix) for image in found.all() if image.name != image.prefix):
        for folder in folders:
            paths = {f"{prefix}{folder}/{name}": name for name in names}
            there = [path for path in source.names if path in paths]
            if f"{prefix}{folder}/cname_cid.txt" in there:
                return {paths[path]: data for path, data in source.read(there, LARGEST).items()}
    return {}


def _fault(dataset: Dataset, split: str, content: dict[str, bytes], classes: Classes, found: Sorted) -> str | None:
    """Why these lists cannot be used; None if they can."""
    class_of = {image.target: name for of_class in found.images.values() for name, images in of_class.items() for image in images}
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside, dataset.folder, split)
        folder.mkdir(parents=True)
        for name, data in content.items():
            (folder / name).write_bytes(data)
        try:
            there = Split(dataset, aside, split, filter_list=lambda files: files)
            if (there.class_names("train"), there.class_names("zero")) != (classes.seen, classes.unseen):
                return "their classes or class ids are not the published ones"
            lists = [there.photos("train"), there.photos("zero"), *(there.sketches(part) for part in ("train", "test", "zero"))]
            if MASK_PICKLE in content:
                there.semantic_mask()
        except InputError as error:
            return str(error).replace(f"{folder}/", "")
        names = {"train": classes.seen, "test": classes.seen, "zero": classes.unseen}
        return next(
            filter(None, (_misfit(files, names[files.source.stem.rpartition("_")[2]], class_of) for files in lists)), None
        )


def _misfit(files: FileList, names: list[str], class_of: dict[str, str]) -> str | None:
    for path, label in zip(files.paths, files.labels.tolist(), strict=True):
        if path not in class_of:
            return f"{files.source.name} names {path}, which is not among the images"
        if class_of[path] != names[label]:
            return f"{files.source.name} says that {path} shows {names[label]!r}"
    return None
