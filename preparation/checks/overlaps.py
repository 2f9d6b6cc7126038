"""Duplicate files: within a list, between training and held-out sketches, and between seen and unseen classes."""

from collections.abc import Sequence

import numpy as np

from preparation.checks.findings import Findings
from preparation.checks.inspection import Inspection
from preparation.checks.near_duplicates import near_duplicates
from preparation.checks.split_lists import TITLES, UNSEEN_LISTS, SplitLists

SEEN_LISTS = [key for key in TITLES if key not in UNSEEN_LISTS]
SIDES = "training or held-out lists and the unseen classes' lists"


def check_duplicates(lists: SplitLists, images: Inspection, findings: Findings) -> None:
    """Check for equal paths and equal bytes: warnings within a list, errors where training sees files of unseen classes."""
    for key in TITLES:
        if key in lists.files:
            _check_list(lists, key, images, findings)
    shared, identical = _common(lists, SEEN_LISTS, UNSEEN_LISTS, images)
    findings.error(f"leak: {len(shared):,} files are in {SIDES}; remove them from one", shared)
    message = f"leak: {len(identical):,} files of {SIDES} are byte-identical"
    if lists.seen is not None and lists.published_classes == (lists.seen, lists.unseen):  # published results include them
        findings.warning(f"{message}, in the published split", identical, shown=2)
    else:
        findings.error(f"{message}; remove them from one", identical, shown=2)
    shared, identical = _common(lists, ["train_sketches"], ["held_out_sketches"], images)
    findings.error(f"{len(shared):,} held-out sketches are training sketches too; remove them from one list", shared)
    message = f"{len(identical):,} held-out sketches are byte-identical to training sketches; validation results are too high"
    findings.warning(message, identical, shown=2)


def check_near_duplicates(lists: SplitLists, images: Inspection, findings: Findings) -> list[tuple[str, str]]:
    """Check for gallery photos that look like a training photo, byte-identical ones left out.

    Returns pairs of paths (training photo, gallery photo), the most similar first.
    """
    training, gallery = (images.readable(lists.rows_of(key)) for key in ("train_photos", "gallery_photos"))
    gallery = gallery[~np.isin(images.digests[gallery], images.digests[training])]
    found = near_duplicates(images.thumbnails[training], images.thumbnails[gallery])
    pairs = [(lists.paths[training[a]], lists.paths[gallery[b]]) for a, b, _ in found]
    items = [f"{a} ~ {b} ({correlation:.3f})" for (a, b), (_, _, correlation) in zip(pairs, found, strict=True)]
    message = f"leak: {len(pairs):,} gallery photos look like a training photo; the contact sheet shows the most similar"
    findings.warning(message, items, shown=2)
    return pairs


def _check_list(lists: SplitLists, key: str, images: Inspection, findings: Findings) -> None:
    rows, files = lists.rows[key], lists.files[key]
    existing = np.flatnonzero(rows >= 0)
    twice = _repeats(rows, existing)
    once = np.setdiff1d(existing, [later for _, later in twice]).astype(np.int64)
    identical = _repeats(images.digests[rows], once[images.digests[rows[once]] != 0])
    for what, pairs in (("are listed twice", twice), ("are byte-identical to an earlier one of the list", identical)):
        names = [" = ".join(dict.fromkeys((files.paths[a], files.paths[b]))) for a, b in pairs]
        torn = [
            f"{files.paths[a]} (class {files.labels[a]}) = {files.paths[b]} (class {files.labels[b]})"
            for a, b in pairs
            if files.labels[a] != files.labels[b]
        ]
        findings.warning(f"{TITLES[key]}: {len(names):,} files {what}", names, shown=2)
        message = f"{len(torn):,} of those that {what} are in two classes: one id is wrong, or the picture shows both"
        findings.warning(f"{TITLES[key]}: {message}", torn, shown=1)


def _repeats(values: np.ndarray, positions: np.ndarray) -> list[tuple[int, int]]:
    """(first position of the same value, position) of each of `positions` (k,) whose value in `values` (n,) occurred before."""
    first: dict[int, int] = {}
    pairs = zip(values[positions].tolist(), positions.tolist(), strict=True)
    return [(first[value], position) for value, position in pairs if first.setdefault(value, position) != position]


def _common(lists: SplitLists, keys: Sequence[str], other_keys: Sequence[str], images: Inspection) -> tuple[list[str], list[str]]:
    """Paths in both groups of lists; `a = b` for other files b of the second group that are byte-identical to a in the first."""
    rows, others = lists.rows_of(*keys), lists.rows_of(*other_keys)
    shared = np.intersect1d(rows, others)
    rows, others = (images.readable(np.setdiff1d(each, shared)) for each in (rows, others))
    of_digest = dict(zip(images.digests[rows].tolist(), rows.tolist(), strict=True))
    pairs = [(of_digest.get(digest), row) for digest, row in zip(images.digests[others].tolist(), others.tolist(), strict=True)]
    return [lists.paths[row] for row in shared], [f"{lists.paths[a]} = {lists.paths[b]}" for a, b in pairs if a is not None]
