"""Lists of files → batches of uint8 images: mixed batches for training, plain ones for embedding, pairs for validation."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from datasets.file_lists import FileList
from datasets.images import decode
from utils.errors import InputError
from utils.seeding import generator_for

SKETCH_ORDER, PHOTO_ORDER, VALIDATION = 1, 2, 3  # what a generator is for, so that no two share a stream


class Batch(NamedTuple):
    """images (B, 3, side, side) uint8, labels (B,) int64; in a training batch the sketches come first."""

    images: torch.Tensor
    labels: torch.Tensor


class ImageFiles(Dataset):
    """The images of one list, or of several one after the other, decoded to `side` pixels."""

    def __init__(self, lists: list[FileList], side: int):
        self.paths = [f"{files.root}/{path}" for files in lists for path in files.paths]
        self.labels = np.concatenate([files.labels for files in lists])
        self.side = side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int] | InputError:
        try:
            return decode(self.paths[index], self.side), int(self.labels[index])
        except InputError as error:
            return error  # a worker that raised would wrap the message in a traceback


class MixedBatches:
    """Batches of `sketches_per_batch` sketches, then `photos_per_batch` photos, each shuffled on its own, not paired by class.

    An epoch ends with the shorter of the two, incomplete batches dropped, or after `steps_per_epoch`. The order depends on
    (seed, epoch) alone. Raises InputError if a list does not fill one batch.
    """

    def __init__(
        self,
        sketches: FileList,
        photos: FileList,
        *,
        sketches_per_batch: int,
        photos_per_batch: int,
        side: int,
        seed: int,
        num_workers: int = 0,
        pin_memory: bool = False,
        steps_per_epoch: int | None = None,
    ):
        for files, needed in ((sketches, sketches_per_batch), (photos, photos_per_batch)):
            if len(files) < needed:
                raise InputError(f"{files.source}: {len(files)} images do not fill a batch of {needed}; lower --batch_size")
        self.counts = len(sketches), len(photos)
        self.shares = sketches_per_batch, photos_per_batch
        self.seed, self.epoch = seed, 0
        full_epoch = min(len(sketches) // sketches_per_batch, len(photos) // photos_per_batch)
        self.steps = min(full_epoch, steps_per_epoch or full_epoch)
        self.loader = DataLoader(
            ImageFiles([sketches, photos], side),
            batch_sampler=self,
            num_workers=num_workers,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            collate_fn=collate,
        )

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        """Indices of each batch of `self.epoch`, for the loader."""
        sketch_order = generator_for(self.seed, SKETCH_ORDER, self.epoch).permutation(self.counts[0])
        photo_order = generator_for(self.seed, PHOTO_ORDER, self.epoch).permutation(self.counts[1]) + self.counts[0]
        (s, p) = self.shares
        for step in range(self.steps):
            yield [*sketch_order[step * s : (step + 1) * s].tolist(), *photo_order[step * p : (step + 1) * p].tolist()]

    def of_epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, always the same ones for the same seed and epoch."""
        self.epoch = epoch
        return map(require_readable, self.loader)


def plain_batches(
    files: FileList, *, side: int, batch_size: int, num_workers: int = 0, pin_memory: bool = False
) -> Iterator[Batch]:
    """The list's images in its order."""
    loader = DataLoader(ImageFiles([files], side), batch_size, num_workers=num_workers, pin_memory=pin_memory, collate_fn=collate)
    return map(require_readable, loader)


def validation_pairs(sketches: FileList, photos: FileList, count: int, seed: int) -> tuple[FileList, FileList, np.ndarray]:
    """Up to `count` training photos, each paired with a random held-out sketch of its class.

    Returns the distinct sketches needed, the photos, and for each photo the row of its sketch among those sketches. The same
    pairs for the same seed, so that epochs can be compared. Photos of a class without a held-out sketch are passed over.
    """
    generator = generator_for(seed, VALIDATION)
    has_sketch = np.isin(photos.labels, sketches.labels)
    candidates = generator.permutation(np.flatnonzero(has_sketch))[:count]
    if not len(candidates):
        raise InputError(f"{sketches.source}: no sketch of a class of {photos.source}; validation needs held-out sketches")
    by_class = np.argsort(sketches.labels, kind="stable")
    ordered_labels = sketches.labels[by_class]
    labels = photos.labels[candidates]
    first, last = np.searchsorted(ordered_labels, labels, "left"), np.searchsorted(ordered_labels, labels, "right")
    partner = by_class[generator.integers(first, last)]
    needed, row = np.unique(partner, return_inverse=True)
    return sketches.subset(needed), photos.subset(candidates), row


def collate(items: list) -> Batch | InputError:
    """One batch; an unreadable image travels as its error, to be raised by the process that can show it."""
    for item in items:
        if isinstance(item, InputError):
            return item
    images, labels = zip(*items, strict=True)
    return Batch(torch.stack(images), torch.tensor(labels))


def require_readable(batch: Batch | InputError) -> Batch:
    """The batch, or the error a worker met."""
    if isinstance(batch, InputError):
        raise batch
    return batch
