"""Class names: against the published ones, seen against unseen, and against the classes of ImageNet."""

import numpy as np

from datasets.catalog import IMAGENET_CLASSES, WNID, imagenet_wnids
from datasets.class_names import same_classes, spelling
from datasets.file_lists import LARGEST_MASK, MASK_ARRAYS, SEEN_MASK, UNSEEN_MASK
from preparation.checks.findings import Findings
from preparation.checks.split_lists import SplitLists
from utils.arrays import read_npz
from utils.errors import InputError
from utils.text import counted

SHOWN = 40  # unseen classes named on the screen


def check_class_names(lists: SplitLists, findings: Findings) -> None:
    """Check for names that differ from the published ones (a warning), and for unseen classes that are seen (an error)."""
    for side, names, published in zip(("seen", "unseen"), (lists.seen, lists.unseen), lists.published_classes, strict=True):
        if names is not None and published is not None:
            _compare(side, names, published, findings)
    if lists.seen is None or lists.unseen is None:
        return
    same: list[str] = []
    similar: list[str] = []
    for name, other in same_classes(lists.unseen, lists.seen).items():
        (same if spelling(name) == spelling(other) else similar).append(name if name == other else f"{name} ({other})")
    message = counted(len(same), "unseen class is also a seen class", "unseen classes are also seen classes")
    findings.error(f"{message}; keep each on one side", same)
    message = counted(len(similar), "unseen class differs from a seen class", "unseen classes differ from seen classes")
    findings.warning(f"{message} only by words in brackets", similar)


def _compare(side: str, names: list[str], published: list[str], findings: Findings) -> None:
    different = [
        f"id {number} is {name!r}, published {other!r}"
        for number, (name, other) in enumerate(zip(names, published, strict=False))
        if spelling(name) != spelling(other)
    ]
    if set(map(spelling, names)) != set(map(spelling, published)):
        message = f"the {side} classes differ from the published ones ({len(different)} ids have other names)"
        findings.warning(f"{message}: this is a custom split", different, shown=1)
    else:
        message = counted(len(different), f"{side} class has another id", f"{side} classes have other ids")
        consequence = "files that refer to classes by id, such as published checkpoints, do not fit"
        findings.warning(f"{message} than published: {consequence}", different, shown=1)


def check_imagenet(lists: SplitLists, findings: Findings) -> None:
    """Check which classes an ImageNet-trained teacher or starting network has seen: a warning if unseen ones are among them."""
    if lists.seen is None or lists.unseen is None:
        return
    masks = _from_mask(lists, len(lists.seen), len(lists.unseen))
    source = f"including classes above or below one in WordNet (according to {MASK_ARRAYS})"
    if masks is None:
        masks = _from_photo_names(lists, len(lists.seen), len(lists.unseen))
        source = f"according to the names of their photos; {MASK_ARRAYS} would include classes above and below one in WordNet"
    if masks is None:
        reason = f"there is no {MASK_ARRAYS} (prepare_dataset.py writes it), and no photo is named by a WordNet id"
        findings.info(f"unknown which classes are ImageNet-1k classes: {reason}")
        return
    seen, unseen = masks
    numbers = f"{seen.sum()} of {len(seen)} seen and {unseen.sum()} of {len(unseen)} unseen classes"
    findings.info(f"{numbers} are ImageNet-1k classes, {source}")
    names = [lists.unseen[row] for row in np.flatnonzero(unseen)]
    message = counted(len(names), "unseen class is an ImageNet class", "unseen classes are ImageNet classes")
    findings.warning(f"{message} that the teacher and the pretrained weights have seen", names, shown=SHOWN)


def _from_mask(lists: SplitLists, *counts: int) -> list[np.ndarray] | None:
    """(seen,) and (unseen,) bool: classes that are near an ImageNet class; None without a valid mask of both."""
    try:
        arrays = read_npz(lists.split.folder / MASK_ARRAYS, [SEEN_MASK, UNSEEN_MASK], largest=LARGEST_MASK)
    except InputError:
        return None
    masks = [arrays[SEEN_MASK], arrays[UNSEEN_MASK]]
    if any(mask.shape != (n, IMAGENET_CLASSES) or mask.dtype.kind != "f" for mask, n in zip(masks, counts, strict=True)):
        return None
    return [(mask == 1).any(axis=1) for mask in masks]


def _from_photo_names(lists: SplitLists, *counts: int) -> list[np.ndarray] | None:
    """The same from photos named `n01440764_5.jpg`; None if there is none."""
    known, has_wnids = set(imagenet_wnids()), False
    found = [np.zeros(count, bool) for count in counts]
    for key, is_known in zip(("train_photos", "gallery_photos"), found, strict=True):
        files = lists.files.get(key)
        for path, label in zip(files.paths, files.labels.tolist(), strict=True) if files else ():
            match = WNID.match(path)
            has_wnids |= match is not None
            is_known[label] |= match is not None and match[1] in known
    return found if has_wnids else None
