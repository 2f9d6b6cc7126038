"""The two files of a split's semantic mask, computed or as they came."""

import tempfile
from pathlib import Path

import numpy as np

from datasets.file_lists import MASK_ARRAYS, MASK_PICKLE, read_semantic_mask
from preparation.layouts import PHOTO, Image
from preparation.semantic_mask import Mask, mask_rows, write_masks
from preparation.splits import Classes, Sorted
from preparation.telling import say_some
from preparation.wordnet import open_wordnet
from utils.errors import InputError

SAME = 1e-6


def mask_files(
    wordnet: Path | None, classes: Classes, found: Sorted, published: bytes | None, order: list[str]
) -> tuple[dict[str, bytes], dict[str, object]]:
    """{file name: bytes}, and what is to be recorded of the classes.

    published: the pickle that came with the images and is kept, if one did.

    order: paths of photos in the order in which lists that came name them; photos are otherwise taken in that of their names.

    Without WordNet that alone is given, or nothing, after a word on it. Raises InputError if the folder `wordnet` is none.
    """
    place = {path: number for number, path in enumerate(order)}
    names = [_photo_names(found.images[PHOTO][name], place) for name in classes]
    try:
        mask = mask_rows(list(classes), names, open_wordnet(wordnet))
    except InputError as error:
        if wordnet is not None:
            raise
        print(f"note: {error}")
        if published is not None:
            return {MASK_PICKLE: published}, {}
        print("note: so no semantic mask is written, which a teacher wants: once WordNet is there, run the same command again")
        return {}, {}
    _say(mask)
    computed, unseen = mask.rows[: len(classes.seen)], mask.rows[len(classes.seen) :]
    with tempfile.TemporaryDirectory() as aside:
        seen = computed if published is None else _kept(published, computed, Path(aside, MASK_PICKLE))
        write_masks(Path(aside), seen, unseen)
        files = {name: Path(aside, name).read_bytes() for name in (MASK_ARRAYS, MASK_PICKLE)}
    told = {"found_in_wordnet_by_name": mask.by_name, "mask_is_zero": mask.zeros}
    return (files if published is None else files | {MASK_PICKLE: published}), told


def _photo_names(images: list[Image], place: dict[str, int]) -> list[str]:
    names = [(place.get(image.target, len(place)), image.name.rpartition("/")[2]) for image in images]
    return [name for _, name in sorted(names)]


def _kept(published: bytes, computed: np.ndarray, file: Path) -> np.ndarray:
    file.write_bytes(published)
    seen = read_semantic_mask(file, len(computed), np.float64)
    if seen.shape != computed.shape or not np.allclose(seen, computed, atol=SAME):
        print("note: the mask that came with the images is kept, though WordNet gives another")
    return seen


def _say(mask: Mask) -> None:
    by_name = [f"{name} is {synset}" for name, (_, synset) in mask.by_name.items()]
    say_some("in WordNet by the class's name, for no photo's name says it", by_name)
    say_some("near no class of ImageNet, so that their mask is zero", mask.zeros)
