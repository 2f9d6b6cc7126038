"""`compare.py` as a user runs it: the table against the tests' own metrics, the notes, and every message."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from evaluation.compare_runs import chosen_metrics
from evaluation.comparison_config import SHOWN, comparison_options
from evaluation.outputs import write_results
from evaluation.per_query import write_per_query
from evaluation.tested_runs import short_names
from retrieval.metrics import METRICS, PER_QUERY, Scores
from retrieval.statistics import compare_metrics, query_weights

LABELS = np.repeat([0, 1, 2], [9, 20, 31])
NAMES = [f"sketch/{label}/{number}.png" for number, label in enumerate(LABELS)]
ABOUT = {"dataset": "Sketchy", "split": "zeroshot1", "protocol": "zero-shot", "gallery": 500}
LONG = "sketchy_kd(1.0)_kdneg(0.3)_sake(1.0)_dim(64)_contrastive(128-0.1)_T(0.07)_memory(10-{})"


def made_scores(seed, rankings=("real", "hash"), names=NAMES, labels=LABELS, lost=0):
    """Scores that depend on a query's name and the seed, so that their order can change; `lost` have no positive."""
    found = {}
    for ranking in rankings:
        draws = [np.random.default_rng([int(re.sub(r"\D", "", name)), seed, len(ranking)]) for name in names]
        values = {key: np.array([round(draw.uniform(0.1, 0.9), 2) for draw in draws]) for key in PER_QUERY}
        counted = np.arange(len(names)) >= lost
        values = {key: value * counted for key, value in values.items()}
        found[ranking] = Scores(np.asarray(labels), counted, values, None, None)
    return found


def write_run(folder, seed=0, names=NAMES, labels=LABELS, rankings=("real", "hash"), lost=0, file="results.json", **changed):
    """What a test leaves; returns its scores."""
    scores = made_scores(seed, rankings, names, labels, lost)
    summaries = {ranking: scored.summary() for ranking, scored in scores.items()}
    write_per_query((folder / file).with_suffix(".npz"), scores, names)
    write_results(folder / file, {**ABOUT, "queries": len(names), **summaries, **changed})
    return scores


@pytest.fixture
def runs(tmp_path):
    """Three run folders of the same queries."""
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for seed, folder in enumerate(folders):
        write_run(folder, seed)
    return folders


@pytest.fixture
def compare(run_script):
    """compare(*arguments) → (exit code, stdout, stderr), with few resamples unless the arguments say otherwise."""

    def run(*arguments):
        few = () if "--resamples" in arguments else ("--resamples", 200)
        return run_script("compare.py", *arguments, *few)

    return run


def numbers(compare, *arguments):
    """The JSON file of a comparison that succeeds, and its output."""
    out_file = Path(arguments[0]).parent / "compared.json"
    code, out, err = compare(*arguments, "--json", out_file)
    assert code == 0, err
    return json.loads(out_file.read_text()), out


def test_the_table_holds_the_metrics_of_the_tests_and_the_statistics_of_them(runs, compare):
    found, out = numbers(compare, *runs)
    assert max(map(len, out.partition("\n\n")[2].splitlines())) < 100
    weights = query_weights(LABELS, "class")
    places = [(ranking, key, run) for ranking in ("real", "hash") for key in SHOWN for run in (1, 2, 3)]
    assert [(row["ranking"], row["figure"], row["run"]) for row in found["figures"]] == places
    # the queries stand by class and then by name there
    order = np.lexsort((NAMES, LABELS))
    for row in found["figures"]:
        first, mine = (made_scores(run - 1)[row["ranking"]] for run in (1, row["run"]))
        key = METRICS[row["figure"]].per_query
        shares = np.stack([first.per_query[key], mine.per_query[key]], axis=1)[order] * weights[:, None]
        baseline, other = compare_metrics(shares, [None, 0], LABELS, resamples=200)
        expected = baseline if row["run"] == 1 else other
        assert row["text"] == METRICS[row["figure"]].text
        assert row["value"] == pytest.approx(mine.summary()[row["figure"]], abs=1e-12)
        assert [row["low"], row["high"]] == pytest.approx([expected.low, expected.high], abs=1e-12)
        difference = row["difference"] and tuple(row["difference"].values())
        assert difference == (expected.difference and pytest.approx(expected.difference, abs=1e-12))
        printed = f"{row['value']:.4f}  [{row['low']:.4f}, {row['high']:.4f}]"
        if difference:
            printed += "  {:+.4f}  [{:+.4f}, {:+.4f}]  {:.4f}".format(*difference)
        block = out[out.index(f"{row['ranking']}: {row['text']}") :].splitlines()
        assert block[row["run"]] == f"  {row['run']} {('first', 'second', 'third')[row['run'] - 1]:6}  {printed}"


