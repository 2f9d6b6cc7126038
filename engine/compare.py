"""Reading tested runs and printing them side by side: the work of `compare.py`."""

import argparse
import difflib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.options import LARGEST, Group, Parser, natural, positive
from retrieval.comparison import DRAWS, LEVEL, RESAMPLES, Estimate, compare_figures, query_weights
from retrieval.metrics import FIGURES
from retrieval.per_query import PerQuery, read_per_query
from retrieval.report import write_results
from utils.errors import InputError
from utils.files import require_writable

SHOWN = ("map_all_released", "p100_released")  # what the papers publish
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
    left_out: int  # queries without a photo of their class in the gallery


def comparison_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parsed options of `compare.py`; a mistake exits with code 2 after one line."""
    parser = Parser("Compare tested runs, each with the first: figures with 95 % intervals over queries, differences, p values.")
    parser.usage = "%(prog)s RUN [RUN ...] [options]"
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, or any JSON file a test script wrote")
    shown = Group(parser, "what to show")
    keys = f"keys of a results file, e.g. map_all p100, or all; None: {' '.join(SHOWN)}"
    shown.add("--figures", nargs="+", type=_figure, default=None, help=keys)
    shown.add("--json", type=Path, default=None, help="also write the numbers to this file")
    chance = Group(parser, "chance")
    chance.add("--resamples", type=_resamples, default=RESAMPLES, help="redraws of the queries for the intervals")
    chance.add("--seed", type=natural, default=0, help="of the redraws and of the test's signs")
    # intermixed: options may stand between the runs
    return parser.parse_intermixed_args(arguments)


def compare(options: argparse.Namespace) -> dict:
    """Read the runs, print the table, write `--json`, and return what that file holds. Raises InputError on unusable runs."""
    runs = read_runs(options.runs)
    if options.json is not None:
        require_writable(options.json, option="--json", suffix=".json")
        if any(options.json.resolve() == run.file.resolve() for run in runs):
            raise InputError(f"--json {options.json}: holds the results of a run; choose another file")
    keys = chosen_figures(options.figures)
    reasons = [why_not_compared(runs[0], run) for run in runs]
    # runs with the queries of the first are estimated together, on the same redraws; each of the others by itself
    together = [run for run, reason in zip(runs, reasons, strict=True) if reason is None]
    alone = [[run] for run, reason in zip(runs, reasons, strict=True) if reason is not None]
    estimates: dict[tuple[int, str, str], Estimate] = {}
    for group in (together, *alone):
        estimates |= estimate(group, keys, options.resamples, options.seed)
    results = {
        "baseline": 1,
        "level": LEVEL,
        "resamples": options.resamples,
        "draws": DRAWS,
        "seed": options.seed,
        "p_corrected_for_several_tests": False,
        "runs": [_of_run(runs[0], run, reason) for run, reason in zip(runs, reasons, strict=True)],
        "figures": [_of_figure(*place, estimates[place]) for place in _in_table_order(estimates, keys)],
    }
    print(format_comparison(results))
    if options.json is not None:
        write_results(options.json, results)
        print(f"numbers: {options.json}")
    return results


def chosen_figures(keys: Sequence[str] | None) -> list[str]:
    """The keys of FIGURES to show, each once, in the order asked for."""
    return list(FIGURES) if keys and "all" in keys else list(dict.fromkeys(keys or SHOWN))


def read_runs(arguments: Sequence[Path]) -> list[Run]:
    """The runs behind run folders or results files, in this order. Raises InputError naming the first that is unusable."""
    files = [_results_file(argument) for argument in arguments]
    names = short_names(files)
    return [_read_run(number, *pair) for number, pair in enumerate(zip(names, files, strict=True), start=1)]


def estimate(runs: Sequence[Run], keys: Sequence[str], resamples: int, seed: int) -> dict[tuple[int, str, str], Estimate]:
    """{(run number, ranking, key of FIGURES): Estimate} of runs with equal queries, each compared with the first of them.

    A ranking that a run lacks has no entry, and one that only the first lacks has no difference. Raises InputError if a
    run's file lacks a per-query figure.
    """
    labels = runs[0].queries.labels
    weights = {mean: query_weights(labels, mean) for mean in ("query", "class")}
    shares = {}
    for run in runs:
        for ranking, figures in run.queries.figures.items():
            for key in keys:
                figure = FIGURES[key]
                if figure.per_query not in figures:
                    lacks = f"`{ranking}/{figure.per_query}`, which {key} is made of"
                    raise InputError(f"{run.file.with_suffix('.npz')}: lacks {lacks}; repeat the test, or leave {key} out")
                shares[run.number, ranking, key] = figures[figure.per_query] * weights[figure.mean]
    places = {place: column for column, place in enumerate(shares)}
    baselines = [places.get((runs[0].number, *place[1:])) if place[0] != runs[0].number else None for place in shares]
    estimates = compare_figures(np.stack(list(shares.values()), axis=1), baselines, labels, resamples, DRAWS, seed)
    return dict(zip(shares, estimates, strict=True))


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


def format_comparison(results: dict) -> str:
    """The table below 100 columns, with the runs named above it and what the numbers mean below it, without a final break.

    results: what `compare` returns.
    """
    runs = results["runs"]
    lines = [_about(run) for run in runs] + [""]
    digits, width = len(str(len(runs))), max(len(run["name"]) for run in runs)
    has_test = any(entry["difference"] for entry in results["figures"])
    left = " " * (2 + digits + 1 + width)
    heading = f"{left}   value  95 % interval     " + ("  - run 1  95 % interval            p" if has_test else "")
    lines += [heading.rstrip(), "-" * len(heading)]
    block = None
    for entry in results["figures"]:
        if block != (entry["ranking"], entry["figure"]):
            block = entry["ranking"], entry["figure"]
            lines.append(f"{entry['ranking']}: {entry['text']}")
        name = runs[entry["run"] - 1]["name"]
        lines.append(f"  {entry['run']:>{digits}} {name:{width}}  {_numbers(entry)}".rstrip())
    return "\n".join([*lines, "", *_notes(results, has_test)])


def _figure(text: str) -> str:
    if text in FIGURES or text == "all":
        return text
    near = difflib.get_close_matches(text, [*FIGURES, "all"], n=1, cutoff=0)[0]
    # the option would take every word that follows it
    runs_first = "; runs stand before --figures" if Path(text).exists() else ""
    raise argparse.ArgumentTypeError(f"unknown figure {text[:40]!r}; did you mean {near}?{runs_first}")


def _resamples(text: str) -> int:
    value = positive(text)
    if not 100 <= value <= 20_000:  # fewer leave the ends of an interval to chance, more fill the memory
        raise argparse.ArgumentTypeError(f"must be from 100 to 20000, not {text[:40]!r}")
    return value


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
    queries = read_per_query(per_query)
    if content["queries"] != len(queries.names) or not _agree(content, queries):
        raise InputError(f"{file} and {per_query.name} are not of the same test; repeat the test, which writes both")
    counted = np.flatnonzero(queries.has_positive)
    by_class = counted[np.lexsort((queries.names[counted], queries.labels[counted]))]
    about = _stated({key: content.get(key) for key in ("dataset", "split", "protocol", "gallery")})
    settings = _stated(content["settings"]) if isinstance(content.get("settings"), dict) else {}
    return Run(number, name, file, about, settings, _taken(queries, by_class), len(queries.names) - len(counted))


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


def _agree(content: dict[str, Any], queries: PerQuery) -> bool:
    """Whether the figures of the results file are means of the per-query file's: one of the two may be of an older test."""
    counted = _taken(queries, np.flatnonzero(queries.has_positive))
    weights = {mean: query_weights(counted.labels, mean) for mean in ("query", "class")}
    for ranking, values in counted.figures.items():
        stated = content.get(ranking)
        for key, figure in FIGURES.items():
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


