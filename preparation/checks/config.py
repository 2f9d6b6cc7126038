"""Options of check_dataset.py. Imports no PyTorch: --help is fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from datasets.catalog import DATA_ROOT, DATASETS
from utils.options import operand, option, parse
from utils.parser import Parser, path_argument, positive_int, worker_count

BATCH_SIZE = 96  # default of the train scripts
MOST_PROCESSES = 8
SHEET, REPORT = "contact_sheet.png", "check.txt"


@dataclass(frozen=True)
class DataOptions:
    """The dataset, and the training that it is checked for."""

    title: ClassVar[str] = "data"
    dataset: str = operand(choices=tuple(DATASETS), help="dataset to check; folders: your own, prepared by prepare_dataset.py")
    data_root: Path = option(DATA_ROOT, type=path_argument, help="folder that holds the dataset's folder")
    split: str | None = option(None, "--zero_version", "--zero-version", help="split folder; default: the train script's default")
    batch_size: int = option(BATCH_SIZE, type=positive_int, help="training batch size; warns if the lists cannot fill it")


@dataclass(frozen=True)
class RunOptions:
    """How to check."""

    title: ClassVar[str] = "running"
    num_workers: int | None = option(
        None, type=worker_count, help=f"worker processes that decode images; default: one per core, up to {MOST_PROCESSES}"
    )
    strict: bool = option(False, help="treat warnings as errors")


@dataclass(frozen=True)
class OutputOptions:
    """What to write."""

    title: ClassVar[str] = "what is written"
    contact_sheet: Path | None = option(
        None,
        type=path_argument,
        help=f"contact sheet to write, FILE.png; the report is FILE.txt; default: {SHEET} and {REPORT} in the split folder",
    )


def check_options(arguments: Sequence[str] | None = None) -> tuple[DataOptions, RunOptions, OutputOptions]:
    """Parsed options of check_dataset.py; a mistake exits with code 2 after one line."""
    description = "Check a dataset before training: lists, images, duplicates, leaks, classes."
    parser = Parser(description, operands=f"{{{','.join(DATASETS)}}}")
    data, run, output = parse(parser, [DataOptions, RunOptions, OutputOptions], arguments)
    return data, run, output
