"""Reading the results of tests, and whether two tests can be compared."""

import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.per_query import PerQuery, read_per_query
from models.names import CSE_RESNET50
from retrieval.metrics import METRICS
from retrieval.statistics import query_weights
from utils.errors import InputError
from utils.files import read_json
from utils.parser import LARGEST
from utils.text import printable

NAME_WIDTH = 26  # columns of a run's name: the table stays below 100
LARGEST_RESULTS = 16 * 2**20  # bytes
LONGEST = 500  # letters of a text in a results file


@dataclass(frozen=True)
class Run:
    """One tested run. `queries` are those that count, sorted by class and name, so that equal sets have equal arrays."""

    number: int  # place on the command line, from 1
    name: str
    file: Path
    about: dict[str, Any]  # must agree between runs: dataset, split, protocol, gallery size and digest; None if not stated
    settings: dict[str, Any]  # may differ between runs; differences are printed
    queries: PerQuery
    matched_by_row: bool  # the queries have no names but their row in a file
    left_out: int  # queries without a photo of their class in the gallery


def read_runs(arguments: Sequence[Path]) -> list[Run]:
    """The runs in run folders or results files. Raises InputError naming the first that is unusable."""
    files = [_results_file(argument) for argument in arguments]
    return [_read_run(number, name, file) for number, (name, file) in enumerate(zip(short_names(files), files, strict=True), 1)]


def why_not_compared(first: Run, run: Run) -> str | None:
    """The reason why a paired test is meaningless, or None: both must rank the same gallery for the same queries."""
    for key, theirs in first.about.items():
        if run.about[key] != theirs:
            return f"its {key} is {run.about[key]!r}, that of run {first.number} {theirs!r}"
    if np.array_equal(run.queries.names, first.queries.names) and np.array_equal(run.queries.labels, first.queries.labels):
        return None
    mine, other = (dict(zip(part.names.tolist(), part.labels.tolist(), strict=True)) for part in (run.queries, first.queries))
    for has, lacks, who, whom in ((mine, other, "it", f"run {first.number}"), (other, mine, f"run {first.number}", "it")):
        only = sorted(has.keys() - lacks.keys())
        if only:
            return f"other queries: {len(only)} that {who} counts are not among those of {whom}, e.g. {only[0]!r}"
    name = next(name for name in sorted(mine) if mine[name] != other[name])
    return f"other classes: query {name!r} has class id {mine[name]}, in run {first.number} {other[name]}"


def other_settings(first: Run, run: Run) -> str | None:
    """The settings that differ between the two tests, in words; a comparison may be about just these."""
    keys = [key for key in {**first.settings, **run.settings} if first.settings.get(key) != run.settings.get(key)]
    return ", ".join(f"{key} {run.settings.get(key)!r} for {first.settings.get(key)!r}" for key in keys) or None


def short_names(files: Sequence[Path]) -> list[str]:
    """A name of at most NAME_WIDTH characters for each results file: the part of its path that differs from the others.

    Equal trailing folders are dropped (run folders of equal options have equal names), then as few folders are kept as tell the
    paths apart. Only equal files, and long names that differ in the middle, can get equal names.
    """
    paths = [_folders(file) for file in files]
    while len(set(paths)) > 1 and min(map(len, paths)) > 1 and len({path[-1] for path in paths}) == 1:
        paths = [path[:-1] for path in paths]
    depth = 1
    while len({path[-depth:] for path in paths}) < len(set(paths)):
        depth += 1
    names = ["/".join(path[-depth:]) for path in paths]
    if max(map(len, names)) <= NAME_WIDTH:
        return names
    # the released folder names are lists of options joined by _
    parts = [re.split(r"(?<=[_/])", name) for name in names]
    start, end = _shared(parts), _shared([part[::-1] for part in parts])
    names = [_without_ends(part, start, end) for part in parts]
    half = (NAME_WIDTH - 1) // 2
    return [name if len(name) <= NAME_WIDTH else f"{name[:half]}…{name[-half:]}" for name in names]


def _folders(file: Path) -> tuple[str, ...]:
    path = Path(os.path.abspath(file))  # not resolved: a link keeps the name that the user gave it
    return (path.parent if path.name == "results.json" else path.with_suffix("")).parts[1:] or ("/",)


