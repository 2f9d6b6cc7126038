"""Compare tested runs: the work of `compare.py`. Also formats the printed table and the notes below it."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from evaluation.comparison_config import SHOWN, ResamplingOptions, ShownOptions
from evaluation.outputs import write_results
from evaluation.tested_runs import Run, other_settings, read_runs, why_not_compared
from retrieval.metrics import METRICS
from retrieval.statistics import DRAWS, LEVEL, Estimate, compare_metrics, query_weights
from utils.errors import InputError
from utils.files import require_writable


def compare(shown: ShownOptions, resampling: ResamplingOptions) -> dict[str, Any]:
    """Read the runs, print the table, write `--json`, and return what that file holds. Raises InputError on unusable runs."""
    runs = read_runs(shown.runs)
    if shown.json is not None:
        require_writable(shown.json, option="--json", suffix=".json")
        if any(shown.json.resolve() == run.file.resolve() for run in runs):
            raise InputError(f"--json {shown.json}: holds the results of a run; choose another file")
    keys = chosen_metrics(shown.figures)
    reasons = [why_not_compared(runs[0], run) for run in runs]
    # comparable runs share the resamples; each of the others is estimated by itself
    groups = [[run for run, reason in zip(runs, reasons, strict=True) if reason is None]]
    groups += [[run] for run, reason in zip(runs, reasons, strict=True) if reason is not None]
    estimates: dict[tuple[int, str, str], Estimate] = {}
    for group in groups:
        estimates |= estimate(group, keys, resampling)
    rankings = list(dict.fromkeys(ranking for _, ranking, _ in estimates))
    in_table_order = sorted(estimates, key=lambda place: (rankings.index(place[1]), keys.index(place[2]), place[0]))
    results = {
        "baseline": 1,
        "level": LEVEL,
        "resamples": resampling.resamples,
        "draws": DRAWS,
        "seed": resampling.seed,
        "p_corrected_for_several_tests": False,
        "runs": [_run_entry(runs[0], run, reason, keys) for run, reason in zip(runs, reasons, strict=True)],
        "figures": [_metric_entry(*place, estimates[place]) for place in in_table_order],
    }
    print(format_comparison(results))
    if shown.json is not None:
        write_results(shown.json, results)
        print(f"numbers: {shown.json}")
    return results


def chosen_metrics(keys: Sequence[str] | None) -> list[str]:
    """The keys of METRICS to show, each once, in the order given."""
    return list(METRICS) if keys and "all" in keys else list(dict.fromkeys(keys or SHOWN))


def estimate(runs: Sequence[Run], keys: Sequence[str], resampling: ResamplingOptions) -> dict[tuple[int, str, str], Estimate]:
    """{(run number, ranking, key of METRICS): Estimate} of runs with equal queries, each compared with the first of them.

    A ranking or metric that a run lacks has no entry, and one that only the first lacks has no difference. Raises InputError if
    nothing is left.
    """
    labels = runs[0].queries.labels
    weights = {mean: query_weights(labels, mean) for mean in ("query", "class")}
    shares = {
        (run.number, ranking, key): values[METRICS[key].per_query] * weights[METRICS[key].mean]
        for run in runs
        for ranking, values in run.queries.values.items()
        for key in keys
        if METRICS[key].per_query in values
    }
    if not shares:
        raise InputError(
            f"{runs[0].file.with_suffix('.npz')}: lacks the values of {', '.join(keys)}; repeat the test, or leave the run out"
        )
    columns = {place: column for column, place in enumerate(shares)}
    first = runs[0].number
    baselines = [None if place[0] == first else columns.get((first, *place[1:])) for place in shares]
    stacked = np.stack(list(shares.values()), axis=1)
    estimates = compare_metrics(stacked, baselines, labels, resampling.resamples, DRAWS, resampling.seed)
    return dict(zip(shares, estimates, strict=True))


def _run_entry(first: Run, run: Run, reason: str | None, keys: Sequence[str]) -> dict[str, Any]:
    named = {"run": run.number, "name": run.name, "results": str(run.file), **run.about}
    counts = {"queries": len(run.queries.names), "matched_by_row": run.matched_by_row, "left_out": run.left_out}
    lacking = [key for key in keys if any(METRICS[key].per_query not in values for values in run.queries.values.values())]
    notes = {"not_compared": reason, "other_settings": other_settings(first, run), "figures_lacking": lacking}
    return named | counts | notes


def _metric_entry(run: int, ranking: str, key: str, found: Estimate) -> dict[str, Any]:
    difference = found.difference._asdict() if found.difference else None
    named = {"ranking": ranking, "figure": key, "text": METRICS[key].text, "run": run}
    return named | {"value": found.value, "low": found.low, "high": found.high, "difference": difference}


def format_comparison(results: dict[str, Any]) -> str:
    """The table, narrower than 100 columns, below the list of runs and above notes on its numbers; results: see `compare`."""
    runs = results["runs"]
    digits, width = len(str(len(runs))), max(len(run["name"]) for run in runs)
    tests = sum(entry["difference"] is not None for entry in results["figures"])
    heading = " " * (3 + digits + width) + "   value  95 % interval     "
    heading += "  - run 1  95 % interval            p\n" if tests else "\n"
    lines = [*map(_about, runs), "", heading.rstrip(), "-" * (len(heading) - 1)]
    for metric, entries in itertools.groupby(results["figures"], lambda entry: f"{entry['ranking']}: {entry['text']}"):
        rows = ((entry["run"], runs[entry["run"] - 1]["name"], _numbers(entry)) for entry in entries)
        lines += [metric, *(f"  {number:>{digits}} {name:{width}}  {numbers}" for number, name, numbers in rows)]
    notes = [*_statistics_notes(results, tests), *(note for run in runs for note in _run_notes(run, len(runs), tests))]
    return "\n".join([*lines, "", *notes, *_missing_rankings(results)])


def _about(run: dict[str, Any]) -> str:
    stated = [str(run[key])[:60] for key in ("dataset", "split", "protocol") if run[key] is not None]
    facts = ", ".join([*stated, f"{run['queries']} queries", f"{run['gallery']} photos"])
    return f"run {run['run']}: {run['results']} ({facts})"


def _numbers(entry: dict[str, Any]) -> str:
    numbers = f"{entry['value']:.4f}  [{entry['low']:.4f}, {entry['high']:.4f}]"
    difference = entry["difference"]
    return numbers + ("  {value:+.4f}  [{low:+.4f}, {high:+.4f}]  {p:.4f}".format(**difference) if difference else "")


def _statistics_notes(results: dict[str, Any], tests: int) -> Iterator[str]:
    resamples = f"{results['resamples']} resamples of the queries within each class, seed {results['seed']}"
    yield f"95 % intervals: percentile bootstrap, {resamples}."
    yield "They hold for these trained networks and these classes; they do not cover another training seed."
    if tests:
        yield f"p: two-sided paired sign-flip test over queries, {results['draws']} draws."
        yield "   Unlike the intervals, it also counts differences between classes as chance, so it is stricter."
    if tests > 1:
        strict = f"{0.05 / tests:.2g}"
        yield f"   Not corrected for the {tests} tests in this table (by Bonferroni, 0.05 for all is {strict} for each)."


def _run_notes(run: dict[str, Any], runs: int, tests: int) -> Iterator[str]:
    name = f"run {run['run']}"
    if run["not_compared"]:
        yield f"{name} is not comparable with run 1, so not tested: {run['not_compared']}"
    if run["matched_by_row"] and tests:
        yield f"{name}: its file has no `paths`, so queries are matched by row; the rows must be in the same order"
    if run["other_settings"]:
        yield f"{name} was tested with other settings than run 1: {run['other_settings']}"
    if run["left_out"]:
        yield f"{name}: {run['left_out']} queries have no photo of their class in the gallery and are left out"
    if run["figures_lacking"]:
        untested = ", so those of the others are not tested" if run["run"] == 1 and runs > 1 else ""
        yield f"{name} lacks {', '.join(run['figures_lacking'])}, which older tests did not write; repeat the test{untested}"


def _missing_rankings(results: dict[str, Any]) -> Iterator[str]:
    present = {(entry["ranking"], entry["run"]) for entry in results["figures"]}
    for ranking in dict.fromkeys(entry["ranking"] for entry in results["figures"]):
        for run in results["runs"]:
            if (ranking, run["run"]) not in present:
                untested = ", so that of the others is not tested" if run["run"] == 1 else ""
                yield f"run {run['run']} has no {ranking} ranking{untested}"
