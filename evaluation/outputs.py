"""What a test leaves: the printed table, figures as JSON and per query, a picture, a report."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.per_query import write_per_query
from evaluation.result_table import format_table, retrieval_grid, write_results
from report.page import ReportData, write_report
from retrieval.ties import TIE_DRAWS
from utils.errors import InputError
from utils.files import require_writable

SIDE_FILES = (".npz", ".png")  # beside the results, and replaced together with them


@dataclass(frozen=True)
class Outcome:
    """One test: what results.json holds, what tells its queries apart, and what they are made of."""

    results: dict
    query_names: Sequence[str]
    test: ReportData


def print_table(test: ReportData) -> None:
    """The table, and how many queries no figure counts."""
    print(format_table({ranking: scores.summary() for ranking, scores in test.scores.items()}))
    left_out = next(iter(test.scores.values())).without_positive
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
    print_table(outcome.test)
    write_results(results_file, outcome.results)
    print(f"figures: {results_file}, each query's in {results_file.with_suffix('.npz').name}")
    write_per_query(results_file.with_suffix(".npz"), outcome.test.scores, _distinct(outcome.query_names))
    try:
        if outcome.test.thumbnail is not None:
            picture = results_file.with_suffix(".png")
            _draw(picture, outcome.test)
            print(f"picture: {picture}")
        if with_report:
            write_report(report_of(results_file), outcome.test)
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


def facts_of(results: dict) -> dict[str, str]:
    """What the report says of a test under its title."""
    facts = {name: str(results[name]) for name in ("protocol", "queries", "gallery", "checkpoint") if name in results}
    return facts | {name.replace("_", " "): str(value) for name, value in results["settings"].items()}


def _draw(path: Path, test: ReportData, rows: int = 12) -> None:
    """One query of each of the first classes, drawn at random but always the same, with its ten nearest photos."""
    generator = np.random.default_rng(0)
    every_class = np.unique(test.query_labels)
    classes = every_class[:rows]
    chosen = [generator.choice(np.flatnonzero(test.query_labels == label)) for label in classes]
    nearest = next(iter(test.scores.values())).nearest[chosen, :10]
    retrieval_grid(
        path,
        [test.thumbnail("query", index) for index in chosen],
        [[test.thumbnail("gallery", index) for index in row] for row in nearest],
        test.gallery_labels[nearest] == test.query_labels[chosen][:, None],
        [test.names[label] for label in classes],
        heading=f"Queries of {len(classes)} of {len(every_class)} classes, each with its ten nearest photos, real-valued ranking",
    )
