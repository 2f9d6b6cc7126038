"""Progress bars: smooth on a terminal, sparing in a log file."""

import os
import sys

from tqdm import tqdm

LOG_SECONDS = 30.0  # between two lines of a bar that nobody watches


def progress_bar(total: int, title: str, unit: str, miniters: int | None = None, disable: bool = False, initial: int = 0) -> tqdm:
    """A tqdm bar with a rate, gone when it is done."""
    disable = disable or os.environ.get("RANK", "0") != "0"  # of the processes torchrun starts, one shows its bars
    interval = 0.1 if sys.stderr.isatty() else LOG_SECONDS
    return tqdm(
        total=total,
        initial=initial,
        desc=title,
        unit=unit,
        mininterval=interval,
        miniters=miniters,
        leave=False,
        disable=disable,
    )
