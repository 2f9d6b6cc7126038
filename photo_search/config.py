"""Options of search.py's commands. Imports no PyTorch: --help is fast."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from models.names import NONE, arch_name
from photo_search.milvus_address import MilvusAddress, milvus_address
from utils.errors import InputError
from utils.options import operand, option, parse
from utils.parser import Parser, image_side, path_argument, port, positive_int, real_number, whole_number, worker_count
from utils.text import is_url

SUGGESTED = "timm/vit_small_patch14_dinov2.lvd142m"  # an untrained trunk to begin with
MOST_FOUND = 10_000  # photos for one drawing
PRECISIONS = ("auto", "float32", "bf16")


def initial_weights(text: str) -> str:
    """A value of `--pretrained_weights`, for the parser."""
    if text == NONE:
        raise argparse.ArgumentTypeError("random weights cannot search: name a file, or leave it out to download weights")
    return str(path_argument(text))


def source(text: str) -> str:
    """Photos to index, for the parser: a path, or the URL of shards."""
    return text if is_url(text) else str(path_argument(text))


def new_source(text: str) -> str:
    """As `source`, for the parser; a URL that is never fetched, or holds a password, is not recorded."""
    if is_url(text):
        from photo_search.fetching import require_known_scheme

        try:
            require_known_scheme(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return source(text)


def store_address(text: str) -> MilvusAddress:
    """A value of `--store`, for the parser."""
    try:
        return milvus_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def auth(text: str) -> str:
    user, _, password = text.partition(":")
    if not user or not password:
        raise argparse.ArgumentTypeError("must be USER:PASSWORD")
    return text


@dataclass(frozen=True)
class IndexOptions:
    title: ClassVar[str] = "index"
    photos: list[str] = operand(
        type=new_source,
        nargs="*",
        help="files, folders, or tar shards such as 'photos-{0000..9999}.tar', also by URL; none: those indexed before",
    )
    output: Path = option(None, "-o", type=path_argument, required=True, help="folder of the index")
    remove: list[str] | None = option(
        None, type=source, nargs="+", help="remove these files, folders or shards from the index; nothing is deleted on disk"
    )
    kind: str | None = option(
        None,
        choices=("auto", "exact", "ivf"),
        help="auto: exact up to 12.8 million numbers (200,000 vectors of 64), else ivf; kept for later updates",
    )
    codes: bool = option(False, help="also fit hash codes, for query --codes")


@dataclass(frozen=True)
class StoreOptions:
    title: ClassVar[str] = "store (recorded in the folder when the index is made)"
    store: MilvusAddress | None = option(
        None,
        type=store_address,
        metavar="milvus:URI",
        help="keep vectors in Milvus instead of the folder: milvus:http://HOST:19530, or milvus:FILE.db (Milvus Lite); "
        "#NAME after it names the collection, otherwise photos",
    )
    token_file: Path | None = option(
        None, type=path_argument, help="file that holds the Milvus server's token; default: the environment variable MILVUS_TOKEN"
    )


@dataclass(frozen=True)
class NetworkOptions:
    """The network that computes the vectors; None: what the index records."""

    title: ClassVar[str] = "network (only a new index needs one)"
    arch: str | None = option(
        None,
        "-a",
        type=arch_name,
        help=f"search without training, by this trunk: timm/NAME, such as {SUGGESTED}, or cse_resnet50",
    )
    pretrained_weights: str | None = option(
        None, type=initial_weights, help="with --arch, initial weights: imagenet (download) or a file; default: imagenet"
    )
    checkpoint: Path | None = option(None, type=path_argument, help="trained network, in place of --arch")
    image_size: int | None = option(
        None, type=image_side, help="side of the network's input; default: as the checkpoint records, else the trunk's own size"
    )

    @property
    def is_named(self) -> bool:
        return any(value is not None for value in (self.arch, self.pretrained_weights, self.checkpoint))


@dataclass(frozen=True)
class RunningOptions:
    title: ClassVar[str] = "running"
    device: str = option("auto", help="auto, cpu, cuda, cuda:1, …")
    precision: str = option(
        "auto", choices=PRECISIONS, help="precision of the network; auto: bf16 where the device has it natively"
    )
    batch_size: int = option(64, type=positive_int, help="photos per batch")
    num_workers: int | None = option(
        None, type=worker_count, help="worker processes that decode images; default: one per core, up to 8"
    )


@dataclass(frozen=True, kw_only=True)
class Opened:
    index: Path = option(None, type=path_argument, required=True, help="folder that `search.py index` made")
    checkpoint: Path | None = option(None, type=path_argument, help="trained network, if it is no longer where it was")
    pretrained_weights: str | None = option(
        None, type=initial_weights, help="weights of an untrained network, if they are no longer where they were"
    )
    device: str = option("auto", help="auto, cpu, cuda, cuda:1, …")
    precision: str = option(
        "float32", choices=PRECISIONS, help="precision of the network; bf16 is faster, and changes a few of the photos found"
    )


@dataclass(frozen=True, kw_only=True)
class QueryOptions(Opened):
    title: ClassVar[str] = "query"
    sketches: list[str] = operand(nargs="+", metavar="SKETCH", help="images of drawings, in any size")
    k: int = option(20, "-k", type=whole_number(1, MOST_FOUND), help=f"number of photos to find, 1 to {MOST_FOUND:,}")
    least: float | None = option(
        None,
        type=real_number(-1, 1),
        metavar="SIMILARITY",
        help="hide photos whose cosine similarity (with --codes its estimate) is below this, -1 to 1; default: none",
    )
    all: bool = option(False, help="list near-duplicates one by one; otherwise those of one photo count as one")
    codes: bool = option(False, help="search by hash codes instead of embeddings")
    photo: bool = option(False, help="the queries are photos, not drawings")
    json: bool = option(False, help="print results as JSON")
    grid: Path | None = option(None, type=path_argument, help="write a picture of the queries and their photos to this .png")


@dataclass(frozen=True, kw_only=True)
class ServeOptions(Opened):
    title: ClassVar[str] = "serve"
    host: str = option("127.0.0.1", help="address to listen on; 0.0.0.0 lets other machines in: add --auth")
    port: int = option(7860, type=port, help="port to listen on; 0: any that is free")
    auth: str | None = option(
        None, type=auth, metavar="USER:PASSWORD", help="required from every visitor; default: the environment variable DSN_AUTH"
    )


COMMANDS: dict[str, tuple[str, str, list[type]]] = {  # description, operands and options
    "index": (
        "Index photos, or update an index.",
        "PHOTOS… --arch timm/NAME -o INDEX",
        [IndexOptions, StoreOptions, NetworkOptions, RunningOptions],
    ),
    "query": ("Find the photos that are most similar to a drawing.", "SKETCH… --index INDEX", [QueryOptions, StoreOptions]),
    "serve": ("Serve a page on which photos are found by drawing.", "--index INDEX", [ServeOptions, StoreOptions]),
}


def search_options(arguments: Sequence[str]) -> tuple[str, tuple[Any, ...]]:
    """The command that the first word names, and its parsed options; a mistake exits with code 2 after one line."""
    if not arguments or arguments[0] not in COMMANDS:
        parser = Parser("Find photos by drawing: index folders of photos, then search them.", "{index,query,serve} …")
        parser.add_argument("command", choices=tuple(COMMANDS), help="each has its own options: search.py index --help")
        parser.parse_args(arguments[:1])  # exits
    command = arguments[0]
    description, operands, kinds = COMMANDS[command]
    parser = Parser(description, operands)
    parser.prog += f" {command}"
    return command, parse(parser, kinds, arguments[1:])
