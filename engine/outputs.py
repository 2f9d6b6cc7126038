"""What a test leaves: the printed table, figures as JSON and per query, a picture, a report."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.metrics import Scores
from retrieval.per_query import write_per_query
from retrieval.report import format_table, retrieval_grid, write_results
from retrieval.report_page import ReportData, write_report
from retrieval.ties import TIE_DRAWS
from utils.errors import InputError
from utils.files import require_writable

SIDE_FILES = (".npz", ".png")  # beside the results, and replaced together with them


@dataclass(frozen=True)
class Outcome:
    """One test's results and what they were made of; `thumbnail` ("query" or "gallery", index) → (H, W, 3) uint8, if any."""

    title: str
    results: dict
    scores: dict[str, Scores]
    query_names: Sequence[str]
    query_labels: np.ndarray
    gallery_labels: np.ndarray
    names: Sequence[str] | dict[int, str]
    query_features: np.ndarray | None = None
    gallery_features: np.ndarray | None = None
    thumbnail: Callable[[str, int], np.ndarray] | None = None


def print_table(outcome: Outcome) -> None:
    """The table, and how many queries no figure counts."""
    print(format_table({ranking: scores.summary() for ranking, scores in outcome.scores.items()}))
    left_out = next(iter(outcome.scores.values())).without_positive
    if left_out:
        print(f"note: {left_out} queries have no photo of their class in the gallery and are left out")
    found, photos = np.unique(outcome.gallery_labels, return_counts=True)
    fewest = photos[np.isin(found, outcome.query_labels)].min(initial=100)
    if fewest < 100:
        print(f"note: a class has {fewest} photos, so its P@100 cannot exceed {fewest / 100:g}")
    for ranking, scores in outcome.scores.items():
        if scores.ties == "average":
            print(
                f"{ranking}: each figure is its mean over all orders of photos at equal distance; for interpolated AP, over "
                f"{TIE_DRAWS} drawn orders"
            )


def require_free(results_file: Path) -> None:
    """Raise InputError, before any work is done, if the files cannot be written or would replace what no test wrote."""
    require_writable(results_file, option="--results", suffix=".json")
    for side in (results_file.with_suffix(suffix) for suffix in SIDE_FILES):
        if side.exists() and not results_file.exists():
            raise InputError(f"--results {results_file}: {side.name} is there already, of something else; choose another name")


def write_outcome(results_file: Path, outcome: Outcome, with_report: bool = True) -> None:
    """Print the table; write NAME.json, NAME.npz (each query's figures), NAME.png and the report beside it."""
    print_table(outcome)
    write_results(results_file, outcome.results)
    print(f"figures: {results_file}, each query's in {results_file.with_suffix('.npz').name}")
    write_per_query(results_file.with_suffix(".npz"), outcome.scores, _distinct(outcome.query_names))
    try:
        if outcome.thumbnail is not None:
            picture = results_file.with_suffix(".png")
            _draw(picture, outcome)
            print(f"picture: {picture}")
        if with_report:
            write_report(report_of(results_file), _report_data(outcome))
            print(f"report:  {report_of(results_file)}")
    except ImportError as error:
        print(f"no picture or report: pip install {error.name}")


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, each further mention of one with its number: a list may hold an image twice."""
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


def _report_data(outcome: Outcome) -> ReportData:
    results = outcome.results
    facts = {name: str(results[name]) for name in ("protocol", "queries", "gallery", "checkpoint") if name in results}
    facts |= {name.replace("_", " "): str(value) for name, value in results.get("settings", {}).items()}
    return ReportData(
        title=outcome.title,
        facts=facts,
        scores=outcome.scores,
        query_labels=outcome.query_labels,
        gallery_labels=outcome.gallery_labels,
        names=outcome.names,
        query_features=outcome.query_features,
        gallery_features=outcome.gallery_features,
        thumbnail=outcome.thumbnail,
    )


def _draw(path: Path, outcome: Outcome, rows: int = 12) -> None:
    """One query of each of the first classes, drawn at random but always the same, with its ten nearest photos."""
    generator = np.random.default_rng(0)
    every_class = np.unique(outcome.query_labels)
    classes = every_class[:rows]
    chosen = [generator.choice(np.flatnonzero(outcome.query_labels == label)) for label in classes]
    nearest = next(iter(outcome.scores.values())).nearest[chosen, :10]
    retrieval_grid(
        path,
        [outcome.thumbnail("query", index) for index in chosen],
        [[outcome.thumbnail("gallery", index) for index in row] for row in nearest],
        outcome.gallery_labels[nearest] == outcome.query_labels[chosen][:, None],
        [outcome.names[label] for label in classes],
        heading=f"Queries of {len(classes)} of {len(every_class)} classes, each with its ten nearest photos, real-valued ranking",
    )
