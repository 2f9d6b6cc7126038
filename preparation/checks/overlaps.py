"""Files that are there twice: within a list, and, which spoils figures, on both sides of a split."""

import numpy as np

from preparation.checks.findings import Findings
from preparation.checks.inspection import Inspection
from preparation.checks.near_duplicates import NearDuplicates, near_duplicates
from preparation.checks.split_lists import TEST_SIDE, TITLES, TRAIN_SIDE, SplitLists, is_published

SIDES = "training or held-out lists and the unseen classes' lists"


def check_overlaps(lists: SplitLists, inspection: Inspection, findings: Findings) -> None:
    """Same paths and same bytes: a caution within a list, a fault where unseen classes' files are trained on."""
    for key in lists.files:
        _within_a_list(lists, key, inspection, findings)
    shared, alike = _shared(lists, TRAIN_SIDE, TEST_SIDE, inspection)
    if shared:
        findings.fault(f"leak: {len(shared):,} files are in {SIDES}; take them off one", shared)
    if alike:
        message = f"leak: {len(alike):,} files of {SIDES} are byte-identical"
        if is_published(lists):  # with which all published figures were made
            findings.caution(f"{message}, in the published split", alike, shown=2)
        else:
            findings.fault(f"{message}; take them off one", alike, shown=2)
    shared, alike = _shared(lists, ("train_sketches",), ("held_out_sketches",), inspection)
    if shared:
        findings.fault(f"{len(shared):,} held-out sketches are training sketches too; take them off one list", shared)
    if alike:
        message = f"{len(alike):,} held-out sketches are byte-identical to training sketches; validation flatters"
        findings.caution(message, alike, shown=2)


def check_near_duplicates(lists: SplitLists, inspection: Inspection, findings: Findings) -> list[tuple[str, str]]:
    """A caution on gallery photos that show the same as a training photo; returns the pairs of paths, the most alike first.

    Those that are byte-identical are `check_overlaps`'s.
    """
    trained = inspection.readable(lists.rows_of(("train_photos",)))
    gallery = inspection.readable(lists.rows_of(("gallery_photos",)))
    gallery = gallery[~np.isin(inspection.digests[gallery], inspection.digests[trained])]
    found: NearDuplicates = near_duplicates(inspection.thumbnails[trained], inspection.thumbnails[gallery])
    pairs = [
        (lists.paths[trained[a]], lists.paths[gallery[b]])
        for a, b in zip(found.first.tolist(), found.second.tolist(), strict=True)
    ]
    if pairs:
        items = [f"{a} ~ {b} ({likeness:.3f})" for (a, b), likeness in zip(pairs, found.correlation.tolist(), strict=True)]
        message = (
            f"leak: {len(pairs):,} gallery photos look the same as a training photo; the most alike are on the contact sheet"
        )
        findings.caution(message, items, shown=2)
    return pairs


def _within_a_list(lists: SplitLists, key: str, inspection: Inspection, findings: Findings) -> None:
    rows = lists.rows[key]
    first, later = _repeated(rows, np.flatnonzero(rows >= 0))
    _tell(lists, key, first, later, "are listed twice", findings)
    once = np.setdiff1d(np.flatnonzero(rows >= 0), later)
    once = once[np.isin(rows[once], inspection.readable(rows[once]))]
    first, later = _repeated(inspection.digests[rows], once)
    _tell(lists, key, first, later, "are byte-identical to an earlier one of the list", findings)


def _repeated(values: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of `places` (k,) in `values` (n,), those with the value of an earlier one: that one, the earliest, and the place itself."""
    _, first, group = np.unique(values[places], return_index=True, return_inverse=True)
    is_later = first[group] != np.arange(len(places))
    return places[first[group][is_later]], places[is_later]


def _tell(lists: SplitLists, key: str, first: np.ndarray, later: np.ndarray, what: str, findings: Findings) -> None:
    """A caution for repeated files, at these places of a list, and another one for those whose class ids differ."""
    if not len(later):
        return
    files, pairs = lists.files[key], list(zip(first.tolist(), later.tolist(), strict=True))
    alike = [f"{files.paths[a]} = {files.paths[b]}" if files.paths[a] != files.paths[b] else files.paths[a] for a, b in pairs]
    findings.caution(f"{TITLES[key]}: {len(later):,} files {what}", alike, shown=2)
    named = [f"{files.paths[place]} (class {files.labels[place]})" for place in (*first, *later)]
    torn = [f"{named[i]} = {named[i + len(pairs)]}" for i, (a, b) in enumerate(pairs) if files.labels[a] != files.labels[b]]
    if torn:
        message = (
            f"{TITLES[key]}: {len(torn):,} of those that {what} are in two classes: one id is wrong, or the picture shows both"
        )
        findings.caution(message, torn, shown=1)


def _shared(
    lists: SplitLists, one: tuple[str, ...], other: tuple[str, ...], inspection: Inspection
) -> tuple[list[str], list[str]]:
    """Paths that both have, and `a = b` for other files that are byte-identical, one for each of `other`."""
    own, others = lists.rows_of(one), lists.rows_of(other)
    shared = np.intersect1d(own, others)
    own, others = inspection.readable(np.setdiff1d(own, shared)), inspection.readable(np.setdiff1d(others, shared))
    of_digest = {digest: row for row, digest in zip(own.tolist(), inspection.digests[own].tolist(), strict=True)}
    alike = [
        (of_digest.get(digest), row) for row, digest in zip(others.tolist(), inspection.digests[others].tolist(), strict=True)
    ]
    return (
        [lists.paths[row] for row in shared],
        [f"{lists.paths[a]} = {lists.paths[b]}" for a, b in alike if a is not None],
    )
