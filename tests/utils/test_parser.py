"""Every numeric option of every entry script: a number it cannot take is answered with one line that states the range."""

import re
from collections.abc import Callable

import pytest

from datasets.catalog import SKETCHY
from evaluation.compare_runs import comparison_options
from evaluation.export import export_options
from evaluation.score_features import feature_options
from photo_search import commands
from preparation.checks.check import check_options
from preparation.prepare import preparation_options
from training.config import Recipe, retrieval_options, training_options
from utils import parser

RECIPE = Recipe(dataset=SKETCHY, photos_per_sketch=2, epochs=20, validation_batches=300, seed=1)
SCRIPTS = {
    "train": (lambda words: training_options(RECIPE, words), []),
    "test": (lambda words: retrieval_options(SKETCHY, words), []),
    "compare": (comparison_options, ["RUN"]),
    "evaluate_features": (feature_options, ["--query", "Q", "--gallery", "G"]),
    "export": (export_options, ["--checkpoint", "FILE"]),
    "prepare": (preparation_options, ["sketchy", "--source", "FILE"]),
    "check": (check_options, ["sketchy"]),
    "index": (commands._index_options, ["--output", "INDEX"]),
    "query": (commands._query_options, ["SKETCH", "--index", "INDEX"]),
    "serve": (commands._serve_options, ["--index", "INDEX"]),
}
REFUSED = ["-1", "nan", "inf", "1e400", "9" * 400, str(10**23), "4294967296", "", "one", "0x10", "٣٣٣٣٣٣٣٣٣٣٣"]
TAKEN_OR_REFUSED = ["0", " 5", "٣", "1e-400", "-0", "1_0"]
RANGE = re.compile(r"must be a .*(from \S+ to \S+|above \S+, up to \S+), not '")


def numeric_options(parse: Callable, words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options whose type is one of `utils.parser`'s numbers."""
    found, add = [], parser.Group.add

    def noticed(self: parser.Group, name: str, *short: str, **rules: object) -> None:
        if getattr(rules.get("type"), "__qualname__", "").startswith("_number."):
            found.append(name)
        add(self, name, *short, **rules)

    with monkeypatch.context() as patch:
        patch.setattr(parser.Group, "add", noticed)
        parse(words)
    return found


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_number_gives_a_traceback_and_the_range_is_stated(script, monkeypatch, capsys):
    parse, words = SCRIPTS[script]
    options = numeric_options(parse, words, monkeypatch)
    assert options
    for option in options:
        for value in REFUSED + TAKEN_OR_REFUSED:
            try:
                parse([*words, f"{option}={value}"])
                assert value in TAKEN_OR_REFUSED, (option, value)
            except SystemExit as end:
                error = capsys.readouterr().err
                assert end.code == 2 and error.count("\n") == 1, (option, value)
                assert option.strip("-").replace("_", "-") in error.replace("_", "-") and RANGE.search(error), error


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_option_takes_a_number_of_its_own_kind(script, monkeypatch):
    """`int` and `float` themselves admit what overflows later."""
    kinds, add = [], parser.Group.add

    def noticed(self: parser.Group, name: str, *short: str, **rules: object) -> None:
        kinds.append(rules.get("type"))
        add(self, name, *short, **rules)

    monkeypatch.setattr(parser.Group, "add", noticed)
    parse, words = SCRIPTS[script]
    parse(words)
    assert not {int, float} & set(kinds)


def test_both_ends_are_admitted():
    assert (parser.port("0"), parser.port("65535"), parser.non_negative_int("4294967295")) == (0, 65535, 4294967295)
    assert (parser.fraction("1"), parser.non_negative_float("0"), parser.whole_number(3, 4)("4")) == (1, 0, 4)
    assert type(parser.positive_int("7")) is int and type(parser.non_negative_float("7")) is float
