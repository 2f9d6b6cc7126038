"""Mistakes on the command line: one line that names the option, what is wrong and the range."""

import argparse
import math
import re
from pathlib import Path

import pytest

from utils import parser
from utils.parser import Group, Parser

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


def small_parser() -> Parser:
    made = Parser("Try.", "FILE")
    made.add_argument("file", type=parser.path_argument)
    group = Group(made, "group")
    group.add("--num_steps", "-n", type=parser.positive_int, default=3, help="number of steps")
    group.add("--dry-run", action="store_true", help="do nothing")
    return made


def test_options_have_two_spellings_and_short_names():
    for words in (["--num_steps", "5", "--dry_run"], ["--num-steps=5", "--dry-run"], ["-n", "5", "--dry-run"]):
        found = small_parser().parse_args(["a", *words])
        assert (found.file, found.num_steps, found.dry_run) == (Path("a"), 5, True)


@pytest.mark.parametrize(
    "words, message",
    [
        (["a", "--num_step", "5"], "unknown option --num_step; did you mean --num_steps?"),
        (["a", "--quite-different=5"], "unknown option --quite-different"),
        (["a", "--dry-run=yes"], "--dry-run takes no value, but 'yes' follows it; leave the value out"),
        (["a", "--dry-run", "yes"], "--dry-run takes no value, but 'yes' follows it; leave the value out"),
        (["a", "b c"], "unknown option 'b c'; an option takes one value, and a value that holds blanks needs quotes"),
        (["a", "-n", "0"], "argument --num_steps/--num-steps/-n: must be a whole number from 1 to 4294967295, not '0'"),
        ([" "], "argument file: is empty; name a file or folder"),
        (["a", "--num_steps"], "argument --num_steps/--num-steps/-n: expected one argument"),
        ([], "the following arguments are required: file"),
    ],
)
def test_a_mistake_is_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        small_parser().parse_args(words)
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.startswith(f"error: {message} (see ") and error.endswith(" --help)\n")
    assert error.count("\n") == 1


def test_help_shows_each_option_once_with_its_default(capsys):
    with pytest.raises(SystemExit, match="0"):
        small_parser().parse_args(["--help"])
    shown = capsys.readouterr().out
    assert "--num_steps, -n VALUE" in shown and "number of steps (default: 3)" in shown and "--num-steps" not in shown
    assert "--dry-run" in shown and "--dry_run" not in shown and "FILE [options]" in shown
