"""Reading what tests left in run folders, and whether two of them can be compared."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.per_query import PerQuery, read_per_query
from retrieval.metrics import METRICS
from retrieval.statistics import query_weights
from utils.errors import InputError
from utils.parser import LARGEST

NAME_WIDTH = 26  # columns for a run's name: the table stays below 100
LARGEST_RESULTS = 16 * 2**20  # bytes


@dataclass(frozen=True)
class Run:
    """One tested run. `queries` are those that count, by class and then by name, so that equal sets have equal arrays."""

    number: int  # place on the command line, from 1
    name: str
    file: Path
    about: dict[str, Any]  # what must agree between runs: dataset, split, protocol, gallery size; None where not stated
    settings: dict[str, Any]  # what may differ between runs, and is said where it does
    queries: PerQuery
    matched_by_row: bool  # its queries have no names but their place in a file
    left_out: int  # queries without a photo of their class in the gallery


def read_runs(arguments: Sequence[Path]) -> list[Run]:
    """The runs behind run folders or results files, in this order. Raises InputError naming the first that is unusable."""
    files = [_results_file(argument) for argument in arguments]
    names = short_names(files)
    return [_read_run(number, *pair) for number, pair in enumerate(zip(names, files, strict=True), start=1)]


def why_not_compared(first: Run, run: Run) -> str | None:
    """Why a paired test of these two would mean nothing, or None: they must rank the same gallery for the same queries."""
    for key in first.about:
        if run.about[key] != first.about[key]:
            mine, theirs = _told_apart(run.about[key], first.about[key])
            return f"its {key} is {mine}, that of run {first.number} {theirs}"
    mine, theirs = run.queries, first.queries
    if np.array_equal(mine.names, theirs.names) and np.array_equal(mine.labels, theirs.labels):
        return None
    mine, theirs = (dict(zip(part.names.tolist(), part.labels.tolist(), strict=True)) for part in (mine, theirs))
    for has, lacks, who, whom in ((mine, theirs, "it", f"run {first.number}"), (theirs, mine, f"run {first.number}", "it")):
        only = sorted(has.keys() - lacks.keys())
        if only:
            return f"other queries: {len(only)} that {who} counts are not among those of {whom}, e.g. {_said(only[0])}"
    name = next(name for name in sorted(mine) if mine[name] != theirs[name])
    return f"other classes: query {_said(name)} has class id {mine[name]}, in run {first.number} {theirs[name]}"


def other_settings(first: Run, run: Run) -> str | None:
    """What the two tests did differently, in words; a comparison may be about just that."""
    keys = [key for key in {**first.settings, **run.settings} if first.settings.get(key) != run.settings.get(key)]
    pairs = ((key[:40], *_told_apart(run.settings.get(key), first.settings.get(key))) for key in keys)
    return ", ".join(f"{key} {mine} for {theirs}" for key, mine, theirs in pairs) or None


def short_names(files: Sequence[Path]) -> list[str]:
    """A name of at most NAME_WIDTH characters for each results file: what tells its path from the others'.

    Equal ends of all paths are left out (run folders of the same options have the same name), then as few folders are kept
    as tell them apart. Only equal files, and long names that differ in the middle, can come out equal.
    """
    paths = [_named_by(file) for file in files]
    while len(set(paths)) > 1 and min(map(len, paths)) > 1 and len({path[-1] for path in paths}) == 1:
        paths = [path[:-1] for path in paths]
    depth = 1
    while len({path[-depth:] for path in paths}) < len(set(paths)):
        depth += 1
    names = ["/".join(path[-depth:]) for path in paths]
    if max(map(len, names)) <= NAME_WIDTH:
        return names
    # the released folder names are lists of options joined by _
    parts = [tuple(re.split(r"(?<=[_/])", name)) for name in names]
    same_start, same_end = _same(parts), _same([part[::-1] for part in parts])
    names = [_without_ends(part, same_start, same_end) for part in parts]
    half = (NAME_WIDTH - 1) // 2
    return [name if len(name) <= NAME_WIDTH else f"{name[:half]}…{name[-half:]}" for name in names]


def _results_file(argument: Path) -> Path:
    if argument.is_dir():
        file = argument / "results.json"
        if not file.exists():
            below = sorted(str(path.parent) for path in argument.glob("*/results.json"))
            other = f", or name one of the runs in it: {', '.join(below[:5])}" if below else ""
            raise InputError(f"{file}: no such file; run the test script on that run first{other}")
        return file
    if not argument.is_file():
        raise InputError(f"{argument}: no such run; run the test script first, then name its run folder or its results file")
    if argument.suffix != ".json":
        raise InputError(f"{argument}: not a results file; name a run folder, or the .json that a test script wrote")
    return argument


def _read_run(number: int, name: str, file: Path) -> Run:
    content = _read_results(file)
    per_query = file.with_suffix(".npz")
    queries = _with_p100_within_gallery(read_per_query(per_query), content["gallery"])
    if content["queries"] != len(queries.names) or not _agree(content, queries):
        raise InputError(f"{file} and {per_query.name} are not of the same test; repeat the test, which writes both")
    counted = np.flatnonzero(queries.has_positive)
    by_class = counted[np.lexsort((queries.names[counted], queries.labels[counted]))]
    about = _stated({key: content.get(key) for key in ("dataset", "split", "protocol", "gallery", "gallery_digest")})
    settings = _stated(content["settings"]) if isinstance(content.get("settings"), dict) else {}
    matched_by_row = content.get("queries_matched_by") == "row"
    return Run(number, name, file, about, settings, _taken(queries, by_class), matched_by_row, len(queries.names) - len(counted))


def _read_results(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > LARGEST_RESULTS:
            raise ValueError("too large")
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); repeat the test, or name another file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not a results file of a test script; repeat the test, or name another file") from error
    for key in ("queries", "gallery"):
        value = content.get(key) if isinstance(content, dict) else None
        if type(value) is not int or not 0 < value < LARGEST:
            raise InputError(f"{file}: has no usable `{key}`, so it is not what a test script writes; repeat the test")
    return content


def _stated(facts: dict[str, Any]) -> dict[str, str | int | float | None]:
    """What a file says of a test, as far as it can be printed: a terminal obeys some characters."""
    simple = {key: value if isinstance(value, str | int | float) else None for key, value in facts.items()}
    return {_printable(key): _printable(value) if isinstance(value, str) else value for key, value in simple.items()}


def _printable(text: str) -> str:
    return "".join(filter(str.isprintable, text))


def _with_p100_within_gallery(queries: PerQuery, gallery: int) -> PerQuery:
    """Tests that did not keep this figure yet kept `p100`, which is the same where 100 photos or more are ranked.

    gallery: photos ranked for each query; results files count it without photos that are queries.
    """
    if gallery < 100:
        return queries
    figures = {
        ranking: {"p100_within_gallery": part["p100"], **part} if "p100" in part else part
        for ranking, part in queries.figures.items()
    }
    return replace(queries, figures=figures)


def _agree(content: dict[str, Any], queries: PerQuery) -> bool:
    """Whether the figures of the results file are means of the per-query file's: one of the two may be of an older test."""
    counted = _taken(queries, np.flatnonzero(queries.has_positive))
    weights = {mean: query_weights(counted.labels, mean) for mean in ("query", "class")}
    for ranking, values in counted.figures.items():
        stated = content.get(ranking)
        for key, figure in METRICS.items():
            value = stated.get(key) if isinstance(stated, dict) else None
            if isinstance(value, float) and figure.per_query in values:
                mean = weights[figure.mean] @ values[figure.per_query]
                if not abs(mean - value) < 1e-6:  # never true of NaN
                    return False
    return True


