"""`--skip_bad_images`: find the images of a list that cannot be decoded, leave them out, and record them in a file."""

import itertools
from pathlib import Path

import numpy as np

from datasets.file_lists import FileList
from datasets.images import decode
from datasets.loading import map_in_workers
from utils.distributed import Distributed
from utils.errors import InputError
from utils.files import atomic_write
from utils.text import printable

SKIPPED = "skipped_images.txt"
SIDE = 32  # pixels; the decoder reads a file to its end however small the result
CHUNK = 64  # images that a worker tries at a time


class BadImages:
    """A filter for `Split`: called with a list, it returns the list's readable images. Each list is examined once."""

    def __init__(self, num_workers: int, distributed: Distributed):
        self.num_workers, self.distributed = num_workers, distributed
        self.messages: dict[Path, list[str]] = {}
        self._readable: dict[Path, FileList] = {}

    @property
    def count(self) -> int:
        """Number of images left out."""
        return sum(map(len, self.messages.values()))

    def __call__(self, files: FileList) -> FileList:
        if files.source not in self._readable:
            self._readable[files.source], messages = readable(files, self.num_workers, self.distributed)
            self.messages[files.source] = messages
            print(f"{files.source}: {len(messages)} of {len(files)} images cannot be read and are skipped")
        return self._readable[files.source]

    def write(self, path: Path) -> None:
        """Write one line for each image left out; no file if there is none."""
        if self.count:
            with atomic_write(path) as temporary:
                lines = [line for messages in self.messages.values() for line in messages]
                temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="replace")
            print(f"skipped images: {self.count}, listed in {path}")


def readable(files: FileList, num_workers: int, distributed: Distributed | None = None) -> tuple[FileList, list[str]]:
    """The images that can be decoded, in their order, and one message for each other image. Shows a progress bar.

    num_workers: worker processes, 0 for the main process. Several training processes share the work and return the same.
    Raises InputError if no image is left.
    """
    distributed = distributed or Distributed()
    shard = files.subset(distributed.own_positions(len(files)))
    paths = [f"{shard.root}/{path}" for path in shard.paths]
    faults = list(itertools.chain(*map_in_workers(_fault, paths, CHUNK, num_workers, "checking images")))
    faults = list(itertools.chain(*distributed.all_gather_objects(faults)))
    good = np.flatnonzero([fault is None for fault in faults])
    messages = [fault for fault in faults if fault is not None]
    if not len(good):
        first = f"the first: {messages[0]}" if messages else "it names none"
        raise InputError(f"{files.source}: no image of the list can be read ({first}); unpack the images again")
    return files.subset(good), messages


def _fault(path: str) -> str | None:
    """A message, or None if the image can be decoded."""
    try:
        decode(path, SIDE)
    except InputError as error:
        return printable(error)
    return None