def _shared(parts: list[list[str]]) -> int:
    """Number of leading items that all have in common, at least one item of each not counted."""
    same = itertools.takewhile(lambda items: len(set(items)) == 1, zip(*parts, strict=False))
    return min(len(list(same)), min(map(len, parts)) - 1)


def _without_ends(part: list[str], start: int, end: int) -> str:
    end = min(end, len(part) - start - 1)
    return f"{'…' if start else ''}{''.join(part[start : len(part) - end])}{'…' if end else ''}"


def _results_file(argument: Path) -> Path:
    file = argument / "results.json" if argument.is_dir() else argument
    if not file.is_file():
        below = sorted(str(path.parent) for path in argument.glob("*/results.json"))
        other = f", or name one of the runs in it: {', '.join(below[:5])}" if below else ""
        raise InputError(f"{file}: no such file; run the test script on that run first{other}")
    if file.suffix != ".json":
        raise InputError(f"{file}: not a results file; name a run folder, or the .json that a test script wrote")
    return file


def _read_run(number: int, name: str, file: Path) -> Run:
    content, per_query = read_results(file), file.with_suffix(".npz")
    queries = _with_p100_within_gallery(read_per_query(per_query), content["gallery"])
    counted = np.flatnonzero(queries.has_positive)
    if content["queries"] != len(queries.names) or not _agree(content, queries.rows(counted)):
        raise InputError(f"{file} and {per_query.name} are not of the same test; repeat the test, which writes both")
    by_class = counted[np.lexsort((queries.names[counted], queries.labels[counted]))]
    about = _printable({key: content.get(key) for key in ("dataset", "split", "protocol", "gallery", "gallery_digest")})
    settings = _printable(content["settings"]) if isinstance(content.get("settings"), dict) else {}
    if "image_size" in settings:
        settings.setdefault("arch", CSE_RESNET50)  # files from before there were others
    matched_by_row = content.get("queries_matched_by") == "row"
    return Run(number, name, file, about, settings, queries.rows(by_class), matched_by_row, len(queries.names) - len(counted))


def read_results(file: Path) -> dict[str, Any]:
    """The content of a results file. Raises InputError if it cannot be read or no test script wrote it."""
    try:
        content = read_json(file, LARGEST_RESULTS)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); repeat the test, or name another file") from error
    except ValueError as error:
        raise InputError(f"{file}: not a results file of a test script; repeat the test, or name another file") from error
    for key in ("queries", "gallery"):
        value = content.get(key) if isinstance(content, dict) else None
        if type(value) is not int or not 0 < value < LARGEST:
            raise InputError(f"{file}: has no usable `{key}`, so it is not what a test script writes; repeat the test")
    return content


def _printable(facts: dict[str, Any]) -> dict[str, Any]:
    """Text, cut where it is very long, and numbers of a file, safe to print; None for any other value."""
    simple = {key: value if isinstance(value, str | int | float) else None for key, value in facts.items()}
    return {
        printable(key[:LONGEST]): printable(value[:LONGEST]) if isinstance(value, str) else value for key, value in simple.items()
    }


def _with_p100_within_gallery(queries: PerQuery, gallery: int) -> PerQuery:
    """Older tests wrote only `p100`; both are equal if the gallery has 100 photos or more."""
    if gallery < 100:
        return queries
    values = {ranking: dict(part) for ranking, part in queries.values.items()}
    for part in values.values():
        if "p100" in part:
            part.setdefault("p100_within_gallery", part["p100"])
    return replace(queries, values=values)


def _agree(content: dict[str, Any], counted: PerQuery) -> bool:
    """Whether the metrics of the results file are means of the per-query file: one of the two may be of an older test."""
    weights = {mean: query_weights(counted.labels, mean) for mean in ("query", "class")}
    for ranking, values in counted.values.items():
        stated = content[ranking] if isinstance(content.get(ranking), dict) else {}
        for key, metric in METRICS.items():
            if isinstance(stated.get(key), float) and metric.per_query in values:
                mean = weights[metric.mean] @ values[metric.per_query]
                if not abs(mean - stated[key]) < 1e-6:  # never true of NaN
                    return False
    return True
