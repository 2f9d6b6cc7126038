"""The two files of a split's semantic mask: published rows where there are any, else WordNet's."""

import tempfile
from pathlib import Path

import numpy as np

from datasets.catalog import IMAGENET_CLASSES, Dataset, published_mask_rows
from datasets.file_lists import MASK_ARRAYS, MASK_PICKLE, read_semantic_mask
from preparation.console import say_some
from preparation.layouts import PHOTO
from preparation.semantic_mask import Mask, mask_rows, write_masks
from preparation.spellings import counterparts
from preparation.splits import Classes, Sorted
from preparation.wordnet import open_wordnet
from utils.errors import InputError
from utils.text import printable

SAME = 1e-6


def mask_files(
    dataset: Dataset, wordnet: Path | None, classes: Classes, found: Sorted, pickled: bytes | None
) -> tuple[dict[str, bytes], dict[str, object]]:
    """{file name: bytes} of the mask, and facts on it for `prepared.json`.

    Classes of a published dataset take their published rows, in whatever spelling; only the others need WordNet. Without it,
    neither file is made, or `pickled` alone is kept: the pickle that came with the images, if one did. Raises InputError if a
    WordNet is needed and the folder `wordnet` is none.
    """
    rows = _published_rows(dataset, list(classes))
    others = [name for name in classes if name not in rows]
    try:
        mask = _from_wordnet(others, found, wordnet)
    except InputError as error:
        if wordnet is not None:
            raise
        return _without_wordnet(error, pickled), {}
    rows |= dict(zip(others, mask.rows, strict=True))
    zeros = [name for name in classes if not rows[name].any()]
    _say(len(rows) - len(others), mask, zeros)
    facts = {"published_mask_rows": len(rows) - len(others), "found_in_wordnet_by_name": mask.by_name, "mask_is_zero": zeros}
    return _written([rows[name] for name in classes.seen], [rows[name] for name in classes.unseen], pickled), facts


def _published_rows(dataset: Dataset, classes: list[str]) -> dict[str, np.ndarray]:
    """{class: (1000,) float64} of those of the classes that are published ones."""
    published = published_mask_rows(dataset)
    return {name: published[other] for name, other in counterparts(classes, published).items()}


def _from_wordnet(classes: list[str], found: Sorted, wordnet: Path | None) -> Mask:
    """No WordNet is opened where there is no class to look up."""
    if not classes:
        return Mask(np.zeros((0, IMAGENET_CLASSES)), {})
    photos = [sorted(image.name.rpartition("/")[2] for image in found.images[PHOTO][name]) for name in classes]
    return mask_rows(classes, photos, open_wordnet(wordnet))


def _without_wordnet(error: InputError, pickled: bytes | None) -> dict[str, bytes]:
    print(f"note: {printable(error)}")
    if pickled is not None:
        return {MASK_PICKLE: pickled}
    print("note: no semantic mask is written, and training with a teacher needs it; install WordNet, then run this command again")
    return {}


def _written(seen: list[np.ndarray], unseen: list[np.ndarray], pickled: bytes | None) -> dict[str, bytes]:
    """{file name: bytes} of rows by class id; the pickle that came with the images stays what it was."""
    width = (-1, IMAGENET_CLASSES)
    with tempfile.TemporaryDirectory() as aside:
        kept = np.reshape(seen, width) if pickled is None else _kept(pickled, np.reshape(seen, width), Path(aside, MASK_PICKLE))
        write_masks(Path(aside), kept, np.reshape(unseen, width))
        files = {name: Path(aside, name).read_bytes() for name in (MASK_ARRAYS, MASK_PICKLE)}
    return files if pickled is None else files | {MASK_PICKLE: pickled}


def _kept(pickled: bytes, expected: np.ndarray, file: Path) -> np.ndarray:
    file.write_bytes(pickled)
    seen = read_semantic_mask(file, len(expected), np.float64)
    if seen.shape != expected.shape or not np.allclose(seen, expected, atol=SAME):
        print("note: the mask that came with the images is kept, though it differs from the one made here")
    return seen


def _say(published: int, mask: Mask, zeros: list[str]) -> None:
    if published:
        print(f"semantic mask: published rows of {published} classes" + f", WordNet's of {len(mask.rows)}" * bool(len(mask.rows)))
    by_name = [f"{name} is {synset}" for name, (_, synset) in mask.by_name.items()]
    say_some("looked up in WordNet by the class's name, as no photo's name says its synset", by_name)
    say_some("near no class of ImageNet, so that their mask is zero", zeros)