def test_the_output_says_what_the_numbers_are(runs, compare):
    found, out = numbers(compare, *runs)
    assert f"run 2: {runs[1]}/results.json (Sketchy, zeroshot1, zero-shot, 60 queries, 500 photos)" in out
    assert re.search(r"\n +value  95 % interval       - run 1  95 % interval            p\n-+\n", out)
    assert "percentile bootstrap, 200 resamples of the queries within each class, seed 0" in out
    assert "sign-flip test over queries, 10000 draws" in out
    assert "Not corrected for the 8 tests in this table (by Bonferroni, 0.05 for all is 0.0063 for each)" in out
    assert "not comparable" not in out and "left out" not in out and "other settings" not in out
    assert f"numbers: {runs[0].parent}/compared.json" in out
    settings = {
        "baseline": 1,
        "level": 0.95,
        "resamples": 200,
        "draws": 10_000,
        "seed": 0,
        "p_corrected_for_several_tests": False,
    }
    assert {key: found[key] for key in settings} == settings
    named = {"run": 2, "name": "second", "results": f"{runs[1]}/results.json", "queries": 60, "left_out": 0}
    nothing = {
        "gallery_digest": None,
        "matched_by_row": False,
        "not_compared": None,
        "other_settings": None,
        "figures_lacking": [],
    }
    assert found["runs"][1] == {**ABOUT, **named, **nothing}


def test_queries_without_paths_are_matched_by_row_and_galleries_by_digest(runs, compare):
    for run in runs[:2]:
        content = json.loads((run / "results.json").read_text())
        (run / "results.json").write_text(json.dumps({**content, "queries_matched_by": "row", "gallery_digest": "a1"}))
    _, out = numbers(compare, *runs[:2])
    assert "run 2: its file has no `paths`, so queries are matched by row" in out
    (runs[1] / "results.json").write_text(json.dumps({**content, "gallery_digest": "b2"}))
    _, out = numbers(compare, *runs[:2])
    assert "its gallery_digest is 'b2', that of run 1 'a1'" in out


def test_queries_in_another_order_change_nothing(runs, compare, tmp_path):
    shuffle = np.random.default_rng(3).permutation(len(NAMES))
    write_run(tmp_path / "shuffled", 1, [NAMES[place] for place in shuffle], LABELS[shuffle])
    expected, _ = numbers(compare, *runs[:2])
    found, _ = numbers(compare, runs[0], tmp_path / "shuffled")
    assert found["figures"] == expected["figures"]


def test_one_run_has_intervals_and_no_test(runs, compare):
    found, out = numbers(compare, runs[0])
    assert [row["difference"] for row in found["figures"]] == [None] * 4
    assert "95 % interval" in out and "run 1:" in out and "- run 1" not in out and "sign-flip" not in out
    both, _ = numbers(compare, *runs[:2])
    assert [row for row in both["figures"] if row["run"] == 1] == found["figures"]


def test_a_run_beside_itself_does_not_differ(runs, compare):
    found, out = numbers(compare, runs[0], runs[0] / "results.json", "--figures", "p100")
    assert [row["difference"] for row in found["figures"]] == [None, {"value": 0, "low": 0, "high": 0, "p": 1}] * 2
    assert "+0.0000  [+0.0000, +0.0000]  1.0000" in out


def test_one_test_needs_no_correction(tmp_path, compare):
    for seed, name in enumerate(("a", "b")):
        write_run(tmp_path / name, seed, rankings=("real",))
    _, out = numbers(compare, tmp_path / "a", tmp_path / "b", "--figures", "map_all")
    assert "10000 draws." in out and "Not corrected" not in out


