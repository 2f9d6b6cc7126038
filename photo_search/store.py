"""Where photos, their vectors and facts about an index live: the interface, and what all homes share.

`FolderStore` keeps them in a folder of this machine, `MilvusStore` in a vector database.
"""

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from models.names import DOWNLOAD
from photo_search.network import Network
from utils.errors import InputError
from utils.text import is_url

FORMAT = 1
Found = tuple[np.ndarray, np.ndarray]  # ids (q, k) int64 and similarity (q, k)


class PhotoFile(NamedTuple):
    """A photo on disk, or in a tar file (shard); `changed` is the modification time of the file or shard in nanoseconds.

    path: absolute path; of a photo in a shard its name, `SHARD/KEY`. shard: absolute path or URL. offset: of its bytes there.
    """

    path: str
    size: int
    changed: int
    shard: str = ""
    offset: int = 0

    @property
    def short_name(self) -> str:
        """File and folder, or shard and key: no more of the directory structure, and nothing of a URL's query."""
        if not self.shard:
            return "/".join(PurePath(self.path).parts[-2:])
        shard = self.shard.partition("?")[0] if is_url(self.shard) else self.shard
        return PurePath(shard).name + self.path.removeprefix(self.shard)

    @property
    def exists(self) -> bool:
        """Whether the file or shard is still there; a shard behind a URL is taken to be."""
        return is_url(self.shard) or os.path.isfile(self.shard or self.path)


@dataclass(frozen=True)
class ShardState:
    """Size and modification time of a shard when indexing it began, and whether all of its photos are in the index."""

    size: int
    changed: int
    is_done: bool


class StoreFault(InputError):
    """A store elsewhere that does not serve. notice: what a visitor of the page reads, who need not know the store's address."""

    status = 503

    def __init__(self, message: str, notice: str = "The photo database does not answer; try again later."):
        super().__init__(message)
        self.notice = notice


class Store(ABC):
    """Photos and their vectors (d,) float32, of length 1, under ids that stay those of the same photo.

    folder: of the index on this machine. place: names the store in messages. is_shared: whether several processes may add photos
    at the same time. serves_threads: whether several threads may use it at the same time. All methods raise InputError if the
    store cannot be read or written, is damaged, or full.
    """

    folder: Path
    place: str
    is_shared = serves_threads = False

    @property
    def options(self) -> str:
        """The options that name this store to `search.py index`."""
        return f"-o {self.folder}"

    def sole_run(self) -> contextlib.AbstractContextManager[None]:
        """Raise InputError if another run, perhaps on another machine, is changing the store; `folder` is locked by who calls."""
        return contextlib.nullcontext()

    @abstractmethod
    def fact(self, name: str, default: Any = None) -> Any:
        """What `keep_facts` recorded under this name."""

    @abstractmethod
    def keep_facts(self, **facts: Any) -> None:
        """Record values that JSON can hold."""

    @abstractmethod
    def __len__(self) -> int:
        """How many photos have a vector."""

    @abstractmethod
    def known(self, shard: str = "") -> dict[str, PhotoFile]:
        """{path: photo} of a shard, or of all photos that are files; unreadable ones included."""

    @abstractmethod
    def unreadable(self) -> dict[str, str]:
        """{path: reason}."""

    @abstractmethod
    def add(self, photos: Sequence[PhotoFile], vectors: np.ndarray, faults: dict[PhotoFile, str]) -> None:
        """Add photos, or replace those of the same path; vectors (len(photos), d). faults: unreadable photos and the reasons.

        All of it is stored, or nothing.
        """

    @abstractmethod
    def remove(self, photos: Iterable[PhotoFile]) -> None:
        """Forget photos; those that are not known are skipped."""

    @abstractmethod
    def search(self, queries: np.ndarray, k: int, codes: bool = False) -> Found:
        """Unit vectors (q, d) → the k most similar photos of each, the most similar first; fewer if there are fewer.

        Similarity is the cosine or, with codes, 1 - 2 · Hamming distance / bits.
        """

    @abstractmethod
    def prepare(self, codes: bool) -> str:
        """Fit and build now what the next search needs. Returns how it will search, and how well, as far as that is measured."""

    @abstractmethod
    def photos_of(self, ids: Iterable[int]) -> dict[int, PhotoFile]:
        """{id: photo} of those ids that are indexed."""

    @abstractmethod
    def vectors_of(self, ids: Iterable[int]) -> dict[int, np.ndarray]:
        """{id: vector (d,)} of those ids that are indexed."""

    @abstractmethod
    def shards(self) -> dict[str, ShardState]:
        """The shards of which photos are, or may be, in the index."""

    @abstractmethod
    def keep_shards(self, shards: dict[str, ShardState | None]) -> None:
        """Record the state of shards; None forgets one."""

    @abstractmethod
    def keep_links(self, links: dict[str, str], places: Iterable[str]) -> None:
        """Record {path of a file or folder: its target}, in place of what was recorded of paths in `places`."""

    @abstractmethod
    def real_path(self, path: str) -> str:
        """Where an indexed photo's absolute path led when it was indexed: `path` itself, if it held no link."""

    @abstractmethod
    def for_another_thread(self) -> "Store":
        """The same store, to be used by another thread at the same time."""

    @property
    def width(self) -> int:
        """The length of the vectors; 0 before a network is recorded."""
        try:
            return int(self.fact("width", 0))
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.place}: damaged ({error}); index the photos again, into another folder") from error

    def belong_to(self, network: Network) -> None:
        """Record the network that computes the vectors. Raises InputError if they were computed by another one."""
        place, option = ("weights", "pretrained_weights") if network.untrained else ("checkpoint", "checkpoint")
        made_by, recorded = self.fact("network"), self.fact(place)
        if made_by is None:
            facts = {"network": network.digest, place: network.weights, "side": network.side, "width": network.width}
            if network.untrained:
                facts["untrained"] = network.untrained
            self.keep_facts(format=FORMAT, **facts)
        elif made_by != network.digest:
            if recorded == network.weights:
                other = "what was downloaded before" if recorded == DOWNLOAD else "what that file held before"
            else:
                other = f"{'other weights' if network.untrained else 'another checkpoint'} ({recorded})"
            raise InputError(
                f"{self.place}: was made with {other}, whose vectors do not compare with those of {network.weights}; "
                f"give the same weights by --{option}, or index into another folder"
            )
        elif self.fact("side") != network.side:
            sizes = f"was made at --image_size {self.fact('side')}, not {network.side}"
            raise InputError(f"{self.place}: {sizes}; leave the option out, or index into another folder")
        elif recorded != network.weights and not Path(str(recorded)).exists():  # it was moved
            with contextlib.suppress(InputError):  # where nothing can be written, the file must be named each time
                self.keep_facts(**{place: network.weights})
