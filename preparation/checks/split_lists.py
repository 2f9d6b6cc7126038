"""The lists of a split, read as far as possible: an error in one list does not hide errors in the others."""

from dataclasses import dataclass

import numpy as np

from datasets.catalog import SAME_SPLIT, Counts, published_classes
from datasets.file_lists import FileList, Split, absent_files, read_list
from preparation.checks.findings import Findings

LISTS = {  # field of `Counts`: title, kind of images, part of the file name
    "train_sketches": ("train sketches", "sketch", "train"),
    "train_photos": ("train photos", "photo", "train"),
    "held_out_sketches": ("held-out sketches", "sketch", "test"),
    "query_sketches": ("query sketches", "sketch", "zero"),
    "gallery_photos": ("gallery photos", "photo", "zero"),
}
TITLES = {key: title for key, (title, _, _) in LISTS.items()}
UNSEEN_LISTS = ("query_sketches", "gallery_photos")
ANY_ID = 10**9  # number of classes to accept where the class names cannot be read


@dataclass(frozen=True)
class SplitLists:
    """The readable lists of a split; `files` and `rows` have the keys of LISTS."""

    split: Split
    seen: list[str] | None  # class names by id; None: not readable
    unseen: list[str] | None
    files: dict[str, FileList]
    paths: list[str]  # each existing file once, photos first
    photos: int  # number of photos in `paths`
    rows: dict[str, np.ndarray]  # row in `paths` of each file of a list; -1: the file does not exist

    def images_per_class(self, key: str) -> np.ndarray | None:
        """(classes,) number of images of each class in a list; None if the list or its class names cannot be read."""
        names = self.unseen if key in UNSEEN_LISTS else self.seen
        if names is None or key not in self.files:
            return None
        return np.bincount(self.files[key].labels, minlength=len(names))

    def rows_of(self, *keys: str) -> np.ndarray:
        """Distinct rows in `paths` of the files of some lists."""
        rows = np.unique(np.concatenate([np.zeros(0, np.int64), *(self.rows[key] for key in keys if key in self.rows)]))
        return rows[rows >= 0]

    @property
    def published_counts(self) -> Counts | None:
        """Published numbers of images; None if the split is not a published one."""
        return self.split.dataset.splits.get(SAME_SPLIT.get(self.split.name, self.split.name))

    @property
    def published_classes(self) -> tuple[list[str] | None, list[str] | None]:
        """Published names by id of the seen and of the unseen classes; (None, None) if the split is not a published one."""
        return (None, None) if self.published_counts is None else published_classes(self.split.dataset, self.split.name)


def read_split(split: Split, findings: Findings) -> SplitLists:
    """Read the class names and the lists of a split; each one that cannot be read, or names missing files, is an error."""
    names: dict[str, list[str]] = {}
    for part in ("train", "zero"):
        with findings.catch_errors():
            names[part] = split.class_names(part)
    files: dict[str, FileList] = {}
    rows: dict[str, np.ndarray] = {}
    row_of: dict[str, int] = {}
    photos = 0
    for key in sorted(LISTS, key=lambda key: LISTS[key][1] != "photo"):
        with findings.catch_errors():
            files[key] = listed = _read(split, key, names)
            missing = _missing_files(split, key, listed, findings)
            for path in listed.paths:
                if path not in missing:
                    row_of.setdefault(path, len(row_of))
            rows[key] = np.array([row_of.get(path, -1) for path in listed.paths], np.int64)
            photos = len(row_of) if LISTS[key][1] == "photo" else photos
    return SplitLists(split, names.get("train"), names.get("zero"), files, list(row_of), photos, rows)


def _read(split: Split, key: str, names: dict[str, list[str]]) -> FileList:
    _, kind, part = LISTS[key]
    pattern = split.dataset.photo_list if kind == "photo" else split.dataset.sketch_list
    known = names.get("zero" if key in UNSEEN_LISTS else "train")
    classes = ANY_ID if known is None else len(known)
    return read_list(split.folder / pattern.format(part=part), split.root, classes, may_lack_files=True)


def _missing_files(split: Split, key: str, listed: FileList, findings: Findings) -> set[str]:
    missing = list(absent_files(split.root, listed.paths))
    count = f"{len(missing):,} of the {len(listed):,} files of {listed.source.name}"
    findings.error(f"{TITLES[key]}: {count} are not below {split.root}; unpack the images or correct the list", missing)
    return set(missing)
