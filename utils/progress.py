"""Progress bars: smooth on a terminal, a line every 30 s in a log file."""

import os
import sys

from tqdm import tqdm

LOG_SECONDS = 30.0


def progress_bar(total: int, title: str, unit: str, miniters: int | None = None, disable: bool = False, initial: int = 0) -> tqdm:
    """A tqdm bar, removed when it is complete; shown by rank 0 only."""
    return tqdm(
        total=total,
        initial=initial,
        desc=title,
        unit=unit,
        mininterval=0.1 if sys.stderr.isatty() else LOG_SECONDS,
        miniters=miniters,
        leave=False,
        disable=disable or os.environ.get("RANK", "0") != "0",
    )
