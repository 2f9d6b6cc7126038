"""The printed table of compared runs, and what its numbers mean."""

from typing import Any


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
        notes.append("   unlike the intervals it counts how the classes differ as chance too, and so is stricter;")
    if tests > 1:
        strict = f"{0.05 / tests:.2g}"
        notes.append(f"   not corrected for the {tests} tests in this table (by Bonferroni, 0.05 for all is {strict} for each).")
    for run in results["runs"]:
        if run["not_compared"]:
            notes.append(f"run {run['run']} is not comparable with run 1, so not tested: {run['not_compared']}")
        if run["matched_by_row"] and has_test:
            notes.append(f"run {run['run']}: queries are matched by their row, having no `paths`; the rows must be in one order")
        if run["other_settings"]:
            notes.append(f"run {run['run']} was tested otherwise than run 1: {run['other_settings']}")
        if run["left_out"]:
            left_out = f"{run['left_out']} queries have no photo of their class in the gallery"
            notes.append(f"run {run['run']}: {left_out} and are left out")
        if run["figures_lacking"]:
            untested = ", so those of the others are not tested" if run["run"] == 1 and len(results["runs"]) > 1 else ""
            lacking = ", ".join(run["figures_lacking"])
            notes.append(
                f"run {run['run']} lacks {lacking}, which its test did not keep; repeat the test, which now keeps all{untested}"
            )
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
