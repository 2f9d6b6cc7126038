"""A parser of options that answers mistakes in one line, and the kinds of numbers it takes. No PyTorch: help comes at once."""

import argparse
import difflib
import math
from collections.abc import Callable
from pathlib import Path

from utils.text import printable

LARGEST = 2**32 - 1  # NumPy takes no larger seed, and nothing else wants one


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows each option once, by its first spelling and its short names."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        longest, *others = action.option_strings
        same = longest.replace("-", "_")
        names = [longest, *(other for other in others if other.replace("-", "_") != same)]
        value = "" if action.nargs == 0 else " " + (self._format_args(action, "VALUE"))
        return ", ".join(names) + value


class Parser(argparse.ArgumentParser):
    """argparse that answers a mistake with one line and the nearest option's name, and takes `-` for `_` in names.

    `operands`: what a command line cannot do without, as the line of usage shows it: `RUN [RUN ...]`, `{a,b} --source FOLDER`.
    """

    def __init__(self, description: str, operands: str = ""):
        super().__init__(
            description=f"{description} Options may be spelt with _ or -.",
            usage=" ".join(["%(prog)s", *([operands] if operands else []), "[options]"]),
            allow_abbrev=False,
            formatter_class=Help,
        )

    def error(self, message: str):
        if message.startswith("unrecognized"):
            unknown = (message.removeprefix("unrecognized arguments: ").split() or ["''"])[0].split("=")[0]
            near = difflib.get_close_matches(unknown, self._option_string_actions, n=1)
            message = f"unknown option {unknown}" + (f"; did you mean {near[0]}?" if near else "")
        self.exit(2, f"error: {printable(' '.join(message.split()))} (see {self.prog} --help)\n")


class Group:
    """One titled group of options."""

    def __init__(self, parser: Parser, title: str):
        self.group = parser.add_argument_group(title)

    def add(self, name: str, *short: str, help: str, **rules) -> None:
        """`name` in its canonical spelling; the other spelling is accepted as well."""
        inner = name.removeprefix("--")
        spellings = dict.fromkeys([name, "--" + inner.replace("-", "_"), "--" + inner.replace("_", "-")])
        self.group.add_argument(*spellings, *short, dest=inner.replace("-", "_"), help=help, **rules)


def _number(convert: Callable, low: float, wanted: str, includes_low: bool = True, high: float = LARGEST) -> Callable:
    def parse(text: str):
        try:
            value = convert(text)
        except ValueError:
            value = math.nan
        is_enough = value >= low if includes_low else value > low
        if not (is_enough and value <= high):  # never true of NaN
            raise argparse.ArgumentTypeError(f"must be {wanted}, not {text[:40]!r}")
        return value

    return parse


def _whole(text: str) -> int | float:
    return int(text) if len(text) < 20 else math.nan


def given_path(text: str) -> Path:
    """Not the current folder for want of anything, as an unset variable of a shell would have it."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; name a file or folder")
    return Path(text)


port = _number(_whole, 0, "a port from 0 to 65535", high=65535)
positive = _number(_whole, 1, "a whole number from 1")
natural = _number(_whole, 0, "a whole number from 0")
image_side = _number(_whole, 32, "a whole number of pixels from 32")
positive_real = _number(float, 0, "a number above 0", includes_low=False)
real = _number(float, 0, "a number from 0")
share = _number(float, 0, "a number above 0, up to 1", includes_low=False, high=1)


def whole_number_up_to(high: int) -> Callable:
    """A type of options: a whole number from 1 to `high`."""
    return _number(_whole, 1, f"a whole number from 1 to {high:,}", high=high)
