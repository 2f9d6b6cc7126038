"""Score the features of any system with the ranking, codes, table and report of the zero-shot test."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.feature_config import ARRAYS, MOST_BITS, FeatureCodeOptions, FeatureConfig
from evaluation.outputs import SIDE_FILES, facts_of, print_table, require_free, write_outcome
from report.page import ReportData
from retrieval.metrics import Scores
from retrieval.scores import evaluate_features, evaluate_ranking
from utils.arrays import read_npz
from utils.errors import InputError
from utils.gpu_driver import has_gpu_driver

LARGEST_LABEL = 2**31 - 1
ADVICE = f"it must hold {ARRAYS}, and text in `paths` and `names`, all different"
KINDS = {"features": "bf", "labels": "iu", "paths": "U", "names": "U"}  # NumPy's letters of types


@dataclass(frozen=True)
class FeatureSet:
    """The content of a feature file."""

    features: np.ndarray  # (n, d) float32, float64, or bool: codes
    labels: np.ndarray  # (n,) int64
    paths: np.ndarray | None  # (n,) unicode, all different
    names: np.ndarray | None  # (classes,) unicode, all different

    @property
    def are_codes(self) -> bool:
        return self.features.dtype == bool

    def digest(self) -> str:
        """The same for the same images in the same order, as far as labels and paths show."""
        digest = hashlib.sha256(self.labels.tobytes())
        for path in [] if self.paths is None else self.paths.tolist():
            digest.update(f"{path}\n".encode("utf-8", errors="replace"))
        return digest.hexdigest()[:16]


def score_features(config: FeatureConfig) -> dict[str, Any]:
    """Read, rank, score; print the table, write the files of `--results`, and return the results."""
    files, codes, output = config.features, config.codes, config.output
    gpu = _gpu(config.runtime.device)
    if output.results is not None:
        require_free(output.results)
        written = {output.results.with_suffix(suffix).resolve() for suffix in (".json", *SIDE_FILES)}
        given = [path for path in (files.query, files.gallery) if path.resolve() in written]
        if given:
            raise InputError(f"--results {output.results}: would overwrite {given[0]}; choose another name")
    if codes.ties == "average" and codes.no_hash:
        raise InputError("--ties average: applies to hash codes only; leave it or --no-hash out")
    query, gallery = _read(files.query), _read(files.gallery)
    _require_fit(query, gallery, config)
    bits = codes.bits or min(MOST_BITS, query.features.shape[1])
    if not files.keep_norms:
        query, gallery = _normalised(query), _normalised(gallery)
    started = time.perf_counter()
    scores = _scores(query, gallery, gpu, bits, codes)
    test = _report_data(query, gallery, scores, f"{files.query.stem} in {files.gallery.stem}")
    results = {
        "protocol": "features as they are" if files.keep_norms else "features",
        "queries": len(query.labels),
        "gallery": len(gallery.labels),
        "without_positive": test.main.without_positive,
        "gallery_digest": gallery.digest(),
        "queries_matched_by": "row" if query.paths is None else "path",
        "files": {"query": str(files.query), "gallery": str(files.gallery)},
        "settings": {
            "keep_norms": files.keep_norms,
            "bits": bits,
            "itq": codes.itq,
            "itq_fit": codes.itq_fit,
            "ties": codes.ties,
        },
        **{ranking: found.summary() for ranking, found in scores.items()},
        "per_class": test.main.per_class(test.names),
        "seconds": {"metrics": round(time.perf_counter() - started, 3)},
    }
    if output.results is None:
        print_table(test)
    else:
        names = (np.arange(len(query.labels)).astype(str) if query.paths is None else query.paths).tolist()
        write_outcome(output.results, results, names, replace(test, facts=facts_of(results)), with_report=not output.no_report)
    return results


def _gpu(device: str) -> Any:
    """The torch.device of a GPU, or None: on a CPU features are ranked without PyTorch, whose import takes a second or more."""
    if device == "cpu" or (device == "auto" and not has_gpu_driver()):
        return None
    from utils.devices import choose_device

    chosen = choose_device(device)
    return chosen if chosen.type == "cuda" else None


def _copied_to(gpu: Any, *arrays: np.ndarray) -> Any:
    import torch

    return tuple(torch.from_numpy(array).to(gpu) for array in arrays)


def _scores(query: FeatureSet, gallery: FeatureSet, gpu: Any, bits: int, codes: FeatureCodeOptions) -> dict[str, Scores]:
    sets = query.features, query.labels, gallery.features, gallery.labels
    if gpu is not None:
        sets = _copied_to(gpu, *sets)
    if query.are_codes:
        print("features are codes: ranked as they are, by Hamming distance")
        return {"hash": evaluate_ranking("hamming", *sets, progress=True, ties=codes.ties)}
    if codes.no_hash:
        return {"real": evaluate_ranking("euclidean", *sets, progress=True)}
    print(f"hash: {bits}-bit codes by ITQ")
    return evaluate_features(*sets, bits, ties=codes.ties, update=codes.itq, fit=codes.itq_fit)


def _report_data(query: FeatureSet, gallery: FeatureSet, scores: dict[str, Scores], title: str) -> ReportData:
    names = gallery.names if gallery.names is not None else query.names
    known = [] if names is None else names.tolist()
    labels = np.union1d(query.labels, gallery.labels).tolist()
    return ReportData(
        title=title,
        facts={},
        scores=scores,
        query_labels=query.labels,
        gallery_labels=gallery.labels,
        names={label: known[label] if label < len(known) else str(label) for label in labels},
        query_features=None if query.are_codes else query.features.astype(np.float32),
        gallery_features=None if query.are_codes else gallery.features.astype(np.float32),
        thumbnail=None,
    )


def _read(path: Path) -> FeatureSet:
    """Raises InputError on a file whose arrays are missing, of other types or shapes than ADVICE says, or not finite."""
    arrays = read_npz(path, required=("features", "labels"), optional="paths|names", advice=ADVICE)
    arrays["features"] = features = _as_codes(arrays["features"])
    fault = next(_faults(arrays), None)
    if fault:
        raise InputError(f"{path}: {fault}; {ADVICE}")
    if features.dtype != bool:
        features = features.astype(np.float64 if features.itemsize > 4 else np.float32)
    return FeatureSet(features, arrays["labels"].astype(np.int64), arrays.get("paths"), arrays.get("names"))


def _faults(arrays: dict[str, np.ndarray]) -> Iterator[str]:
    """What is wrong with the arrays of a feature file, worst first."""
    features, labels = arrays["features"], arrays["labels"]
    if features.ndim != 2 or not features.size:
        yield f"`features` has shape {features.shape}"
    rows, classes = len(features), arrays["names"].size if "names" in arrays else LARGEST_LABEL + 1
    shapes = {"features": features.shape, "labels": (rows,), "paths": (rows,), "names": (classes,)}
    for name, array in arrays.items():
        if array.dtype.kind not in KINDS[name] or array.shape != shapes[name]:
            yield f"`{name}` is {array.dtype} of shape {array.shape} for {rows} rows"
        if array.dtype.kind == "U" and len(np.unique(array)) < len(array):
            yield f"`{name}` holds the same text twice"
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        yield f"label {labels[outside[0]]} of row {outside[0]} is outside 0 to {classes - 1}"
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        yield f"row {np.argmin(finite)} of `features` holds NaN or infinity"


def _as_codes(features: np.ndarray) -> np.ndarray:
    """Integers of 0 and 1, or of -1 and 1, as bool codes; other arrays unchanged."""
    is_integer = features.dtype.kind in "iu" and features.size
    if is_integer and (((features == 0) | (features == 1)).all() or (np.abs(features) == 1).all()):
        return features > 0
    return features


def _normalised(arrays: FeatureSet) -> FeatureSet:
    """With rows of length 1 in float64; rows of zeros and codes unchanged."""
    if arrays.are_codes:
        return arrays
    rows = arrays.features.astype(np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    rows /= np.where(largest > 0, largest, 1)  # first, or the squares of very large or small numbers would be lost
    length = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return replace(arrays, features=rows / np.where(length > 0, length, 1))


def _require_fit(query: FeatureSet, gallery: FeatureSet, config: FeatureConfig) -> None:
    bits, width = config.codes.bits, query.features.shape[1]
    files = f"{config.features.query} and {config.features.gallery}"
    if width != gallery.features.shape[1]:
        raise InputError(f"{files}: rows of {width} and {gallery.features.shape[1]} numbers; make both with one model")
    if query.are_codes != gallery.are_codes:
        raise InputError(f"{files}: one holds codes, the other real features; give two of a kind")
    if bits is not None and query.are_codes:
        raise InputError(f"--bits {bits}: the features are codes already and are ranked as they are; leave it out")
    if bits is not None and bits > width:
        raise InputError(f"--bits {bits}: more than the {width} numbers of a row; choose fewer")
