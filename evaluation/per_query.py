"""The per-query file of a test, `results.npz`: the values of each query, so that runs can be compared query by query.

Its arrays are `names` (n,) unicode, `labels` (n,) int64, `has_positive` (n,) bool, and, for each ranking ("real", "hash"),
`<ranking>/<key of PER_QUERY>` (n,) float64 in [0, 1].
"""

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.metrics import Scores
from utils.arrays import read_npz
from utils.errors import InputError
from utils.files import atomic_write

LARGEST = 256 * 2**20  # bytes: more than a hundred thousand queries with long names need
TYPES = {"names": "text", "labels": "int64", "has_positive": "bool"}
VALUES = re.compile(r"[a-z0-9_]{1,20}/[a-z0-9_]{1,40}")
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
    be written, ValueError if the scores belong to other queries or are not as many as the names.
    """
    first = next(iter(scores.values()))
    arrays: dict[str, Any] = {
        "names": np.array(query_names, dtype=np.str_),
        "labels": first.query_labels,
        "has_positive": first.has_positive,
    }
    for ranking, scored in scores.items():
        same = np.array_equal(scored.query_labels, first.query_labels) and np.array_equal(scored.has_positive, first.has_positive)
        if not same or len(scored.query_labels) != len(query_names):
            raise ValueError(f"{ranking!r}: {len(scored.query_labels)} scored queries are not the {len(query_names)} named ones")
        arrays |= {f"{ranking}/{name}": np.asarray(values, dtype=np.float64) for name, values in scored.per_query.items()}
    # an open file, because NumPy adds a suffix to some names
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_per_query(path: Path) -> PerQuery:
    """Read what `write_per_query` wrote; no code in the file is run, and declared sizes are checked first.

    Raises InputError if the file is missing, damaged or too large, lacks an array, or holds arrays of other shapes, types or
    values than a test writes, or the same query twice.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; the results beside it are older than per-query files: repeat the test")
    arrays = read_npz(path, tuple(TYPES), VALUES, ADVICE, LARGEST)
    _require_rows(path, arrays)
    content = PerQuery(arrays.pop("names"), arrays.pop("labels"), arrays.pop("has_positive"), {})
    for key, array in arrays.items():
        ranking, _, name = key.partition("/")
        content.values.setdefault(ranking, {})[name] = array
        if not ((array >= 0) & (array <= 1 + 1e-9)).all():  # never true of NaN; 1e-9 for rounding
            raise InputError(f"{path}: `{key}` has values outside 0 to 1; {ADVICE}")
    _require_queries(path, content)
    return content


def _require_rows(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Raise InputError on arrays of other shapes or types than a test writes."""
    if len(arrays) == len(TYPES):
        raise InputError(f"{path}: has no array `real/…`, so it is not a per-query file; {ADVICE}")
    rows = arrays["names"].shape
    for name, array in arrays.items():
        kind = TYPES.get(name, "float64")
        is_kind = array.dtype.kind == "U" and array.dtype.isnative if kind == "text" else array.dtype == np.dtype(kind)
        if array.ndim != 1 or not array.size or not is_kind:
            raise InputError(f"{path}: `{name}` is {array.dtype} of shape {array.shape}, not one row of {kind}; {ADVICE}")
        if array.shape != rows:
            raise InputError(f"{path}: `{name}` has {len(array)} values for {rows[0]} queries; {ADVICE}")


def _require_queries(path: Path, content: PerQuery) -> None:
    """Raise InputError on values that no test writes."""
    if (content.has_positive.view(np.uint8) > 1).any():
        raise InputError(f"{path}: `has_positive` has values that are neither true nor false; {ADVICE}")
    if not content.has_positive.any():
        raise InputError(f"{path}: no query has a photo of its class in the gallery, so there is nothing to compare; {ADVICE}")
    if (content.names.view(np.uint32) > sys.maxunicode).any():
        raise InputError(f"{path}: `names` is not text; {ADVICE}")
    name, mentions = Counter(content.names.tolist()).most_common(1)[0]
    if mentions > 1:
        raise InputError(f"{path}: holds the query {name!r} twice; remove the repeated line from the list and repeat the test")