def _in_table_order(places: Iterable[tuple[int, str, str]], keys: Sequence[str]) -> list[tuple[int, str, str]]:
    """By ranking as the files name them, then by figure as asked for, then by run."""
    places = list(places)
    rankings = list(dict.fromkeys(ranking for _, ranking, _ in places))
    return sorted(places, key=lambda place: (rankings.index(place[1]), keys.index(place[2]), place[0]))


def _of_run(first: Run, run: Run, reason: str | None) -> dict[str, Any]:
    named = {"run": run.number, "name": run.name, "results": run.file, **run.about}
    counts = {"queries": len(run.queries.names), "left_out": run.left_out}
    return named | counts | {"not_compared": reason, "other_settings": other_settings(first, run)}


def _of_figure(run: int, ranking: str, key: str, found: Estimate) -> dict[str, Any]:
    difference = found.difference._asdict() if found.difference else None
    named = {"ranking": ranking, "figure": key, "text": FIGURES[key].text, "run": run}
    return named | {"value": found.value, "low": found.low, "high": found.high, "difference": difference}


def _about(run: dict[str, Any]) -> str:
    stated = [str(run[key])[:60] for key in ("dataset", "split", "protocol") if run[key] is not None]
    facts = [*stated, f"{run['queries']} queries", f"{run['gallery']} photos"]
    return f"run {run['run']}: {run['results']} ({', '.join(facts)})"


def _numbers(entry: dict[str, Any]) -> str:
    own = f"{entry['value']:.4f}  [{entry['low']:.4f}, {entry['high']:.4f}]"
    if entry["difference"] is None:
        return own
    value, low, high, p = (entry["difference"][key] for key in ("value", "low", "high", "p"))
    return f"{own}  {value:+.4f}  [{low:+.4f}, {high:+.4f}]  {p:.4f}"


def _notes(results: dict, has_test: bool) -> list[str]:
    redraws = f"{results['resamples']} redraws of the queries within each class, seed {results['seed']}"
    notes = [
        f"95 % intervals: percentile bootstrap, {redraws}.",
        "They speak of these trained networks and these classes; another training seed is outside them.",
    ]
    tests = sum(entry["difference"] is not None for entry in results["figures"])
    if has_test:
        notes.append(f"p: two-sided paired sign-flip test over queries, {results['draws']} draws" + (". " if tests == 1 else ";"))
    if tests > 1:
        strict = f"{0.05 / tests:.2g}"
        notes.append(f"   not corrected for the {tests} tests in this table (by Bonferroni, 0.05 for all is {strict} for each).")
    for run in results["runs"]:
        if run["not_compared"]:
            notes.append(f"run {run['run']} is not comparable with run 1, so not tested: {run['not_compared']}")
        if run["other_settings"]:
            notes.append(f"run {run['run']} was tested otherwise than run 1: {run['other_settings']}")
        if run["left_out"]:
            left_out = f"{run['left_out']} queries have no photo of their class in the gallery"
            notes.append(f"run {run['run']}: {left_out} and are left out")
    return notes + _lacking(results)


def _lacking(results: dict) -> list[str]:
    having: dict[str, set[int]] = {}
    for entry in results["figures"]:
        having.setdefault(entry["ranking"], set()).add(entry["run"])
    return [
        f"run {run['run']} has no {ranking} ranking" + (", so that of the others is not tested" if run["run"] == 1 else "")
        for ranking, numbers in having.items()
        for run in results["runs"]
        if run["run"] not in numbers
    ]


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
