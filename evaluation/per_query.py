"""The per-query file of a test: what each query scored, for comparing runs query by query.

A `.npz` of the arrays `names` (n,) unicode, `labels` (n,) int64, `has_positive` (n,) bool, and `<ranking>/<figure>` (n,)
float64 in [0, 1] for each ranking ("real", "hash") and each per-query figure of `retrieval.metrics`.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.metrics import Scores
from utils.arrays import read_npz
from utils.errors import InputError
from utils.files import atomic_write

# Bytes. A hundred thousand queries with long names stay below; more is no per-query file, but something to fill the memory.
LARGEST = 256 * 2**20
WANTED = {"names": "text", "labels": "int64", "has_positive": "bool"}
FIGURE = re.compile(r"[a-z0-9_]{1,20}/[a-z0-9_]{1,40}")
AGAIN = "repeat the test, which writes it again"


@dataclass(frozen=True)
class PerQuery:
    """What a test kept of each query."""

    names: np.ndarray  # (n,) unicode, all different
    labels: np.ndarray  # (n,) int64
    has_positive: np.ndarray  # (n,) bool: only these queries count in a mean
    figures: dict[str, dict[str, np.ndarray]]  # {ranking: {per-query figure: (n,) float64 in [0, 1]}}


def write_per_query(path: Path, scores: dict[str, Scores], query_names: Sequence[str]) -> None:
    """Write {ranking: Scores} of the same n queries; the file appears whole or not at all.

    query_names: n strings that tell a query from the others in every run, e.g. its path in the list. Raises InputError if
    the file cannot be written, ValueError if the scores are not of the same queries or not as many as the names.
    """
    first = next(iter(scores.values()))
    arrays = {
        "names": np.array(list(query_names), dtype=np.str_),
        "labels": first.query_labels,
        "has_positive": first.has_positive,
    }
    for ranking, scored in scores.items():
        same = np.array_equal(scored.query_labels, first.query_labels) and np.array_equal(scored.has_positive, first.has_positive)
        if not same or len(scored.query_labels) != len(query_names):
            raise ValueError(f"{ranking!r}: {len(scored.query_labels)} scored queries are not the {len(query_names)} named ones")
        arrays |= {f"{ranking}/{name}": np.asarray(values, dtype=np.float64) for name, values in scored.figures.items()}
    # an open file, for given a name NumPy may write to another one
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_per_query(path: Path) -> PerQuery:
    """What `write_per_query` wrote, in its order. Nothing in the file is run, and its declared sizes are checked first.

    Raises InputError if the file is missing, damaged, far too large, lacks an array, or holds arrays of other shapes,
    types or values than a test writes, or the same query twice.
    """
    if not path.exists():
        raise InputError(
            f"{path}: no such file; the results beside it predate per-query files: repeat the test, which writes both"
        )
    arrays = read_npz(path, tuple(WANTED), FIGURE, AGAIN, LARGEST)
    _require_rows(path, arrays)
    content = PerQuery(arrays.pop("names"), arrays.pop("labels"), arrays.pop("has_positive"), _by_ranking(arrays))
    _require_sound(path, content)
    return content


def _require_rows(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Raise InputError on arrays of other shapes or types than a test writes."""
    if len(arrays) == len(WANTED):
        raise InputError(f"{path}: has no array `real/…`, so it is no per-query file; {AGAIN}")
    rows = arrays["names"].shape
    for name, array in arrays.items():
        wanted = WANTED.get(name, "float64")
        is_wanted = array.dtype.kind == "U" and array.dtype.isnative if wanted == "text" else array.dtype == np.dtype(wanted)
        if array.ndim != 1 or not array.size or not is_wanted:
            raise InputError(f"{path}: `{name}` is {array.dtype} of shape {array.shape}, not one row of {wanted}; {AGAIN}")
        if array.shape != rows:
            raise InputError(f"{path}: `{name}` has {len(array)} values for {rows[0]} queries; {AGAIN}")


def _by_ranking(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    figures: dict[str, dict[str, np.ndarray]] = {}
    for key, values in arrays.items():
        ranking, _, name = key.partition("/")
        figures.setdefault(ranking, {})[name] = values
    return figures


def _require_sound(path: Path, content: PerQuery) -> None:
    """Raise InputError on values that no test writes."""
    for ranking, figures in content.figures.items():
        for name, values in figures.items():
            if not ((values >= 0) & (values <= 1 + 1e-9)).all():  # never true of NaN; 1e-9 for rounding
                raise InputError(f"{path}: `{ranking}/{name}` has values that are not in 0 to 1; {AGAIN}")
    if (content.has_positive.view(np.uint8) > 1).any():
        raise InputError(f"{path}: `has_positive` has values that are neither true nor false; {AGAIN}")
    if not content.has_positive.any():
        raise InputError(f"{path}: no query has a photo of its class in the gallery, so there is nothing to compare; {AGAIN}")
    if (content.names.view(np.uint32) > sys.maxunicode).any():
        raise InputError(f"{path}: `names` holds what is no text; {AGAIN}")
    names = content.names.tolist()
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))
        raise InputError(f"{path}: names the query {twice!r} twice; take the double line out of the list and repeat the test")
