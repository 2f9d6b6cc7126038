"""Indexes of unit vectors, one interface for all kinds: `build`, `load`, and the methods of `index_base.VectorIndex`.

    exact   every vector compared; nothing is missed
    ivf     the lists around the nearest centroids compared; some of the most similar are missed
    hnsw    a graph walked; slower to build than ivf and no better on what was measured, so never chosen by itself
    codes   binary codes compared by Hamming distance; a thirtieth of the memory, the order much coarser

benchmarks/README.md has what each costs.
"""

from pathlib import Path

import numpy as np

from retrieval import index_file
from retrieval.code_index import CodeIndex
from retrieval.exact_index import ExactIndex
from retrieval.hnsw_index import HnswIndex
from retrieval.index_base import VectorIndex, checked_pairs, faiss_library, recall, rerank, unit
from retrieval.ivf_index import IvfIndex
from utils.errors import InputError

__all__ = ["KINDS", "VectorIndex", "build", "choose_kind", "load", "recall", "rerank", "unit"]

_CLASSES = {found.kind: found for found in (ExactIndex, IvfIndex, HnswIndex, CodeIndex)}
KINDS = tuple(_CLASSES)
EXACT_NUMBERS = 200_000 * 64  # up to here a query by "exact" takes some 6 ms on one core


def choose_kind(n: int, width: int = 64) -> str:
    """ "exact" where a query of n vectors of that width takes a few milliseconds, "ivf" beyond."""
    return "exact" if n * width <= EXACT_NUMBERS else "ivf"


def build(kind: str, ids: np.ndarray, vectors: np.ndarray, bits: int | None = None, seed: int = 50) -> VectorIndex:
    """An index of ids (n,) and unit vectors (n, d), n > 0, on which lists or codes are fitted; others can be added.

    kind: one of KINDS, or "auto" for `choose_kind`. bits: of "codes", 1 to d; by default 64, or d if that is
    less. InputError on anything unusable.
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise InputError(f"vectors have shape {vectors.shape}; an index is built of at least one: (n, d)")
    ids, vectors = checked_pairs(ids, vectors, vectors.shape[1])
    faiss_library()
    kind = choose_kind(*vectors.shape) if kind == "auto" else kind
    if kind not in KINDS:
        raise InputError(f"index kind {kind!r} is unknown; use 'auto' or one of {', '.join(KINDS)}")
    more = {"ivf": {"seed": seed}, "codes": {"bits": min(64, vectors.shape[1]) if bits is None else bits, "seed": seed}}
    return _CLASSES[kind].build(ids, vectors, **more.get(kind, {}))


def load(path: Path) -> VectorIndex:
    """The index that `save` wrote. InputError for a file that is not there, not ours, of another version or damaged."""
    faiss_library()
    header, arrays = index_file.read(path)
    try:
        index = _CLASSES[header["kind"]]._restored(header, arrays)
        if index.width != header["width"] or type(header["fitted_on"]) is not int:
            raise ValueError("header and arrays disagree")
        index.notes = header["notes"]
    except (ValueError, KeyError, TypeError) as error:
        raise index_file.damaged(path) from error
    return index
