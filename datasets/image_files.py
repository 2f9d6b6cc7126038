"""Lists of files as PyTorch takes a dataset: whole batches of uint8 images at once."""

from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from datasets.file_lists import FileList
from datasets.images import decode
from utils.errors import InputError


class Batch(NamedTuple):
    """images (B, 3, side, side) uint8, labels (B,) int64; in a training batch the sketches come first."""

    images: torch.Tensor
    labels: torch.Tensor


class ImageFiles(Dataset):
    """The images of one list, or of several one after the other, decoded to `side` pixels each time they are asked for."""

    def __init__(self, lists: list[FileList], side: int):
        self.lists = lists
        self.paths = [f"{files.root}/{path}" for files in lists for path in files.paths]
        self.labels = np.concatenate([files.labels for files in lists])
        self.side = side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, rows: list[int]) -> Batch | InputError:
        """The batch of these rows; an unreadable image travels as its error, to be raised where it can be shown."""
        try:
            return as_batch(np.stack([decode(self.paths[row], self.side) for row in rows]), self.labels[rows])
        except InputError as error:
            return error  # a worker that raised would wrap the message in a traceback


def as_batch(pixels: np.ndarray, labels: np.ndarray) -> Batch:
    """(B, side, side, 3) uint8 and (B,) int64, as a batch; the pixels stay where they are, so channels come last in memory."""
    return Batch(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels))


def require_readable(batch: Batch | InputError) -> Batch:
    """The batch; raises InputError, with the option that helps, where a worker met an unreadable image."""
    if isinstance(batch, InputError):
        raise InputError(f"{batch} (--skip_bad_images leaves out all that cannot be read)") from batch
    return batch
