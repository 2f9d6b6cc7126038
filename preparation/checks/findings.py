"""Findings of a check: level, message, and the files or classes that the message is about."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partialmethod

from utils.errors import InputError
from utils.text import printable, some_of

LEVELS = INFO, WARNING, ERROR = "info", "warning", "error"


@dataclass(frozen=True)
class Finding:
    """A message that says what was found and what to do about it; names in it need not be printable."""

    level: str
    message: str
    items: Sequence[str]
    shown: int

    def summary(self) -> str:
        """One line for the screen, with the first `shown` items."""
        items = f": {some_of(self.items, self.shown)}" if self.items and self.shown else ""
        return printable(f"{self.level}: {self.message}{items}")

    def full(self) -> str:
        """The message and all items, one per line."""
        message = f"{self.level}: {self.message}" + (":" if self.items else "")
        return "\n    ".join(map(printable, [message, *self.items]))


class Findings(list[Finding]):
    """All findings of a check.

    info: needs no action; warning: does not prevent training but may change what results mean; error: prevents training.
    """

    def add(self, level: str, message: str, items: Sequence[str] | None = None, shown: int = 3) -> None:
        """Add a finding, unless it has a list of items and that is empty; the screen shows `shown` of them, the report all."""
        if items is None or items:
            self.append(Finding(level, message, items or (), shown))

    info, warning, error = partialmethod(add, INFO), partialmethod(add, WARNING), partialmethod(add, ERROR)

    @contextlib.contextmanager
    def catch_errors(self) -> Iterator[None]:
        """Add an InputError that the block raises, and go on."""
        try:
            yield
        except InputError as error:
            self.error(str(error))
