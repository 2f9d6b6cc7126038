"""Options of prepare_dataset.py. Imports nothing heavy: --help is fast."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from datasets.catalog import DATA_ROOT, DATASETS
from utils.options import operand, option, parse
from utils.parser import MOST_WORKERS, Parser, non_negative_int, path_argument, positive_int, whole_number

if TYPE_CHECKING:
    from preparation.layouts import Image

SIDE = 256  # pixels of the shorter side of the published images


@dataclass(frozen=True)
class DataOptions:
    """The dataset, its source and its split."""

    title: ClassVar[str] = "data"
    dataset: str = operand(choices=list(DATASETS), help="folders: your own images, photos/<class>/* and sketches/<class>/*")
    source: list[Path] = option(
        None, type=path_argument, nargs="+", required=True, help="all archives (zip, tar, 7z) or folders of the download"
    )
    output: Path = option(DATA_ROOT, type=path_argument, help="data root, the folder that holds Sketchy/ and the others")
    split: str | None = option(
        None,
        help="zeroshot1 (default) or zeroshot2 of Sketchy, zeroshot of others; a new name needs --unseen",
    )
    unseen: list[str] | None = option(
        None, nargs="+", help="unseen classes of a new split: names, or a number or share of the classes; default: a fifth"
    )
    held_out: int | None = option(
        None, type=positive_int, help="sketches of each seen class held out for validation; default: 50 or 10, by dataset"
    )
    seed: int = option(0, type=non_negative_int, help="seed of held-out sketches and of unseen classes that are not named")


@dataclass(frozen=True)
class FileOptions:
    """How files are copied."""

    title: ClassVar[str] = "files"
    side: int | None = option(
        None,
        type=non_negative_int,
        help="reduce larger images to this shorter side in pixels; 0: never; default: 256",
    )
    copy: bool = option(False, help="copy images out of folders instead of making hard links")
    force: bool = option(False, help="replace existing files and lists that differ")
    num_workers: int | None = option(
        None, type=whole_number(1, MOST_WORKERS), help="number of threads that copy and shrink images; default: one per core"
    )
    wordnet: Path | None = option(
        None, type=path_argument, help="folder of WordNet 3.0, for the mask of your own classes; default: nltk's, or a download"
    )

    def side_of(self, image: "Image") -> int:
        """Pixels that this image is shrunk to if it is larger; 0: never. Images as published stay as they are by default."""
        if self.side is None:
            return 0 if image.is_ready else SIDE
        return self.side


def preparation_options(arguments: list[str] | None = None) -> tuple[DataOptions, FileOptions]:
    """Parsed options of prepare_dataset.py; a mistake exits with code 2 after one line."""
    operands = f"{{{','.join(DATASETS)}}} --source PATH…"
    parser = Parser("Bring a dataset from its downloads into the layout the scripts read.", operands)
    data, files = parse(parser, [DataOptions, FileOptions], arguments)
    return data, files
