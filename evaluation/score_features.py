"""Scoring features that any system made: the same ranking, codes, table and report as for ours."""

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np
import torch

from evaluation.config import HashCodeOptions
from evaluation.outputs import SIDE_FILES, Outcome, facts_of, print_table, require_free, write_outcome
from evaluation.zero_shot import hash_scores
from report.page import ReportData
from retrieval.metrics import Scores
from retrieval.scores import evaluate_ranking
from utils.arrays import read_npz
from utils.devices import choose_device
from utils.errors import InputError
from utils.options import add_options
from utils.parser import Group, Parser, path_argument, positive_int

MOST_BITS = 64  # of the codes, unless --bits says more
LARGEST_LABEL = 2**31 - 1
ARRAYS = "`features` (n, d), floats or codes (bool, 0 and 1, or -1 and 1), and `labels` (n,), class ids from 0"
ADVICE = f"it must hold {ARRAYS}"


def feature_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parsed options of evaluate_features.py; a mistake exits with code 2 after one line."""
    parser = Parser("Score query and gallery features of any system by every definition of mAP and precision in use.")
    files = Group(parser, "features")
    files.add(
        "--query",
        type=path_argument,
        required=True,
        help=f"Q.npz with arrays {ARRAYS}; optional `paths` (n,): the queries' names",
    )
    files.add("--gallery", type=path_argument, required=True, help="G.npz likewise; optional `names` (classes,)")
    files.add("--keep_norms", action="store_true", help="rank the rows as they are; otherwise each is L2-normalised first")

    codes = add_options(parser, HashCodeOptions, itq_fit={"choices": ("queries", "gallery")})
    codes.add("--no-hash", action="store_true", help="no codes, only the ranking by the features themselves")
    codes.add("--bits", type=positive_int, default=None, help=f"length of the codes; None: d, but at most {MOST_BITS}")

    written = Group(parser, "what is written")
    written.add("--results", type=path_argument, default=None, help="OUT.json, each query's figures as OUT.npz, and OUT_report/")
    written.add("--no_report", action="store_true", help="spare the HTML report")

    running = Group(parser, "running")
    running.add("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    return parser.parse_args(arguments)


def score_features(options: argparse.Namespace) -> dict:
    """Read, rank, score; print the table, write what `--results` asks for, and return the results."""
    device = choose_device(options.device)
    if options.results is not None:
        require_free(options.results)
        written = {options.results.with_suffix(suffix).resolve() for suffix in (".json", *SIDE_FILES)}
        given = [path for path in (options.query, options.gallery) if path.resolve() in written]
        if given:
            raise InputError(f"--results {options.results}: would be written over {given[0]}; choose another name")
    if options.ties == "average" and options.no_hash:
        raise InputError("--ties average: is about hash codes; leave it or --no-hash out")
    query, gallery = _read(options.query), _read(options.gallery)
    _require_fit(query, gallery, options)
    options.bits = options.bits or min(MOST_BITS, query["features"].shape[1])
    if not options.keep_norms:
        query, gallery = _normalised(query), _normalised(gallery)
    started = time.perf_counter()
    scores = _scores(query, gallery, device, options)
    names = _class_names(query, gallery)
    first = next(iter(scores.values()))
    results = {
        "protocol": "features as they are" if options.keep_norms else "features",
        "queries": len(query["labels"]),
        "gallery": len(gallery["labels"]),
        "without_positive": first.without_positive,
        "gallery_digest": _digest(gallery),
        "queries_matched_by": "path" if "paths" in query else "row",
        "files": {"query": str(options.query), "gallery": str(options.gallery)},
        "settings": {name: getattr(options, name) for name in ("keep_norms", "bits", "itq", "itq_fit", "ties")},
        **{ranking: found.summary() for ranking, found in scores.items()},
        "per_class": first.per_class(names),
        "seconds": {"metrics": round(time.perf_counter() - started, 3)},
    }
    is_real = query["features"].dtype != bool
    test = ReportData(
        title=f"{options.query.stem} in {options.gallery.stem}",
        facts=facts_of(results),
        scores=scores,
        query_labels=query["labels"],
        gallery_labels=gallery["labels"],
        names=names,
        query_features=query["features"].astype(np.float32) if is_real else None,
        gallery_features=gallery["features"].astype(np.float32) if is_real else None,
        thumbnail=None,
    )
    if options.results is None:
        print_table(test)
    else:
        query_names = query.get("paths", np.arange(len(query["labels"])).astype(str)).tolist()
        write_outcome(options.results, Outcome(results, query_names, test), with_report=not options.no_report)
    return results


def _scores(query: dict, gallery: dict, device: torch.device, options: argparse.Namespace) -> dict[str, Scores]:
    features = [torch.from_numpy(arrays["features"]).to(device) for arrays in (query, gallery)]
    labels = [torch.from_numpy(arrays["labels"]) for arrays in (query, gallery)]
    if features[0].dtype == torch.bool:
        print("features are codes: ranked as they are, by Hamming distance")
        return {
            "hash": evaluate_ranking("hamming", features[0], labels[0], features[1], labels[1], progress=True, ties=options.ties)
        }
    scores = {"real": evaluate_ranking("euclidean", features[0], labels[0], features[1], labels[1], progress=True)}
    if not options.no_hash:
        print(f"hash: {options.bits}-bit codes by ITQ")
        itq = {"update": options.itq, "fit": options.itq_fit}
        scores["hash"] = hash_scores(features[0], labels[0], features[1], labels[1], options.bits, options.ties, **itq)
    return scores


def _read(path: Path) -> dict[str, np.ndarray]:
    arrays = read_npz(path, required=("features", "labels"), optional=("paths", "names"), advice=ADVICE)
    arrays["features"] = _as_codes(arrays["features"])
    features, labels = arrays["features"], arrays["labels"]
    if features.ndim != 2 or not (features.dtype == bool or features.dtype.kind == "f"):
        raise InputError(f"{path}: `features` is {features.dtype} of shape {features.shape}; {ADVICE}")
    if not features.size:
        raise InputError(f"{path}: `features` has shape {features.shape}, so there is nothing to rank; give at least one row")
    if labels.shape != features.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(f"{path}: `labels` is {labels.dtype} of shape {labels.shape} for {len(features)} rows; {ADVICE}")
    classes = len(arrays["names"]) if "names" in arrays else LARGEST_LABEL + 1
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        raise InputError(f"{path}: label {labels[outside[0]]} of row {outside[0]} is outside 0 to {classes - 1}; {ADVICE}")
    for name, shape in (("paths", labels.shape), ("names", (classes,))):
        if name in arrays and (arrays[name].dtype.kind != "U" or arrays[name].shape != shape):
            raise InputError(f"{path}: `{name}` is {arrays[name].dtype} of shape {arrays[name].shape}; make it text, one each")
        if name in arrays:
            values, counts = np.unique(arrays[name], return_counts=True)
            if (counts > 1).any():
                raise InputError(f"{path}: `{name}` holds {str(values[counts > 1][0])!r} twice; give each its own")
    if features.dtype != bool:
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            raise InputError(f"{path}: row {np.argmin(finite)} of `features` holds NaN or infinity; look at what made it")
        arrays["features"] = features.astype(np.float64 if features.itemsize > 4 else np.float32)
    return {**arrays, "labels": labels.astype(np.int64)}


def _as_codes(features: np.ndarray) -> np.ndarray:
    """Integers of 0 and 1, or of -1 and 1, as bool codes; anything else as it is."""
    is_integer = features.dtype.kind in "iu" and features.size
    if is_integer and (((features == 0) | (features == 1)).all() or (np.abs(features) == 1).all()):
        return features > 0
    return features


def _normalised(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """With rows of length 1 in float64; rows of zeros stay. Bool codes are left alone."""
    rows = arrays["features"]
    if rows.dtype == bool:
        return arrays
    rows = rows.astype(np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    rows /= np.where(largest > 0, largest, 1)  # first, or the squares of very large or small numbers would be lost
    length = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return {**arrays, "features": rows / np.where(length > 0, length, 1)}


def _require_fit(query: dict, gallery: dict, options: argparse.Namespace) -> None:
    (asked, searched), files = (query["features"], gallery["features"]), f"{options.query} and {options.gallery}"
    if asked.shape[1] != searched.shape[1]:
        raise InputError(f"{files}: rows of {asked.shape[1]} and {searched.shape[1]} numbers; make both with one model")
    if (asked.dtype == bool) != (searched.dtype == bool):
        raise InputError(f"{files}: one holds codes, the other real features; give two of a kind")
    if options.bits is not None and asked.dtype == bool:
        raise InputError(f"--bits {options.bits}: the features are codes already and are ranked as they are; leave it out")
    if options.bits is not None and options.bits > asked.shape[1]:
        raise InputError(f"--bits {options.bits}: more than the {asked.shape[1]} numbers of a row; ask for fewer")


def _digest(gallery: dict) -> str:
    """The same for the same photos in the same order, as far as labels and paths tell."""
    digest = hashlib.sha256(gallery["labels"].tobytes())
    for path in gallery.get("paths", np.array([], dtype=str)).tolist():
        digest.update(f"{path}\n".encode("utf-8", errors="replace"))
    return digest.hexdigest()[:16]


def _class_names(query: dict, gallery: dict) -> dict[int, str]:
    """By label; a class without a name is called by its label."""
    known = gallery.get("names", query.get("names", np.array([], dtype=str))).tolist()
    labels = np.union1d(query["labels"], gallery["labels"]).tolist()
    return {label: known[label] if label < len(known) else str(label) for label in labels}
