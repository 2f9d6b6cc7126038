"""All lists of a split, read as far as they can be; what is wrong with one does not hide the others."""

from dataclasses import dataclass

import numpy as np

from datasets.catalog import SAME_SPLIT, Counts, published_classes
from datasets.file_lists import FileList, Split, absent_files, read_list
from preparation.checks.findings import Findings
from utils.errors import InputError

# As in `Counts`: what people call the list, and its kind and part.
LISTS = {
    "train_sketches": ("train sketches", "sketch", "train"),
    "train_photos": ("train photos", "photo", "train"),
    "held_out_sketches": ("held-out sketches", "sketch", "test"),
    "query_sketches": ("query sketches", "sketch", "zero"),
    "gallery_photos": ("gallery photos", "photo", "zero"),
}
TITLES = {key: title for key, (title, _, _) in LISTS.items()}
TRAIN_SIDE, TEST_SIDE = ("train_sketches", "train_photos", "held_out_sketches"), ("query_sketches", "gallery_photos")
ANY_ID = 10**9  # where the class names cannot be read, the ids cannot be judged


@dataclass(frozen=True)
class SplitLists:
    """`seen`, `unseen`: names by id, None if they cannot be read; `files`: the lists that can be, by their keys in LISTS;
    `paths`: each file there is, once, photos first; `rows`: for each list its files' rows in `paths`, -1 if not there."""

    split: Split
    seen: list[str] | None
    unseen: list[str] | None
    files: dict[str, FileList]
    paths: list[str]
    photos: int  # how many of `paths` are photos
    rows: dict[str, np.ndarray]

    def names(self, key: str) -> list[str] | None:
        """Of the classes of a list."""
        return self.unseen if key in TEST_SIDE else self.seen

    def images_per_class(self, key: str) -> np.ndarray | None:
        """(classes,) how many images a list has of each; None if the list or its class names cannot be read."""
        names = self.names(key)
        if names is None or key not in self.files:
            return None
        return np.bincount(self.files[key].labels, minlength=len(names))

    def rows_of(self, keys: tuple[str, ...]) -> np.ndarray:
        """The distinct rows in `paths` of the files of these lists."""
        found = [self.rows[key] for key in keys if key in self.rows]
        rows = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
        return rows[rows >= 0]


def read_split(split: Split, findings: Findings) -> SplitLists:
    """What is wrong with a list, or with the class names, is a fault each; of files not there all are counted."""
    names = {"train": _class_names(split, "train", findings), "zero": _class_names(split, "zero", findings)}
    files = {}
    for key, (_, kind, part) in LISTS.items():
        pattern = split.dataset.photo_list if kind == "photo" else split.dataset.sketch_list
        known = names["zero" if part == "zero" else "train"]
        classes = ANY_ID if known is None else len(known)
        try:
            files[key] = read_list(split.folder / pattern.format(part=part), split.root, classes, may_lack_files=True)
        except InputError as error:
            findings.fault(str(error))
    absent = _absent(split, files, findings)
    paths, photos = _distinct(files, absent)
    row = {path: number for number, path in enumerate(paths)}
    rows = {key: np.array([row.get(path, -1) for path in listed.paths], np.int64) for key, listed in files.items()}
    return SplitLists(split, names["train"], names["zero"], files, paths, photos, rows)


def published_counts(split: Split) -> Counts | None:
    """Of this split, if it is a published one."""
    return split.dataset.splits.get(SAME_SPLIT.get(split.name, split.name))


def _class_names(split: Split, part: str, findings: Findings) -> list[str] | None:
    try:
        return split.class_names(part)
    except InputError as error:
        findings.fault(str(error))
    return None


def _absent(split: Split, files: dict[str, FileList], findings: Findings) -> set[str]:
    """The files that lists name and that are not there; a fault for each list."""
    absent: set[str] = set()
    for key, listed in files.items():
        own = list(absent_files(split.root, listed.paths))
        absent.update(own)
        if own:
            findings.fault(
                f"{TITLES[key]}: {len(own):,} of the {len(listed):,} files of {listed.source.name} are not below {split.root}; "
                "unpack the images or mend the list",
                own,
            )
    return absent


def _distinct(files: dict[str, FileList], absent: set[str]) -> tuple[list[str], int]:
    """Paths of the files that are there, each once, photos first; and how many of them are photos."""
    order = sorted(files, key=lambda key: LISTS[key][1] != "photo")
    found: dict[str, None] = {}
    photos = 0
    for key in order:
        found.update((path, None) for path in files[key].paths if path not in absent)
        if LISTS[key][1] == "photo":
            photos = len(found)
    return list(found), photos


def is_published(lists: SplitLists) -> bool:
    """Whether the classes and their ids are those of a published split."""
    split = lists.split
    return published_counts(split) is not None and published_classes(split.dataset, split.name) == (lists.seen, lists.unseen)