def renamed(names):
    return [*names[:-2], "sketch/2/1058.png", "sketch/2/1059.png"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"dataset": "TUBerlin"}, "its dataset is 'TUBerlin', that of run 1 'Sketchy'"),
        ({"protocol": None}, "its protocol is None, that of run 1 'zero-shot'"),
        ({"gallery": 400}, "its gallery is 400, that of run 1 500"),
        (
            {"names": renamed(NAMES)},
            "other queries: 2 that it counts are not among those of run 1, e.g. 'sketch/2/1058.png'",
        ),
        (
            {"names": NAMES[:-1], "labels": LABELS[:-1]},
            "other queries: 1 that run 1 counts are not among those of it, e.g. 'sketch/2/59.png'",
        ),
        ({"lost": 1}, "other queries: 1 that run 1 counts are not among those of it, e.g. 'sketch/0/0.png'"),
        ({"labels": np.where(LABELS == 1, 5, LABELS)}, "other classes: query 'sketch/1/10.png' has class id 5, in run 1 1"),
    ],
)
def test_other_queries_or_galleries_are_shown_and_not_tested(runs, compare, tmp_path, changed, said):
    write_run(tmp_path / "other", 7, **changed)
    found, out = numbers(compare, runs[0], tmp_path / "other", runs[1])
    assert f"run 2 is not comparable with run 1, so not tested: {said}\n" in out
    assert found["runs"][1]["not_compared"] == said and found["runs"][2]["not_compared"] is None
    rows = [row for row in found["figures"] if row["run"] == 2]
    assert len(rows) == 4 and all(row["difference"] is None and row["low"] < row["value"] < row["high"] for row in rows)
    # by itself it has the same interval, and so have the others without it
    alone, _ = numbers(compare, tmp_path / "other")
    assert [{**row, "run": 2} for row in alone["figures"]] == rows
    without, _ = numbers(compare, *runs[:2])
    assert [{**row, "run": 3 if row["run"] == 2 else 1} for row in without["figures"]] == [
        row for row in found["figures"] if row["run"] != 2
    ]


def test_when_no_run_is_comparable_nothing_is_tested(tmp_path, compare):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", split="zeroshot2")
    _, out = numbers(compare, tmp_path / "a", tmp_path / "b")
    assert "sign-flip" not in out and "- run 1" not in out and "not comparable" in out


def test_queries_left_out_and_other_settings_are_said(tmp_path, compare):
    write_run(tmp_path / "a", 0, lost=3, settings={"ties": "stable", "image_size": 224, "nested": {}, "long": "x" * 99})
    write_run(tmp_path / "b", 1, lost=3, settings={"ties": "average", "image_size": 224, "amp": "off"})
    found, out = numbers(compare, tmp_path / "a", tmp_path / "b")
    settings = f"ties 'average' for 'stable', long None for '{'x' * 99}', amp 'off' for None"
    assert f"run 2 was tested with other settings than run 1: {settings}\n" in out
    for run in (1, 2):
        assert f"run {run}: 3 queries have no photo of their class in the gallery and are left out" in out
    assert [run["queries"] for run in found["runs"]] == [57, 57]
    assert found["figures"][0]["value"] == pytest.approx(made_scores(0, lost=3)["real"].summary()[SHOWN[0]], abs=1e-12)


def test_a_ranking_that_not_all_runs_have(tmp_path, compare):
    write_run(tmp_path / "real", 0, rankings=("real",))
    write_run(tmp_path / "both", 1)
    found, out = numbers(compare, tmp_path / "real", tmp_path / "both", "--figures", "p100")
    assert [(row["ranking"], row["run"], row["difference"] is None) for row in found["figures"]] == [
        ("real", 1, True),
        ("real", 2, False),
        ("hash", 2, True),
    ]
    assert "run 1 has no hash ranking, so that of the others is not tested\n" in out
    found, out = numbers(compare, tmp_path / "both", tmp_path / "real", "--figures", "p100")
    assert [(row["ranking"], row["run"]) for row in found["figures"]] == [("real", 1), ("real", 2), ("hash", 1)]
    assert "run 2 has no hash ranking\n" in out


def test_metrics_are_chosen_by_key(runs, compare):
    found, out = numbers(compare, *runs[:2], "--figures", "p200", "map_all", "p200")
    assert list(dict.fromkeys(row["figure"] for row in found["figures"])) == ["p200", "map_all"]
    assert len(found["figures"]) == 8
    assert out.index("real: P@200 (÷ 200, query mean)") < out.index("real: mAP@all (plain, query mean)")
    found, _ = numbers(compare, *runs[:2], "--figures", "all")
    expected = made_scores(1)["hash"].summary()
    assert {row["figure"]: pytest.approx(row["value"], abs=1e-12) for row in found["figures"] if row["run"] == 2} == expected
    assert chosen_metrics(["p100", "all"]) == list(METRICS) and chosen_metrics(["p100", "p100"]) == ["p100"]


def test_any_results_file_and_options_between_the_runs(runs, compare, tmp_path):
    write_run(tmp_path, 1, file="my.second.json")
    expected, _ = numbers(compare, *runs[:2], "--seed", 4)
    found, out = numbers(compare, runs[0] / "results.json", "--seed", 4, tmp_path / "my.second.json")
    assert found["figures"] == expected["figures"]
    assert "  2 my.second  " in out
    assert numbers(compare, *runs[:2], "--seed", 5)[0]["figures"] != expected["figures"]


