"""The semantic mask: how near each class is to each class of ImageNet in WordNet, by the rule of SAKE (Liu et al., ICCV 2019).

The rows of published classes are data (datasets/published/); this computes those of other classes. The synsets of a class are
those that its photos' file names begin with (`n02395406_1017.jpg`). Compared with an ImageNet class a synset has the value 1 if
they are equal or one is a hyponym, at any depth, of the other; else WordNet's path similarity if that is above 0.2; else 0.
"""

import io
import pickle
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.catalog import IMAGENET_CLASSES, PUBLISHED, WNID, Dataset, imagenet_wnids
from datasets.file_lists import MASK_ARRAYS, MASK_PICKLE, SEEN_MASK, UNSEEN_MASK, read_semantic_mask
from preparation.console import print_mask
from preparation.layouts import PHOTOS
from preparation.spellings import counterparts
from preparation.splits import Classes, SplitImages
from preparation.wordnet import GET_IT, noun, open_wordnet, wnid_of
from utils.errors import InputError
from utils.text import one_line, printable

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Synset, WordNetCorpusReader

LEAST_SIMILAR = 0.2  # similarities that are not above it count as 0
JOINTS = str.maketrans("", "", " _-'.")  # in these the spellings of one name differ
CRANE_THE_BIRD, CRANE_THE_MACHINE = "n02012849", "n03126707"
SAME = 1e-6
ByName = dict[str, tuple[str, str]]  # {class: (wnid, synset's name)} of classes that were looked up by name


def published_mask_rows(dataset: Dataset) -> dict[str, np.ndarray]:
    """{class name: (1000,) float64 in [0, 1]}: its similarity to each ImageNet class; {} if none are published.

    `published/semantic_masks.npz` holds, for each dataset's folder name, `<folder>_names` (n,) and `<folder>` (n, 1000). The
    rows of the seen classes of Sketchy's `zeroshot1` and TU-Berlin's `zeroshot` are those of SAKE's published files; their other
    rows follow SAKE's rule from the published lists. QuickDraw's photos name no synset: its rows
    are Sketchy's for a class of the same name (86), else TU-Berlin's (12), else those of the first WordNet noun (12).
    """
    with np.load(PUBLISHED / "semantic_masks.npz", allow_pickle=False) as arrays:
        if dataset.folder not in arrays:
            return {}
        return dict(zip(arrays[f"{dataset.folder}_names"].tolist(), arrays[dataset.folder], strict=True))


def mask_files(
    dataset: Dataset, wordnet: Path | None, classes: Classes, found: SplitImages, pickled: bytes | None
) -> tuple[dict[str, bytes], dict[str, object]]:
    """{file name: bytes} of the mask, and facts about it for `prepared.json`; both empty if it needs WordNet and there is none.

    pickled: the mask that came with the images, if any; it is kept. Raises InputError if the folder `wordnet` is needed and is
    not WordNet.
    """
    published = published_mask_rows(dataset)
    rows = {name: published[other] for name, other in counterparts(classes, published).items()}
    others = {name: [image.name for image in found.by_class[PHOTOS][name]] for name in classes if name not in rows}
    by_name: ByName = {}
    if others:
        try:
            looked_up, by_name = mask_rows(others, open_wordnet(wordnet))
        except InputError as error:
            if wordnet is not None:
                raise
            print(f"note: {printable(error)}")
            print("note: no semantic mask is written, and training with a teacher needs it; run this again with --wordnet FOLDER")
            return {}, {}
        rows |= looked_up
    zeros = [name for name in classes if not rows[name].any()]
    print_mask(len(rows) - len(others), len(others), by_name, zeros)
    facts = {"published_mask_rows": len(rows) - len(others), "found_in_wordnet_by_name": by_name, "mask_is_zero": zeros}
    seen, unseen = (
        np.reshape([rows[name] for name in names], (-1, IMAGENET_CLASSES)) for names in (classes.seen, classes.unseen)
    )
    if pickled is not None:
        try:
            return written_masks(_kept(pickled, seen), unseen) | {MASK_PICKLE: pickled}, facts
        except InputError as error:
            reason = printable(error).partition(": ")[2]
            print(f"note: the mask that came with the images is not used: {reason}")
    return written_masks(seen, unseen), facts


def _kept(pickled: bytes, expected: np.ndarray) -> np.ndarray:
    """Rows of the mask that came with the images. Raises InputError if it cannot be used."""
    with tempfile.TemporaryDirectory() as aside:
        file = Path(aside, MASK_PICKLE)
        file.write_bytes(pickled)
        seen = read_semantic_mask(file, len(expected), np.float64)
    if seen.shape != expected.shape or not np.allclose(seen, expected, atol=SAME):
        print("note: the mask that came with the images is kept, though it differs from the one made here")
    return seen


