"""The per-query file of a test: what each query scored, for comparing runs query by query.

A `.npz` of the arrays `names` (n,) unicode, `labels` (n,) int64, `has_positive` (n,) bool, and `<ranking>/<figure>` (n,)
float64 in [0, 1] for each ranking ("real", "hash") and each per-query figure of `retrieval.metrics`.
"""

import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from retrieval.metrics import Scores
from utils.errors import InputError
from utils.files import written_whole

# A hundred thousand queries with long names stay below both; more is no per-query file, but something to fill the memory.
LARGEST_FILE, LARGEST_CONTENT = 64 * 2**20, 256 * 2**20  # bytes
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
    with written_whole(path) as temporary, temporary.open("wb") as file:
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
    try:
        arrays = _read_arrays(path)
    except InputError:
        raise
    except Exception as error:  # a damaged archive can fail anywhere in unzipping and in reading a header
        raise InputError(f"{path}: damaged, or not a per-query file; {AGAIN}") from error
    content = PerQuery(arrays.pop("names"), arrays.pop("labels"), arrays.pop("has_positive"), _by_ranking(arrays))
    _require_sound(path, content)
    return content


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """{name: (n,)}: the three arrays every file has, and all whose name says `ranking/figure`."""
    if not path.is_file() or path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path}: not a file of at most {LARGEST_FILE >> 20} MiB, so not a per-query file; {AGAIN}")
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if sum(info.file_size for info in archive.infolist()) > LARGEST_CONTENT:
            raise InputError(f"{path}: declares more than {LARGEST_CONTENT >> 20} MiB, so it is no per-query file; {AGAIN}")
        missing = [name for name in ("names", "labels", "has_positive") if name not in members]
        figures = [name for name in members if re.fullmatch(r"[a-z0-9_]{1,20}/[a-z0-9_]{1,40}", name)]
        if missing or not figures:
            raise InputError(f"{path}: no `{(missing or ['real/…'])[0]}` in it, so it is no per-query file; {AGAIN}")
        arrays = {name: _read_array(path, archive, members[name]) for name in ("names", "labels", "has_positive", *figures)}
    for name, array in arrays.items():
        if array.shape != arrays["names"].shape:
            raise InputError(f"{path}: `{name}` has {len(array)} values for {len(arrays['names'])} queries; {AGAIN}")
    return arrays


def _read_array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One array, after its header has been compared with what a per-query file holds under that name and with its size."""
    name = info.filename.removesuffix(".npy")
    wanted = {"names": "text", "labels": "int64", "has_positive": "bool"}.get(name, "float64")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others unpack without a bound
        raise InputError(f"{path}: `{name}` is packed in a way no test packs it; {AGAIN}")
    with archive.open(info) as member:
        headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, _, dtype = headers[npy.read_magic(member)](member)
        held = info.file_size - member.tell()
    is_wanted = dtype.kind == "U" and dtype.isnative and dtype.itemsize > 0 if wanted == "text" else dtype == np.dtype(wanted)
    if len(shape) != 1 or not is_wanted:
        raise InputError(f"{path}: `{name}` is {dtype} of shape {shape}, not one row of {wanted}; {AGAIN}"[:400])
    # NumPy reserves what a header declares before it reads, so that must be what there is
    if shape[0] < 1 or shape[0] * dtype.itemsize != held:
        raise InputError(f"{path}: `{name}` declares {str(shape[0])[:20]} values, and has {held} bytes for them; {AGAIN}")
    with archive.open(info) as member:
        return npy.read_array(member, allow_pickle=False)


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
