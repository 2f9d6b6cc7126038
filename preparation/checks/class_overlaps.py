"""Which classes are what: beside the published ids, seen beside unseen, and beside what an ImageNet network has seen."""

import numpy as np

from datasets.catalog import IMAGENET_CLASSES, WNID, imagenet_wnids, published_classes
from datasets.class_names import same_classes, spelling
from datasets.file_lists import LARGEST_MASK, MASK_ARRAYS, SEEN_MASK, UNSEEN_MASK
from preparation.checks.findings import Findings
from preparation.checks.split_lists import SplitLists, published_counts
from utils.arrays import read_npz
from utils.errors import InputError
from utils.text import counted

SHOWN = 40  # unseen classes named on the screen


def check_classes(lists: SplitLists, findings: Findings) -> None:
    """Names against the published ones (a caution), and seen against unseen (a fault)."""
    if published_counts(lists.split) is not None:
        for side, own, published in zip(
            ("seen", "unseen"),
            (lists.seen, lists.unseen),
            published_classes(lists.split.dataset, lists.split.name),
            strict=True,
        ):
            _compare(side, own, published, findings)
    if lists.seen is not None and lists.unseen is not None:
        both = same_classes(lists.unseen, lists.seen)
        spelt = {name: name if name == other else f"{name} ({other})" for name, other in both.items()}
        same = [spelt[name] for name, other in both.items() if spelling(name) == spelling(other)]
        if same:
            shared = counted(len(same), "unseen class is a seen class", "unseen classes are seen classes")
            findings.fault(f"{shared} too; keep each on one side", same)
        alike = [spelt[name] for name, other in both.items() if spelling(name) != spelling(other)]
        if alike:
            differ = counted(len(alike), "unseen class differs", "unseen classes differ")
            findings.caution(f"{differ} from seen ones in what stands in brackets alone", alike)


def _compare(side: str, own: list[str] | None, published: list[str], findings: Findings) -> None:
    if own is None:
        return
    different = [
        f"id {number} is {name!r}, published {other!r}"
        for number, (name, other) in enumerate(zip(own, published, strict=False))
        if spelling(name) != spelling(other)
    ]
    strange = {spelling(name) for name in own} ^ {spelling(name) for name in published}
    if strange:
        message = f"the {side} classes are not the published ones ({len(different)} ids name others): this is a split of its own"
        findings.caution(message, different, shown=1)
    elif different:
        other_ids = counted(len(different), f"{side} class has another id", f"{side} classes have other ids")
        message = f"{other_ids} than published: what names classes by id does not fit"
        findings.caution(f"{message}, published checkpoints say", different, shown=1)


def check_imagenet(lists: SplitLists, findings: Findings) -> None:
    """A note on seen classes, a caution on unseen ones, that an ImageNet-trained teacher or start has seen already."""
    if lists.seen is None or lists.unseen is None:
        return
    found, how = _by_mask(lists) or _by_photo_names(lists)
    if found is None:
        findings.fact(f"which classes ImageNet-1k has cannot be told: {how}")
        return
    seen, unseen = found
    message = (
        f"{seen.sum()} of {len(seen)} seen and {unseen.sum()} of {len(unseen)} unseen classes are ImageNet-1k classes, {how}"
    )
    findings.fact(message)
    if unseen.any():
        names = [lists.unseen[row] for row in np.flatnonzero(unseen)]
        were_seen = counted(len(names), "unseen class was", "unseen classes were")
        message = f"{were_seen} seen by whatever was trained on ImageNet, teacher and starting weights"
        findings.caution(message, names, shown=SHOWN)


def _by_mask(lists: SplitLists) -> tuple[tuple[np.ndarray, np.ndarray], str] | None:
    """(seen,) and (unseen,) bool, and how it was told; None where there is no mask of both."""
    path = lists.split.folder / MASK_ARRAYS
    try:
        arrays = read_npz(path, [SEEN_MASK, UNSEEN_MASK], largest=LARGEST_MASK)
    except InputError:
        return None
    masks = arrays[SEEN_MASK], arrays[UNSEEN_MASK]
    shapes = (len(lists.seen), IMAGENET_CLASSES), (len(lists.unseen), IMAGENET_CLASSES)
    if any(mask.shape != shape or mask.dtype.kind != "f" for mask, shape in zip(masks, shapes, strict=True)):
        return None
    seen, unseen = ((mask == 1).any(axis=1) for mask in masks)
    return (seen, unseen), f"or above or below one in WordNet (by {MASK_ARRAYS})"


def _by_photo_names(lists: SplitLists) -> tuple[tuple[np.ndarray, np.ndarray] | None, str]:
    known = set(imagenet_wnids())
    found, has_wnids = [], False
    for key, names in (("train_photos", lists.seen), ("gallery_photos", lists.unseen)):
        is_known = np.zeros(len(names), bool)
        files = lists.files.get(key)
        for path, label in zip(files.paths, files.labels.tolist(), strict=True) if files else ():
            match = WNID.match(path)
            has_wnids |= match is not None
            is_known[label] |= match is not None and match[1] in known
        found.append(is_known)
    if not has_wnids:
        return None, f"there is no {MASK_ARRAYS}, and photos are not named by WordNet ids; prepare_dataset.py makes it"
    how = f"by their photos' names alone; {MASK_ARRAYS}, which prepare_dataset.py makes, also finds those above and below one"
    return (found[0], found[1]), how
