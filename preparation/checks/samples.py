"""How many images there are: beside the published numbers, and of each class."""

from collections.abc import Callable

import numpy as np

from datasets.catalog import published_classes
from preparation.checks.findings import Findings
from preparation.checks.split_lists import TITLES, SplitLists, published_counts

ABOUT = {("TUBerlin", "train_photos"): 0.01}  # published as "about", and how far that may be off
FEW = 10  # training images of a class
P_AT = 100  # of the published precision


def counts_table(lists: SplitLists, findings: Findings) -> str:
    """Found beside published; a caution if they differ."""
    dataset, published = lists.split.dataset, published_counts(lists.split)
    known = [len(names) for names in published_classes(dataset, lists.split.name)] if published else [None, None]
    rows = [("seen classes", lists.seen and len(lists.seen), known[0], 0.0)]
    rows += [("unseen classes", lists.unseen and len(lists.unseen), known[1], 0.0)]
    for key, title in TITLES.items():
        found = len(lists.files[key]) if key in lists.files else None
        rows.append((title, found, getattr(published, key, None), ABOUT.get((dataset.folder, key), 0.0)))
    different = [
        f"{title} {found:,} instead of {'about ' * (about > 0)}{expected:,}"
        for title, found, expected, about in rows
        if None not in (found, expected) and abs(found - expected) > about * expected
    ]
    if different:
        message = f"{len(different)} counts are not the published ones (see above), so neither are the figures comparable"
        findings.caution(message, different, shown=0)
    lines = [f"{'':20}{'found':>12}" + f"{'published':>16}" * (published is not None)]
    for title, found, expected, about in rows:
        beside = f"{_number(expected, about > 0):>16}" if published is not None else ""
        lines.append(f"{title:20}{_number(found):>12}{beside}")
    return "\n".join(lines)


def _number(count: int | None, is_about: bool = False) -> str:
    return "-" if count is None else f"{'about ' * is_about}{count:,}"


def check_samples(lists: SplitLists, findings: Findings) -> None:
    """Classes with no or too few images, one line for all that lack the same."""
    per_class = {key: lists.images_per_class(key) for key in TITLES}
    _check_training(lists, per_class, findings)
    queries, gallery = per_class["query_sketches"], per_class["gallery_photos"]
    for key in ("query_sketches", "gallery_photos"):
        if per_class[key] is not None:
            _say(findings.caution, per_class[key] == 0, lists.unseen, "unseen", f"no {TITLES[key]}")
    if queries is None or gallery is None:
        return
    asked = (queries > 0) & (gallery > 0)
    if not asked.any():
        findings.fault("no unseen class has both a query sketch and a gallery photo: nothing can be retrieved")
        return
    few = asked & (gallery < P_AT)
    bound = np.minimum(gallery, P_AT)[queries > 0].mean() / P_AT
    ending = f"fewer than {P_AT} gallery photos: P@{P_AT} cannot exceed {bound:.3f}"
    _say(findings.caution, few, lists.unseen, "unseen", ending)


def _check_training(lists: SplitLists, per_class: dict[str, np.ndarray | None], findings: Findings) -> None:
    for key in ("train_sketches", "train_photos"):
        count = per_class[key]
        if count is None:
            continue
        _say(findings.fault, count == 0, lists.seen, "seen", f"no {TITLES[key]}")
        ending = f"fewer than {FEW} {TITLES[key]}"
        _say(findings.caution, (count > 0) & (count < FEW), lists.seen, "seen", ending)
    held_out, photos = per_class["held_out_sketches"], per_class["train_photos"]
    if held_out is None:
        return
    if photos is not None and not ((held_out > 0) & (photos > 0)).any():
        findings.fault("no held-out sketch is of a class with training photos: there is nothing to validate with")
        return
    ending = "no held-out sketch, and no part in validation"
    _say(findings.caution, held_out == 0, lists.seen, "seen", ending)


def _say(tell: Callable, is_meant: np.ndarray, names: list[str], side: str, lack: str) -> None:
    """One line for all the classes that are meant, if any."""
    if is_meant.any():
        meant = [names[row] for row in np.flatnonzero(is_meant)]
        tell(f"{len(meant)} of {len(names)} {side} classes with {lack}", meant)
