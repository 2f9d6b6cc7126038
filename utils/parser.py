"""An argument parser that reports mistakes in one line, and number types with ranges. It imports no PyTorch: --help is fast."""

import argparse
import difflib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from utils.text import printable

MOST_WORKERS = 1024
LARGEST = 2**32 - 1  # NumPy's largest seed
UNRECOGNIZED = "unrecognized arguments: "  # the start of argparse's message


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Show each option once, by its first spelling and its short names, with its default if that is a value."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_value = action.default is not None and action.default is not False
        return super()._get_help_string(action) if has_value else action.help

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        longest, *others = action.option_strings
        same = longest.replace("-", "_")
        names = [longest, *(other for other in others if other.replace("-", "_") != same)]
        value = "" if action.nargs == 0 else " " + (self._format_args(action, "VALUE"))
        return ", ".join(names) + value


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports a mistake in one line with the nearest option name, and accepts `-` for `_` in names.

    operands: required arguments as the usage line shows them: `RUN [RUN ...]`, `{a,b} --source FOLDER`.
    """

    def __init__(self, description: str, operands: str = ""):
        super().__init__(
            description=f"{description} Options may be spelled with _ or -.",
            usage=" ".join(["%(prog)s", *([operands] if operands else []), "[options]"]),
            allow_abbrev=False,
            formatter_class=Help,
        )

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 after one line."""
        if message.startswith(UNRECOGNIZED):
            message = self._explained(message.removeprefix(UNRECOGNIZED))
        self.exit(2, f"error: {printable(' '.join(message.split()))} (see {self.prog} --help)\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse ignores an OSError here, and help that cannot be written would end with exit code 0."""
        if message:
            (file or sys.stderr).write(message)

    def _explained(self, unknown: str) -> str:
        """What is wrong with the first of the unrecognized words, which come joined by blanks."""
        if not unknown.startswith("-"):
            return f"unexpected {unknown[:40]!r}; a flag takes no value, any other option one, in quotes if it holds blanks"
        name = unknown.split()[0].split("=")[0]
        near = difflib.get_close_matches(name, self._option_string_actions, n=1)
        return f"unknown option {name}" + (f"; did you mean {near[0]}?" if near else "")


def whole_number(low: int, high: int = LARGEST, kind: str = "a whole number") -> Callable[[str], int]:
    """A parser of whole numbers from `low` to `high`, both included; its error calls them `kind` and states the range."""
    # NaN for more digits than any limit has: int() raises on thousands of them
    return _number(lambda text: int(text) if len(text) < 20 else math.nan, low, high, f"{kind} from {low} to {high}")


def real_number(low: float, high: float = LARGEST, includes_low: bool = True) -> Callable[[str], float]:
    """A parser of numbers from `low`, included or not, to `high`; its error states the range."""
    if includes_low:
        return _number(float, low, high, f"a number from {low} to {high}")
    return _number(float, math.nextafter(low, math.inf), high, f"a number above {low}, up to {high}")


def _number(convert: Callable[[str], float], low: float, high: float, wanted: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = convert(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:  # true of NaN
            raise argparse.ArgumentTypeError(f"must be {wanted}, not {text[:40]!r}")
        return value

    return parse


def path_argument(text: str) -> Path:
    """A path; an empty text, such as an unset shell variable, is an error rather than the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; name a file or folder")
    return Path(text)


port = whole_number(0, 65535, kind="a port")
positive_int = whole_number(1)
layer_size = whole_number(1, 65_536)  # more only runs out of memory
non_negative_int = whole_number(0)
worker_count = whole_number(0, MOST_WORKERS)
image_side = whole_number(32, 8192, kind="a whole number of pixels")
positive_float = real_number(0, includes_low=False)
non_negative_float = real_number(0)
fraction = real_number(0, 1, includes_low=False)
