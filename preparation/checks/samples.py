"""Numbers of images: beside the published numbers, and per class."""

from collections.abc import Sized

import numpy as np

from preparation.checks.findings import ERROR, WARNING, Findings
from preparation.checks.split_lists import TITLES, UNSEEN_LISTS, SplitLists

TOLERANCE = {("TUBerlin", "train_photos"): 0.01}  # the published number is "about"; relative difference allowed
TRAINED = ("train_sketches", "train_photos")
LACK = {"held_out_sketches": "no held-out sketch; validation leaves them out"}
BOTH = (  # a class must have images in both lists
    (
        "held_out_sketches",
        "train_photos",
        "no held-out sketch is of a class with training photos: nothing to validate with",
    ),
    ("query_sketches", "gallery_photos", "no unseen class has both a query sketch and a gallery photo: nothing can be retrieved"),
)
FEW = 10  # training images per class
P_AT = 100  # rank of the published precision


def counts_table(lists: SplitLists, findings: Findings) -> str:
    """A table of the numbers found and published; differences are a warning."""
    published, dataset = lists.published_counts, lists.split.dataset
    rows = [("seen classes", _length(lists.seen), _length(lists.published_classes[0]), 0.0)]
    rows += [("unseen classes", _length(lists.unseen), _length(lists.published_classes[1]), 0.0)]
    for key, title in TITLES.items():
        tolerance = TOLERANCE.get((dataset.folder, key), 0.0)
        rows.append((title, _length(lists.files.get(key)), getattr(published, key, None), tolerance))
    different = [
        f"{title} {found:,} instead of {_number(expected, tolerance)}"
        for title, found, expected, tolerance in rows
        if found is not None and expected is not None and abs(found - expected) > tolerance * expected
    ]
    message = "counts differ from the published ones (see above): results are not comparable with published results"
    findings.warning(f"{len(different)} {message}", different, shown=0)
    lines = [f"{'':20}{'found':>12}" + ("" if published is None else f"{'published':>16}")]
    for title, found, expected, tolerance in rows:
        lines.append(f"{title:20}{_number(found):>12}" + ("" if published is None else f"{_number(expected, tolerance):>16}"))
    return "\n".join(lines)


def check_samples(lists: SplitLists, findings: Findings) -> None:
    """Check for classes with no images or too few: one finding for all classes that lack the same."""
    count = {key: number for key in TITLES if (number := lists.images_per_class(key)) is not None}

    def add(level: str, key: str, is_affected: np.ndarray, lack: str) -> None:
        side, names = ("unseen", lists.unseen or []) if key in UNSEEN_LISTS else ("seen", lists.seen or [])
        affected = [names[row] for row in np.flatnonzero(is_affected)]
        findings.add(level, f"{len(affected)} of {len(names)} {side} classes with {lack}", affected)

    for key, number in count.items():
        add(ERROR if key in TRAINED else WARNING, key, number == 0, LACK.get(key, f"no {TITLES[key]}"))
        if key in TRAINED:
            add(WARNING, key, (number > 0) & (number < FEW), f"fewer than {FEW} {TITLES[key]}")
    for sketches, photos, wrong in BOTH:
        if {sketches, photos} <= count.keys() and not ((count[sketches] > 0) & (count[photos] > 0)).any():
            findings.error(wrong)
    if {"query_sketches", "gallery_photos"} <= count.keys():
        has_query, gallery = count["query_sketches"] > 0, count["gallery_photos"]
        bound = np.minimum(gallery, P_AT)[has_query].mean() / P_AT if has_query.any() else 0
        few = has_query & (gallery > 0) & (gallery < P_AT)
        add(WARNING, "gallery_photos", few, f"fewer than {P_AT} gallery photos: P@{P_AT} cannot exceed {bound:.3f}")


def _length(items: Sized | None) -> int | None:
    return None if items is None else len(items)


def _number(count: int | None, tolerance: float = 0.0) -> str:
    return "-" if count is None else f"{'about ' if tolerance else ''}{count:,}"
