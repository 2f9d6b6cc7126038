"""Numbers of images: beside the published numbers, and per class."""

from collections.abc import Callable, Sized

import numpy as np

from preparation.checks.findings import Findings
from preparation.checks.split_lists import TITLES, SplitLists

TOLERANCE = {("TUBerlin", "train_photos"): 0.01}  # the published number is "about"; relative difference allowed
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
    seen, unseen = lists.seen or [], lists.unseen or []
    count = {key: lists.images_per_class(key) for key in TITLES}
    for key in ("train_sketches", "train_photos"):
        number, title = count[key], TITLES[key]
        if number is not None:
            _add(findings.error, number == 0, seen, "seen", f"no {title}")
            _add(findings.warning, (number > 0) & (number < FEW), seen, "seen", f"fewer than {FEW} {title}")
    held_out, photos = count["held_out_sketches"], count["train_photos"]
    if held_out is not None and photos is not None and not ((held_out > 0) & (photos > 0)).any():
        findings.error("no held-out sketch is of a class with training photos: there is nothing to validate with")
    elif held_out is not None:
        _add(findings.warning, held_out == 0, seen, "seen", "no held-out sketch; validation leaves them out")
    queries, gallery = count["query_sketches"], count["gallery_photos"]
    for key in ("query_sketches", "gallery_photos"):
        number = count[key]
        if number is not None:
            _add(findings.warning, number == 0, unseen, "unseen", f"no {TITLES[key]}")
    if queries is None or gallery is None:
        return
    if not ((queries > 0) & (gallery > 0)).any():
        findings.error("no unseen class has both a query sketch and a gallery photo: nothing can be retrieved")
        return
    bound = np.minimum(gallery, P_AT)[queries > 0].mean() / P_AT
    few = (queries > 0) & (gallery > 0) & (gallery < P_AT)
    _add(findings.warning, few, unseen, "unseen", f"fewer than {P_AT} gallery photos: P@{P_AT} cannot exceed {bound:.3f}")


def _add(add: Callable, is_affected: np.ndarray, names: list[str], side: str, lack: str) -> None:
    affected = [names[row] for row in np.flatnonzero(is_affected)]
    add(f"{len(affected)} of {len(names)} {side} classes with {lack}", affected)


def _length(items: Sized | None) -> int | None:
    return None if items is None else len(items)


def _number(count: int | None, tolerance: float = 0.0) -> str:
    return "-" if count is None else f"{'about ' if tolerance else ''}{count:,}"