def _taken(queries: PerQuery, places: np.ndarray) -> PerQuery:
    figures = {r: {name: values[places] for name, values in part.items()} for r, part in queries.figures.items()}
    return PerQuery(queries.names[places], queries.labels[places], queries.has_positive[places], figures)


def _named_by(file: Path) -> tuple[str, ...]:
    path = Path(os.path.abspath(file))  # not resolved: a link has the name the user gave it
    return (path.parent if path.name == "results.json" else path.with_suffix("")).parts[1:] or ("/",)


def _same(parts: Sequence[Sequence[str]]) -> int:
    """How many leading items all have in common, one item at least left to each."""
    longest = min(map(len, parts)) - 1
    return next((place for place in range(longest) if len({part[place] for part in parts}) > 1), longest)


def _without_ends(part: tuple[str, ...], start: int, end: int) -> str:
    end = min(end, len(part) - start - 1)
    kept = "".join(part[start : len(part) - end])
    return f"{'…' if start else ''}{kept}{'…' if end else ''}"


def _said(value: Any) -> str:
    """A value out of a file, short and on one line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _told_apart(one: Any, other: Any) -> tuple[str, str]:
    """Both as `_said`, without the beginning that long texts have in common."""
    if isinstance(one, str) and isinstance(other, str):
        common = _same([one, other])
        if common > 40:
            return _said("…" + one[common - 20 :]), _said("…" + other[common - 20 :])
    return _said(one), _said(other)