def written_masks(seen: np.ndarray, unseen: np.ndarray) -> dict[str, bytes]:
    """{file name: bytes} of rows (classes, 1000) by class id: `cid_mask.npz`, and the seen rows as a pickle for older code."""
    arrays = io.BytesIO()
    masks: dict[str, Any] = {SEEN_MASK: seen.astype(np.float64), UNSEEN_MASK: unseen.astype(np.float64)}
    np.savez_compressed(arrays, **masks)
    content = pickle.dumps({label: row.copy() for label, row in enumerate(seen.astype(np.float64))}, protocol=2)
    # NumPy 1 and Python 2 know this module by its old name
    content = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    return {MASK_ARRAYS: arrays.getvalue(), MASK_PICKLE: content}


def mask_rows(
    photos: dict[str, list[str]], wordnet: "WordNetCorpusReader", wnids: Sequence[str] | None = None
) -> tuple[dict[str, np.ndarray], ByName]:
    """A row of float64 in [0, 1] for each class, from {class: paths of its photos}; `wnids`: the columns, ImageNet's by default.

    Synsets count in the order in which the sorted file names first show them, and a later one overwrites where it is not zero.
    A class whose photos name no noun of WordNet takes the first noun of its name, or zeros. Raises InputError if WordNet is
    damaged or lacks a column.
    """
    rows: dict[str, np.ndarray] = {}
    by_name: ByName = {}
    try:
        columns = [_Lineage(_column(wordnet, wnid)) for wnid in (published_columns() if wnids is None else wnids)]
        for name, paths in photos.items():
            synsets = synsets_of_photos(sorted(path.rpartition("/")[2] for path in paths), wordnet)
            if not synsets and (synset := synset_of_name(name, wordnet)) is not None:
                synsets, by_name[name] = [synset], (wnid_of(synset), synset.name())
            rows[name] = np.zeros(len(columns))
            for lineage in map(_Lineage, synsets):
                later = np.array([lineage.nearness(column) for column in columns])
                np.copyto(rows[name], later, where=later != 0)
    except InputError:
        raise
    except Exception as error:  # nltk reads a synset when it is needed, and damage can raise nearly anything
        raise InputError(f"{wordnet.root}: damaged, or not WordNet 3.0 ({one_line(error)}); {GET_IT}") from error
    return rows, by_name


def published_columns() -> list[str]:
    """ImageNet-1k's classes as published masks have them: both classes called crane as the machine, none as the bird."""
    return [CRANE_THE_MACHINE if wnid == CRANE_THE_BIRD else wnid for wnid in imagenet_wnids()]


def _column(wordnet: "WordNetCorpusReader", wnid: str) -> "Synset":
    synset = noun(wordnet, wnid)
    if synset is None:
        raise InputError(f"{wordnet.root}: this WordNet has no {wnid}, a class of ImageNet; {GET_IT}")
    return synset


def synsets_of_photos(file_names: Iterable[str], wordnet: "WordNetCorpusReader") -> "list[Synset]":
    """The synsets that file names begin with, by first appearance; prefixes that are no noun of WordNet are skipped."""
    wnids = dict.fromkeys(match[1] for match in map(WNID.match, file_names) if match)
    return [synset for wnid in wnids if (synset := noun(wordnet, wnid)) is not None]


def synset_of_name(name: str, wordnet: "WordNetCorpusReader") -> "Synset | None":
    """The first noun of a class's name without its explanation in brackets, in any spelling; None if there is none."""
    words = re.sub(r"\(.*?\)", " ", name).strip(" _-")
    parts = re.split(r"[\s_-]+", words)
    for spelling in (re.sub(r"[\s_]+", "_", words), "_".join(parts), "-".join(parts), "".join(parts)):
        if synsets := wordnet.synsets(spelling, "n"):
            return synsets[0]
    letters = words.lower().translate(JOINTS)
    alike = next((lemma for lemma in wordnet.all_lemma_names("n") if lemma.translate(JOINTS) == letters), None)
    return wordnet.synsets(alike, "n")[0] if alike else None


class _Lineage:
    """A synset's ancestors by instance or kind, with the edges up to each, and those that it is a hyponym of."""

    def __init__(self, synset: "Synset"):
        self.synset = synset
        farthest_first = sorted(synset.hypernym_distances(), key=lambda pair: -pair[1])
        self.edges: dict[Synset, int] = dict(farthest_first)
        self.kinds = {synset, *synset.closure(lambda each: each.hypernyms())}

    def nearness(self, other: "_Lineage") -> float:
        """The rule above; path similarity is 1 / (1 + edges of the shortest way over a common ancestor)."""
        if self.synset in other.kinds or other.synset in self.kinds:
            return 1.0
        ways = [edges + other.edges[synset] for synset, edges in self.edges.items() if synset in other.edges]
        similarity = 1 / (1 + min(ways)) if ways else 0.0
        return similarity if similarity > LEAST_SIMILAR else 0.0
