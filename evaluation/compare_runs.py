"""Printing tested runs side by side: the work of `compare.py`."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.result_table import write_results
from evaluation.runs_table import format_comparison
from evaluation.tested_runs import Run, other_settings, read_runs, why_not_compared
from retrieval.metrics import METRICS
from retrieval.statistics import DRAWS, LEVEL, RESAMPLES, Estimate, compare_figures, query_weights
from utils.errors import InputError
from utils.files import require_writable
from utils.parser import Group, Parser, non_negative_int, path_argument, whole_number

SHOWN = ("map_all_released", "p100_released")  # what the papers publish
RESAMPLES_ADMITTED = whole_number(100, 20_000)  # fewer leave the ends of an interval to chance, more fill the memory


def comparison_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parsed options of `compare.py`; a mistake exits with code 2 after one line."""
    about = "Compare tested runs, each with the first: figures with 95 % intervals over queries, differences, p values."
    parser = Parser(about, operands="RUN [RUN ...]")
    parser.add_argument("runs", nargs="+", type=path_argument, metavar="RUN", help="a run folder, or a results file")
    shown = Group(parser, "what to show")
    keys = f"keys of a results file, e.g. map_all p100, or all; None: {' '.join(SHOWN)}"
    shown.add("--figures", nargs="+", type=_figure, default=None, help=keys)
    shown.add("--json", type=path_argument, default=None, help="also write the numbers to this file")
    chance = Group(parser, "chance")
    chance.add("--resamples", type=RESAMPLES_ADMITTED, default=RESAMPLES, help="redraws of the queries for the intervals")
    chance.add("--seed", type=non_negative_int, default=0, help="of the redraws and of the test's signs")
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
    lacking = {run.number: lacking_figures(run, keys) for run in runs}
    for run in runs:
        _require_figures(run, keys, lacking[run.number], options.figures or ())
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
        "runs": [_of_run(runs[0], run, reason, lacking[run.number]) for run, reason in zip(runs, reasons, strict=True)],
        "figures": [_of_figure(*place, estimates[place]) for place in _in_table_order(estimates, keys)],
    }
    print(format_comparison(results))
    if options.json is not None:
        write_results(options.json, results)
        print(f"numbers: {options.json}")
    return results


def chosen_figures(keys: Sequence[str] | None) -> list[str]:
    """The keys of METRICS to show, each once, in the order asked for."""
    return list(METRICS) if keys and "all" in keys else list(dict.fromkeys(keys or SHOWN))


def estimate(runs: Sequence[Run], keys: Sequence[str], resamples: int, seed: int) -> dict[tuple[int, str, str], Estimate]:
    """{(run number, ranking, key of METRICS): Estimate} of runs with equal queries, each compared with the first of them.

    A ranking or figure that a run lacks has no entry, and one that only the first lacks has no difference.
    """
    labels = runs[0].queries.labels
    weights = {mean: query_weights(labels, mean) for mean in ("query", "class")}
    shares = {}
    for run in runs:
        for ranking, figures in run.queries.figures.items():
            for key in keys:
                figure = METRICS[key]
                if figure.per_query in figures:
                    shares[run.number, ranking, key] = figures[figure.per_query] * weights[figure.mean]
    places = {place: column for column, place in enumerate(shares)}
    baselines = [places.get((runs[0].number, *place[1:])) if place[0] != runs[0].number else None for place in shares]
    estimates = compare_figures(np.stack(list(shares.values()), axis=1), baselines, labels, resamples, DRAWS, seed)
    return dict(zip(shares, estimates, strict=True))


def lacking_figures(run: Run, keys: Sequence[str]) -> dict[str, str]:
    """{key of METRICS: the array, as `real/p100`, that the run's file lacks for it}; an older test kept fewer."""
    lacking = {}
    for key in keys:
        per_query = METRICS[key].per_query
        without = [ranking for ranking, figures in run.queries.figures.items() if per_query not in figures]
        if without:
            lacking[key] = f"{without[0]}/{per_query}"
    return lacking


def _require_figures(run: Run, keys: Sequence[str], lacking: dict[str, str], by_name: Sequence[str]) -> None:
    """Raise InputError if the run lacks a figure that `--figures` names, or all figures that would be shown."""
    refused = list(lacking) if len(lacking) == len(keys) else [key for key in lacking if key in by_name]
    if refused:
        lacks = f"`{lacking[refused[0]]}`, which {refused[0]} is made of"
        raise InputError(f"{run.file.with_suffix('.npz')}: lacks {lacks}; repeat the test, or leave {refused[0]} out")


def _figure(text: str) -> str:
    if text in METRICS or text == "all":
        return text
    near = difflib.get_close_matches(text, [*METRICS, "all"], n=1, cutoff=0)[0]
    # the option would take every word that follows it
    runs_first = "; runs stand before --figures" if Path(text).exists() else ""
    raise argparse.ArgumentTypeError(f"unknown figure {text[:40]!r}; did you mean {near}?{runs_first}")


def _in_table_order(places: Iterable[tuple[int, str, str]], keys: Sequence[str]) -> list[tuple[int, str, str]]:
    """By ranking as the files name them, then by figure as asked for, then by run."""
    places = list(places)
    rankings = list(dict.fromkeys(ranking for _, ranking, _ in places))
    return sorted(places, key=lambda place: (rankings.index(place[1]), keys.index(place[2]), place[0]))


def _of_run(first: Run, run: Run, reason: str | None, lacking: Iterable[str]) -> dict[str, Any]:
    named = {"run": run.number, "name": run.name, "results": run.file, **run.about}
    counts = {"queries": len(run.queries.names), "matched_by_row": run.matched_by_row, "left_out": run.left_out}
    notes = {"not_compared": reason, "other_settings": other_settings(first, run), "figures_lacking": list(lacking)}
    return named | counts | notes


def _of_figure(run: int, ranking: str, key: str, found: Estimate) -> dict[str, Any]:
    difference = found.difference._asdict() if found.difference else None
    named = {"ranking": ranking, "figure": key, "text": METRICS[key].text, "run": run}
    return named | {"value": found.value, "low": found.low, "high": found.high, "difference": difference}
