"""Mistakes on the command line: one line that names the option, what is wrong and the range."""

import argparse
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from utils import parser
from utils.options import operand, option, parse
from utils.parser import Parser

NUMBERS = {name: getattr(parser, name) for name in (
    "port", "positive_int", "layer_size", "non_negative_int", "worker_count", "image_side", "positive_float",
    "non_negative_float", "fraction",
)}  # fmt: skip
REFUSED = ["-1", "nan", "inf", "1e400", "9" * 400, str(10**23), "4294967296", "", "one", "0x10", "٣٣٣٣٣٣٣٣٣٣٣"]
ACCEPTED_OR_REFUSED = ["0", " 5", "٣", "1e-400", "-0", "1_0"]
RANGE = re.compile(r"must be a .*(from \S+ to \S+|above \S+, up to \S+), not '")


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_range_is_refused_with_the_range(name):
    for text in REFUSED + ACCEPTED_OR_REFUSED:
        try:
            value = NUMBERS[name](text)
        except argparse.ArgumentTypeError as error:
            assert RANGE.search(str(error))
        else:
            assert text in ACCEPTED_OR_REFUSED and math.isfinite(value)


def test_both_ends_are_admitted():
    assert (parser.port("0"), parser.port("65535"), parser.non_negative_int("4294967295")) == (0, 65535, 4294967295)
    assert (parser.fraction("1"), parser.non_negative_float("0"), parser.whole_number(3, 4)("4")) == (1, 0, 4)
    assert type(parser.positive_int("7")) is int and type(parser.non_negative_float("7")) is float


@dataclass(frozen=True)
class Options:
    title: ClassVar[str] = "group"
    file: Path = operand(type=parser.path_argument, help="file to read")
    num_steps: int = option(3, "-n", type=parser.positive_int, help="number of steps")
    dry_run: bool = option(False, dashed=True, help="do nothing")


def parsed(words: list[str]) -> Options:
    (options,) = parse(Parser("Try.", "FILE"), [Options], words)
    return options


def test_options_have_two_spellings_and_short_names():
    for words in (["--num_steps", "5", "--dry_run"], ["--num-steps=5", "--dry-run"], ["-n", "5", "--dry-run"]):
        assert parsed(["a", *words]) == Options(Path("a"), 5, True)


@pytest.mark.parametrize(
    "words, message",
    [
        (["a", "--num_step", "5"], "unknown option --num_step; did you mean --num_steps?"),
        (["a", "--quite-different=5"], "unknown option --quite-different"),
        (["a", "--dry-run=yes"], "argument --dry-run/--dry_run: ignored explicit argument 'yes'"),
        (["a", "--dry-run", "yes"], "unexpected 'yes'; a flag takes no value, any other option one"),
        (["a", "-n", "0"], "argument --num_steps/--num-steps/-n: must be a whole number from 1 to 4294967295, not '0'"),
        ([" "], "argument file: is empty; name a file or folder"),
        (["a", "--num_steps"], "argument --num_steps/--num-steps/-n: expected one argument"),
        ([], "the following arguments are required: file"),
    ],
)
def test_a_mistake_is_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        parsed(words)
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.startswith(f"error: {message}") and " (see " in error and error.endswith(" --help)\n")
    assert error.count("\n") == 1


def test_help_shows_each_option_once_with_its_default(capsys):
    with pytest.raises(SystemExit, match="0"):
        parsed(["--help"])
    shown = capsys.readouterr().out
    assert "--num_steps, -n VALUE" in shown and "number of steps (default: 3)" in shown and "--num-steps" not in shown
    assert "--dry-run" in shown and "--dry_run" not in shown and "FILE [options]" in shown