def test_defaults():
    shown, resampling = comparison_options(["run"])
    assert (shown.figures, resampling.resamples, resampling.seed, shown.json) == (None, 2000, 0, None)
    assert chosen_metrics(None) == ["map_all_released", "p100_released"]


def refused(compare, *arguments):
    """The one line that a mistake is answered with."""
    code, out, err = compare(*arguments)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1, err
    assert out == ""
    return err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--figures p1000", "--figures: invalid choice: 'p1000' (choose from "),
        ("--figures", "--figures: expected at least one argument"),
        ("--resamples 99", "--resamples: must be a whole number from 100 to 20000, not '99'"),
        ("--sed 1", "unknown option --sed; did you mean --seed?"),
        ("--json out.txt", "--json out.txt: give a file name that ends in .json"),
    ],
)
def test_mistaken_options_are_one_line(runs, compare, words, said):
    assert said in refused(compare, *runs, "--resamples", 200, *words.split())


def test_runs_missing_or_taken_for_metrics_are_one_line(runs, compare):
    assert "required: RUN" in refused(compare)
    assert "--figures: invalid choice: " in refused(compare, "--figures", "all", runs[0])


def test_missing_files_say_what_to_run(runs, compare, tmp_path):
    assert f"{tmp_path}/nothing: no such file; run the test script on that run first" in refused(
        compare, runs[0], tmp_path / "nothing"
    )
    (tmp_path / "untested").mkdir()
    message = refused(compare, tmp_path / "untested")
    assert message.endswith("untested/results.json: no such file; run the test script on that run first\n")
    message = refused(compare, tmp_path)
    assert f"or name one of the runs in it: {runs[0]}, {runs[1]}, {runs[2]}\n" in message
    (runs[1] / "results.npz").unlink()
    message = refused(compare, *runs)
    assert (
        f"{runs[1]}/results.npz: no such file; the results beside it are older than per-query files: repeat the test" in message
    )
    assert "results.npz: not a results file; name a run folder, or the .json" in refused(compare, runs[0] / "results.npz")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a results file of a test script"),
        ("[" * 100_000, "not a results file of a test script"),
        ('{"queries": ' + "1" * 5000 + "}", "not a results file of a test script"),
        ("{}", "has no usable `queries`"),
        ('{"queries": true, "gallery": 3}', "has no usable `queries`"),
        ('{"queries": 60, "gallery": 0}', "has no usable `gallery`"),
        ('{"queries": 61, "gallery": 500}', "are not of the same test"),
        ('{"queries": 60, "gallery": 500, "real": {"map_all": 0.9}}', "are not of the same test"),
        ('{"queries": 60, "gallery": 500, "hash": {"p100_released": NaN}}', "are not of the same test"),
    ],
)
def test_unusable_results_files_are_named(runs, compare, text, said):
    (runs[1] / "results.json").write_text(text)
    message = refused(compare, *runs)
    assert f"{runs[1]}/results.json" in message and said in message and "repeat the test" in message


def test_results_files_that_are_no_text_or_too_large(runs, compare):
    (runs[0] / "results.json").write_bytes(b"\xff\xfe\x00{")
    assert "not a results file" in refused(compare, *runs)
    (runs[0] / "results.json").write_bytes((runs[1] / "results.json").read_bytes() + b" " * 2**24)
    assert "not a results file" in refused(compare, *runs)


def test_figures_of_an_older_test_are_noticed(runs, compare):
    """A results file of a later test beside the per-query file of an earlier test, or the other way round."""
    (runs[0] / "results.json").write_bytes((runs[1] / "results.json").read_bytes())
    message = refused(compare, runs[0])
    assert f"{runs[0]}/results.json and results.npz are not of the same test; repeat the test" in message


