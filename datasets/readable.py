"""Which images of a list can be decoded, found out before they are needed."""

import numpy as np
from torch.utils.data import Dataset

from datasets.file_lists import FileList
from datasets.images import decode
from datasets.loading import Loading
from utils.distributed import Distributed
from utils.errors import InputError
from utils.progress import progress_bar
from utils.text import printable

SIDE = 32  # pixels; however small, the decoder reads the file to its end
CHUNK = 64  # images tried at a time


class _Trials(Dataset):
    """For rows of a list, what is wrong with each image: a message, or None."""

    def __init__(self, files: FileList):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, rows: list[int]) -> list[str | None]:
        return [_fault(f"{self.files.root}/{self.files.paths[row]}") for row in rows]


def readable(files: FileList, num_workers: int, distributed: Distributed | None = None) -> tuple[FileList, list[str]]:
    """The images that can be decoded, in their order, and one message for each other one; decodes all, and shows a bar.

    num_workers: processes that decode, 0 for none but this one. The processes of a team share the work, and all get the same
    answer. Raises InputError if no image is left.
    """
    distributed = distributed or Distributed()
    own = files.subset(np.arange(len(files))[distributed.shard_slice(len(files))])
    faults = [fault for share in distributed.all_gather_objects(_faults(own, num_workers)) for fault in share]
    good = np.flatnonzero([fault is None for fault in faults])
    messages = [fault for fault in faults if fault is not None]
    if not len(good):
        first = f"the first: {messages[0]}" if messages else "it names none"
        raise InputError(f"{files.source}: no image of the list can be read ({first}); unpack the images again")
    return files.subset(good), messages


def _faults(files: FileList, num_workers: int) -> list[str | None]:
    """For each image of the list a message, or None if it can be decoded."""
    if not len(files):
        return []
    faults = []
    with progress_bar(len(files), "checking images", "img") as bar:
        for chunk in Loading(_Trials(files), CHUNK, num_workers):
            faults += chunk
            bar.update(len(chunk))
    return faults


def _fault(path: str) -> str | None:
    try:
        decode(path, SIDE)
    except InputError as error:
        return printable(error)
    return None
