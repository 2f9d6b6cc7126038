"""The per-query file of a test, `results.npz`: the values of each query, so that runs can be compared query by query.

Its arrays are `names` (n,) unicode, `labels` (n,) int64, `has_positive` (n,) bool, and, for each ranking ("real", "hash"),
`<ranking>/<key of PER_QUERY>` (n,) float64 in [0, 1].
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.metrics import Scores
from utils.arrays import read_npz
from utils.errors import InputError
from utils.files import atomic_write

LARGEST = 256 * 2**20  # bytes: more than a hundred thousand queries with long names need
TYPES: dict[str, type] = {"names": np.str_, "labels": np.int64, "has_positive": np.bool_}  # the others are float64
VALUES = r"[a-z0-9_]{1,20}/[a-z0-9_]{1,40}"
ADVICE = "repeat the test, which writes it again"


@dataclass(frozen=True)
class PerQuery:
    """The content of a per-query file."""

    names: np.ndarray  # (n,) unicode, all different
    labels: np.ndarray  # (n,) int64
    has_positive: np.ndarray  # (n,) bool: whether the query counts in a mean
    values: dict[str, dict[str, np.ndarray]]  # {ranking: {key of PER_QUERY: (n,) float64 in [0, 1]}}

    def rows(self, places: np.ndarray) -> "PerQuery":
        """The queries at these positions, in this order."""
        values = {ranking: {name: array[places] for name, array in part.items()} for ranking, part in self.values.items()}
        return PerQuery(self.names[places], self.labels[places], self.has_positive[places], values)


def write_per_query(path: Path, scores: dict[str, Scores], query_names: Sequence[str]) -> None:
    """Write {ranking: Scores} of the same n queries in one step.

    query_names: n strings that identify a query in every run, e.g. its path in the list. Raises InputError if the file cannot
    be written.
    """
    first = next(iter(scores.values()))
    arrays: dict[str, Any] = {
        "names": np.array(query_names, dtype=np.str_),
        "labels": first.query_labels,
        "has_positive": first.has_positive,
    }
    for ranking, scored in scores.items():
        arrays |= {f"{ranking}/{name}": np.asarray(values, dtype=np.float64) for name, values in scored.per_query.items()}
    # an open file, because NumPy adds a suffix to some names
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_per_query(path: Path) -> PerQuery:
    """Read what `write_per_query` wrote; no code in the file is run, and declared sizes are checked first.

    Raises InputError if the file is missing, damaged or too large, lacks an array, or holds arrays of other shapes, types or
    values than a test writes.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; the results beside it are older than per-query files: repeat the test")
    arrays = read_npz(path, tuple(TYPES), VALUES, ADVICE, LARGEST)
    fault = next(_faults(arrays), None)
    if fault:
        raise InputError(f"{path}: {fault}; {ADVICE}")
    content = PerQuery(arrays.pop("names"), arrays.pop("labels"), arrays.pop("has_positive"), {})
    for key, array in arrays.items():
        ranking, _, name = key.partition("/")
        content.values.setdefault(ranking, {})[name] = array
    return content


def _faults(arrays: dict[str, np.ndarray]) -> Iterator[str]:
    """What is wrong with the arrays of a file, worst first."""
    if len(arrays) == len(TYPES):
        yield "has no array `real/…`, so it is not a per-query file"
    rows = arrays["names"].size
    for name, array in arrays.items():
        kind = TYPES.get(name, np.float64)
        if array.shape != (rows,) or not rows or array.dtype.type is not kind or not array.dtype.isnative:
            yield f"`{name}` is {array.dtype} of shape {array.shape}, not {kind.__name__} of shape ({rows},)"
        if kind is np.float64 and not ((array >= 0) & (array <= 1 + 1e-9)).all():  # never true of NaN; 1e-9 for rounding
            yield f"`{name}` has values outside 0 to 1"
    if (arrays["has_positive"].view(np.uint8) > 1).any():
        yield "`has_positive` has values that are neither true nor false"
    if not arrays["has_positive"].any():
        yield "no query has a photo of its class in the gallery, so there is nothing to compare"
    if (arrays["names"].view(np.uint32) > sys.maxunicode).any():
        yield "`names` is not text"
    elif len(np.unique(arrays["names"])) < rows:
        yield "`names` holds a query twice"