def test_what_a_file_says_cannot_command_the_terminal(tmp_path, compare):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", split="zero\x1b[2Jshot\n1", dataset=["a", "list"], settings={"\x1b[1m": "\x1b[1m", "n": [1]})
    _, out = numbers(compare, tmp_path / "a", tmp_path / "b")
    assert "\x1b" not in out and "(zero\\x1b[2Jshot\\n1, zero-shot, 60 queries, 500 photos)" in out
    assert "its dataset is None, that of run 1 'Sketchy'" in out


def test_the_same_query_twice_is_refused(runs, compare, tmp_path):
    write_run(tmp_path / "twice", 1, [*NAMES[:-1], NAMES[3]])
    assert f"{tmp_path}/twice/results.npz: `names` holds a query twice" in refused(compare, runs[0], tmp_path / "twice")


def write_old_run(folder, gallery):
    """The files of a test from before P@100 within the gallery was written; its released P@100 was the class mean of P@100."""
    scores = made_scores(7)
    for scored in scores.values():
        scored.per_query["p100_within_gallery"] = scored.per_query["p100"]
    summaries = {ranking: scored.summary() for ranking, scored in scores.items()}
    for scored in scores.values():
        del scored.per_query["p100_within_gallery"]
    write_per_query(folder / "old.npz", scores, NAMES)
    write_results(folder / "old.json", {**ABOUT, "gallery": gallery, "queries": len(NAMES), **summaries})


def test_older_results_have_the_released_precision_where_100_photos_or_more_are_ranked(runs, compare, tmp_path):
    write_old_run(tmp_path, gallery=100)
    found, out = numbers(compare, tmp_path / "old.json", "--figures", "p100_released", "p100_class_mean")
    values = {(row["ranking"], row["figure"]): row["value"] for row in found["figures"]}
    assert "lacks" not in out and len(values) == 4
    assert all(values[ranking, "p100_released"] == values[ranking, "p100_class_mean"] for ranking in ("real", "hash"))


def test_a_metric_that_one_run_lacks_is_shown_for_the_others(compare, tmp_path):
    write_old_run(tmp_path, gallery=99)
    write_run(tmp_path / "new", 1, gallery=99)
    note = "lacks p100_released, which older tests did not write; repeat the test"
    found, out = numbers(compare, tmp_path / "new", tmp_path / "old.json")
    assert f"run 2 {note}\n" in out and [run["figures_lacking"] for run in found["runs"]] == [[], ["p100_released"]]
    assert [row["figure"] for row in found["figures"] if row["run"] == 2] == ["map_all_released"] * 2
    found, out = numbers(compare, tmp_path / "old.json", tmp_path / "new")
    assert f"run 1 {note}, so those of the others are not tested\n" in out
    assert {row["figure"] for row in found["figures"] if row["run"] == 2 and not row["difference"]} == {"p100_released"}
    assert "old.npz: lacks the values of p100_released" in refused(compare, tmp_path / "old.json", "--figures", "p100_released")


def test_a_comparison_never_overwrites_a_run(runs, compare):
    before = (runs[1] / "results.json").read_bytes()
    message = refused(compare, *runs, "--json", runs[1] / ".." / "second" / "results.json")
    assert "holds the results of a run; choose another file" in message
    assert (runs[1] / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["runs/a/results.json"], ["a"]),
        (["runs/a/results.json", "runs/b/results.json"], ["a", "b"]),
        (["demo/untrained.json", "demo/trained.json"], ["untrained", "trained"]),
        (["seed1/run/results.json", "seed2/run/results.json"], ["seed1", "seed2"]),
        (["x/a/results.json", "y/a/results.json", "y/b/results.json"], ["x/a", "y/a", "y/b"]),
        (["a/results.json", "a/results.json"], ["a", "a"]),
        (["/x/results.json", "/results.json"], ["x", "/"]),
        ([f"s/{LONG.format(memory)}/results.json" for memory in ("1.0", "0.0")], ["…memory(10-1.0)", "…memory(10-0.0)"]),
        (
            [f"s/sketchy_kd({kd})_kdneg(0.3)_sake(1.0)_memory(10-1.0)/results.json" for kd in ("1.0", "2.0")],
            ["…kd(1.0)_…", "…kd(2.0)_…"],
        ),
        ([f"s/{LONG.format('1.0')}/results.json"], ["…memory(10-1.0)"]),
        ([f"{c * 40}/results.json" for c in "ab"], ["a" * 12 + "…" + "a" * 12, "b" * 12 + "…" + "b" * 12]),
    ],
)
def test_runs_are_named_by_what_tells_them_apart(files, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert short_names([Path(file) for file in files]) == names


def test_a_long_name_leaves_the_table_below_100_columns(tmp_path, compare):
    folders = [tmp_path / f"{number}" / LONG.format(number) for number in range(11)]
    for number, folder in enumerate(folders):
        write_run(folder, number, file="results_of_a_long_and_different_name.json" if number % 2 else "results.json")
    arguments = [folder / next(folder.glob("*.json")).name for folder in folders]
    found, out = numbers(compare, *arguments)
    assert max(map(len, out.partition("\n\n")[2].partition("numbers:")[0].splitlines())) < 100
    assert all(len(run["name"]) <= 26 for run in found["runs"])
    assert "\n  11 " in out and "\n   1 " in out
