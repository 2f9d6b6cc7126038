"""What a test writes: the printed table, `results.json`, per-query values, a picture and a report."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.per_query import write_per_query
from report.page import ReportData, write_report
from report.photo_grid import write_photo_grid
from retrieval.metrics import METRICS
from retrieval.ties import TIE_DRAWS
from utils.errors import InputError
from utils.files import atomic_write, require_writable

SIDE_FILES = (".npz", ".png")  # beside the results, and replaced together with them


def format_table(results: Mapping[str, Mapping[str, float]]) -> str:
    """One line per metric, one column per ranking, below 80 columns; results: {"real": Scores.summary(), "hash": ...}."""
    width = max(len(metric.text) for metric in METRICS.values())
    heading = f"{'':{width}}" + "".join(f"{ranking:>9}" for ranking in results)
    lines = [heading, "-" * len(heading)]
    for key, metric in METRICS.items():
        lines.append(f"{metric.text:{width}}" + "".join(f"{values[key]:>9.4f}" for values in results.values()))
    return "\n".join(lines)


def print_table(test: ReportData) -> None:
    """Print the table and the notes on it."""
    print(format_table({ranking: scores.summary() for ranking, scores in test.scores.items()}))
    left_out = test.main.without_positive
    if left_out:
        print(f"note: {left_out} queries have no photo of their class in the gallery and are left out")
    found, photos = np.unique(test.gallery_labels, return_counts=True)
    fewest = photos[np.isin(found, test.query_labels)].min(initial=100)
    if fewest < 100:
        of_gallery = fewest / min(100, photos.sum())
        released = f" (released: {of_gallery:g})" if of_gallery > fewest / 100 else ""
        print(f"note: a class has {fewest} photos, so its P@100 cannot exceed {fewest / 100:g}{released}")
    for ranking, scores in test.scores.items():
        if scores.ties == "average":
            orders = f"all orders of photos at equal distance; for interpolated AP, over {TIE_DRAWS} random orders"
            print(f"{ranking}: each metric is its mean over {orders}")


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write a dictionary as JSON in one step. Raises InputError if the file cannot be written."""
    text = json.dumps(results, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def require_free(results_file: Path) -> None:
    """Raise InputError, before any work, if the files cannot be written or would replace files that no test wrote."""
    require_writable(results_file, option="--results", suffix=".json")
    for side in (results_file.with_suffix(suffix) for suffix in SIDE_FILES):
        if side.exists() and not results_file.exists():
            raise InputError(f"--results {results_file}: {side.name} exists and was not written by a test; choose another name")


def write_outcome(
    results_file: Path, results: Mapping[str, Any], query_names: Sequence[str], test: ReportData, with_report: bool = True
) -> None:
    """Print the table; write `results` as NAME.json, the values of each query as NAME.npz, NAME.png and the report beside it."""
    picture, report = results_file.with_suffix(".png"), report_of(results_file)
    print_table(test)
    write_results(results_file, results)
    write_per_query(results_file.with_suffix(".npz"), test.scores, _distinct(query_names))
    print(f"metrics: {results_file}, those of each query: {results_file.with_suffix('.npz').name}")
    try:
        if test.thumbnail is not None:
            write_photo_grid(picture, test.main, test.gallery_labels, test.names, test.thumbnail)
            print(f"picture: {picture}")
        if with_report:
            write_report(report, test)
            print(f"report:  {report}")
    except ImportError as error:
        print(f"no picture or report: pip install {error.name}")


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, each repetition of one with its number: a list may hold an image twice."""
    mentions: Counter[str] = Counter()
    distinct = []
    for name in names:
        mentions[name] += 1
        distinct.append(name if mentions[name] == 1 else f"{name} #{mentions[name]}")
    return distinct


def report_of(results_file: Path) -> Path:
    """`report/index.html` beside `results.json`, and `NAME_report/index.html` beside any other NAME.json."""
    name = "report" if results_file.name == "results.json" else f"{results_file.stem}_report"
    return results_file.parent / name / "index.html"


def facts_of(results: Mapping[str, Any]) -> dict[str, str]:
    """The facts that the report states below its title."""
    facts = {name: str(results[name]) for name in ("protocol", "queries", "gallery", "checkpoint") if name in results}
    return facts | {name.replace("_", " "): str(value) for name, value in results["settings"].items()}
