"""Options of compare.py. Imports nothing heavier than NumPy: --help is fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from retrieval.metrics import METRICS
from retrieval.statistics import RESAMPLES
from utils.options import operand, option, parse
from utils.parser import Parser, non_negative_int, path_argument, whole_number

SHOWN = ("map_all_released", "p100_released")  # what the papers publish
ABOUT = "Compare tested runs with the first: metrics with 95 % intervals over queries, differences and p values."


@dataclass(frozen=True)
class ShownOptions:
    """What is compared and shown."""

    title: ClassVar[str] = "what to show"
    runs: list[Path] = operand(nargs="+", type=path_argument, metavar="RUN", help="a run folder, or a results file")
    figures: list[str] | None = option(
        None,
        nargs="+",
        choices=[*METRICS, "all"],
        metavar="METRIC",
        help=f"metrics by their key in a results file, e.g. map_all p100, or all; default: {' '.join(SHOWN)}",
    )
    json: Path | None = option(None, type=path_argument, help="also write the numbers to this file")


@dataclass(frozen=True)
class ResamplingOptions:
    """The bootstrap and the randomisation test."""

    title: ClassVar[str] = "chance"
    # fewer leave the ends of an interval to chance, more fill the memory
    resamples: int = option(RESAMPLES, type=whole_number(100, 20_000), help="number of bootstrap resamples of the queries")
    seed: int = option(0, type=non_negative_int, help="random seed of the resamples and of the randomisation test")


def comparison_options(arguments: Sequence[str] | None = None) -> tuple[ShownOptions, ResamplingOptions]:
    """Parsed options of `compare.py`; a mistake exits with code 2 after one line."""
    shown, resampling = parse(Parser(ABOUT, "RUN [RUN ...]"), [ShownOptions, ResamplingOptions], arguments)
    return shown, resampling
