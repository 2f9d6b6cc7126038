"""How near each class is to each class of ImageNet in WordNet: the semantic mask of SAKE (Liu et al., ICCV 2019), SPEC 2.

This computes it for one's own classes; the rows of published classes are data (datasets/catalog.py).

A class's synsets are those that its photos' file names begin with (`n02395406_1017.jpg`). Against each ImageNet class: 1 if they
are equal or one is a hyponym, at any depth, of the other; else WordNet's path similarity where it is above 0.2; else 0.
"""

import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.catalog import WNID, imagenet_wnids
from datasets.file_lists import MASK_ARRAYS, MASK_PICKLE, SEEN_MASK, UNSEEN_MASK
from preparation.wordnet import GET_IT, noun, wnid_of
from utils.errors import InputError
from utils.files import atomic_write

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Synset, WordNetCorpusReader

LEAST_SIMILAR = 0.2  # what is not above counts as 0
JOINTS = str.maketrans("", "", " _-'.")  # what spellings of one name differ in
CRANE_THE_BIRD, CRANE_THE_MACHINE = "n02012849", "n03126707"


@dataclass(frozen=True)
class Mask:
    """`rows` (classes, 1000) float64, and what to tell of them.

    by_name: {class: (wnid, synset's name)} of those whose photos named no synset and whose name did.
    """

    rows: np.ndarray
    by_name: dict[str, tuple[str, str]]


def mask_rows(
    classes: Sequence[str],
    file_names: Sequence[Sequence[str]],
    wordnet: "WordNetCorpusReader",
    wnids: Sequence[str] | None = None,
) -> Mask:
    """A row for each class, from the names (or paths) of its photos.

    Synsets count in the order in which the names first show them, and a later one overwrites where it is not zero. A class whose
    photos name no noun of WordNet falls back to the first noun of its name, or zeros. wnids: the columns; None: those of the
    published masks.
    """
    nearness = Nearness(wordnet, published_columns() if wnids is None else wnids)
    rows, by_name = np.zeros((len(classes), nearness.width)), {}
    for row, name, photos in zip(rows, classes, file_names, strict=True):
        synsets = synsets_of_photos(photos, wordnet)
        if not synsets and (synset := synset_of_name(name, wordnet)) is not None:
            synsets, by_name[name] = [synset], (wnid_of(synset), synset.name())
        for synset in synsets:
            later = nearness.row(synset)
            np.copyto(row, later, where=later != 0)
    return Mask(rows, by_name)


def published_columns() -> list[str]:
    """ImageNet-1k's classes as existing masks have them: both of its classes called crane as the machine, not one as the bird."""
    return [CRANE_THE_MACHINE if wnid == CRANE_THE_BIRD else wnid for wnid in imagenet_wnids()]


def synsets_of_photos(file_names: Sequence[str], wordnet: "WordNetCorpusReader") -> "list[Synset]":
    """Those that the names begin with, in order of first appearance; prefixes that are no noun of WordNet are passed over."""
    wnids = dict.fromkeys(match[1] for match in map(WNID.match, file_names) if match)
    return [synset for wnid in wnids if (synset := noun(wordnet, wnid)) is not None]


def synset_of_name(name: str, wordnet: "WordNetCorpusReader") -> "Synset | None":
    """The first noun of a class's name, whichever way its words are joined; what is in brackets is an explanation.

    None if WordNet has no such noun, in any spelling.
    """
    words = re.sub(r"\(.*?\)", " ", name).strip(" _-")
    parts = re.split(r"[\s_-]+", words)
    for spelling in (re.sub(r"[\s_]+", "_", words), "_".join(parts), "-".join(parts), "".join(parts)):
        if synsets := wordnet.synsets(spelling, "n"):
            return synsets[0]
    wanted = words.lower().translate(JOINTS)
    alike = next((lemma for lemma in wordnet.all_lemma_names("n") if lemma.translate(JOINTS) == wanted), None)
    return wordnet.synsets(alike, "n")[0] if alike else None


class Nearness:
    """Of any synset to each of `wnids`, whose own ways up are looked up once.

    Raises InputError if WordNet lacks one of them.
    """

    def __init__(self, wordnet: "WordNetCorpusReader", wnids: Sequence[str]):
        targets = [noun(wordnet, wnid) for wnid in wnids]
        missing = [wnid for wnid, target in zip(wnids, targets, strict=True) if target is None]
        if missing:
            raise InputError(f"{wordnet.root}: this WordNet has no {missing[0]}, a class of ImageNet; {GET_IT}")
        self.width = len(targets)
        self._offsets = np.array([target.offset() for target in targets])
        upwards = [ancestors(target) for target in targets]
        self._columns = {offset: i for i, offset in enumerate(sorted({offset for up in upwards for offset in up}))}
        self._distances = np.full((len(self._columns), self.width), np.inf)  # (ancestors, wnids) edges
        self._is_below = np.zeros((len(self._columns), self.width), dtype=bool)
        for target, (synset, up) in enumerate(zip(targets, upwards, strict=True)):
            self._distances[[self._columns[offset] for offset in up], target] = list(up.values())
            self._is_below[[self._columns[offset] for offset in ancestors(synset, with_instances=False)], target] = True

    def row(self, synset: "Synset") -> np.ndarray:
        """(wnids,) float64: the rule above.

        Path similarity is 1/(1 + edges of the shortest way over a common ancestor), 0 without one.
        """
        shared = {self._columns[offset]: edges for offset, edges in ancestors(synset).items() if offset in self._columns}
        ways = self._distances[list(shared)] + np.array(list(shared.values()))[:, None]
        similarity = 1 / (1 + ways.min(axis=0, initial=np.inf))
        similarity[similarity <= LEAST_SIMILAR] = 0
        similarity[np.isin(self._offsets, list(ancestors(synset, with_instances=False)))] = 1
        if synset.offset() in self._columns:
            similarity[self._is_below[self._columns[synset.offset()]]] = 1
        return similarity


def ancestors(synset: "Synset", with_instances: bool = True) -> dict[int, int]:
    """{offset: edges up to it} of a synset and its hypernyms at any depth, instance hypernyms among them or not.

    WordNet files each hyponym with its hypernym too, so `below` can be asked from below, where the ways are few.
    """
    found, level, edges = {}, [synset], 0
    while level:
        level = [each for each in level if each.offset() not in found]
        found |= {each.offset(): edges for each in level}
        level = [up for each in level for up in each.hypernyms() + (each.instance_hypernyms() if with_instances else [])]
        edges += 1
    return found


def write_masks(folder: Path, seen: np.ndarray, unseen: np.ndarray) -> None:
    """Rows (classes, 1000) by class id: both as `cid_mask.npz`, and the seen classes' as the pickle that older code reads.

    Raises InputError if they cannot be written.
    """
    with atomic_write(folder / MASK_ARRAYS) as temporary:
        np.savez_compressed(temporary, **{SEEN_MASK: seen.astype(np.float64), UNSEEN_MASK: unseen.astype(np.float64)})
    content = pickle.dumps({label: row.copy() for label, row in enumerate(seen.astype(np.float64))}, protocol=2)
    with atomic_write(folder / MASK_PICKLE) as temporary:
        # NumPy 1 and Python 2 know its insides by their old name
        temporary.write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
