"""Lists of files → batches of uint8 images: for training, for embedding, and pairs for validation.

`MixedOrder` chooses the rows of each training batch, workers decode them (`ImageFiles`), `MixedBatches` yields the result.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from datasets.file_lists import FileList
from datasets.images import Fit, decode
from datasets.loading import Loading
from utils.distributed import Distributed
from utils.errors import InputError
from utils.seeding import generator_for

SKETCH_ORDER, PHOTO_ORDER, VALIDATION = 1, 2, 3  # purposes of random generators, so that no two share a stream


class Batch(NamedTuple):
    """images (B, 3, side, side) uint8, labels (B,) int64; in a training batch the sketches come first."""

    images: torch.Tensor
    labels: torch.Tensor


def as_batch(pixels: np.ndarray, labels: np.ndarray) -> Batch:
    """(B, side, side, 3) uint8 and (B,) int64 → batch. The pixels are not copied, so channels stay last in memory."""
    return Batch(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels))


class ImageFiles(Dataset):
    """The images of one or several lists, one list after the other, decoded to `side` × `side` pixels on each access.

    fit: see `datasets.images.decode`.
    """

    def __init__(self, lists: list[FileList], side: int, fit: Fit | None = None):
        self.paths = [f"{files.root}/{path}" for files in lists for path in files.paths]
        self.labels = np.concatenate([files.labels for files in lists])
        self.side, self.fit = side, fit

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, rows: list[int]) -> Batch | InputError:
        """The batch of these rows. An error is returned, not raised, because PyTorch adds a traceback to what a worker raises."""
        try:
            return as_batch(np.stack([decode(self.paths[row], self.side, self.fit) for row in rows]), self.labels[rows])
        except InputError as error:
            return error


class MixedOrder(Sampler[list[int]]):
    """The row numbers of each batch of `epoch`, starting at step `first`: sketches, then photos, each kind shuffled separately.

    counts: numbers of sketches and photos; the photos' rows follow the sketches'. per_batch: numbers of each in one batch.
    The order depends on (seed, epoch) alone. Of each batch, iterating yields only the rows at `local_positions`: those that
    this process decodes.
    """

    def __init__(self, counts: tuple[int, int], per_batch: tuple[int, int], steps: int, seed: int, local_positions: list[int]):
        self.counts, self.per_batch, self.steps, self.seed, self.local_positions = counts, per_batch, steps, seed, local_positions
        self.epoch = self.first = 0

    @property
    def identity(self) -> list[int]:
        """Equal for two orders whose batches are equal in every step that both have."""
        return [*self.counts, *self.per_batch, self.seed]

    def __len__(self) -> int:
        return self.steps - self.first

    def __iter__(self) -> Iterator[list[int]]:
        return ([rows[position] for position in self.local_positions] for rows in self.global_batches())

    def global_batches(self) -> Iterator[list[int]]:
        """All rows of each batch, those of the other processes included."""
        sketch_order = generator_for(self.seed, SKETCH_ORDER, self.epoch).permutation(self.counts[0])
        photo_order = generator_for(self.seed, PHOTO_ORDER, self.epoch).permutation(self.counts[1]) + self.counts[0]
        s, p = self.per_batch
        for step in range(self.first, self.steps):
            yield [*sketch_order[step * s : (step + 1) * s].tolist(), *photo_order[step * p : (step + 1) * p].tolist()]


class MixedBatches:
    """Training batches: `sketches_per_batch` sketches, then `photos_per_batch` photos, not paired by class (`MixedOrder`).

    An epoch ends with the shorter list, without its incomplete batch, or after `steps_per_epoch`. With several processes, each
    gets its shard of the images and the labels of the whole batch. Raises InputError if a list does not fill one batch, or if
    there are more processes than sketches in a batch.
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
        distributed: Distributed | None = None,
        fit: Fit | None = None,
    ):
        distributed = distributed or Distributed()
        for files, needed in ((sketches, sketches_per_batch), (photos, photos_per_batch)):
            if len(files) < needed:
                raise InputError(f"{files.source}: {len(files)} images do not fill a batch of {needed}; lower --batch_size")
        if distributed.world_size > sketches_per_batch:
            raise InputError(
                f"{distributed.world_size} processes: a batch has {sketches_per_batch} sketches; raise --batch_size or use fewer"
            )
        self.per_batch = sketches_per_batch, photos_per_batch
        full_epoch = min(len(sketches) // sketches_per_batch, len(photos) // photos_per_batch)
        steps = min(full_epoch, steps_per_epoch or full_epoch)
        local_positions = distributed.own_positions(*self.per_batch)
        self.order = MixedOrder((len(sketches), len(photos)), self.per_batch, steps, seed, local_positions)
        self.images = ImageFiles([sketches, photos], side, fit)
        self.loading = Loading(self.images, self.order, num_workers, pin_memory=pin_memory, persistent=True)

    def __len__(self) -> int:
        return self.order.steps

    def files_of(self, epoch: int, step: int) -> list[str]:
        """Paths of the images in the batch of one step, counted from 1."""
        self.order.epoch, self.order.first = epoch, step - 1
        return [self.images.paths[row] for row in next(self.order.global_batches())]

    def of_epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `first` on: the same ones for the same seed and epoch."""
        self.order.epoch, self.order.first = epoch, first
        labels = (torch.from_numpy(self.images.labels[rows]) for rows in self.order.global_batches())
        return (
            Batch(_require_readable(batch).images, all_labels) for batch, all_labels in zip(self.loading, labels, strict=True)
        )


def plain_batches(
    files: FileList, *, side: int, batch_size: int, num_workers: int = 0, pin_memory: bool = False, fit: Fit | None = None
) -> Iterator[Batch]:
    """The images of one list in the list's order. Raises InputError on the first unreadable image."""
    return map(_require_readable, Loading(ImageFiles([files], side, fit), batch_size, num_workers, pin_memory=pin_memory))


def _require_readable(batch: Any) -> Batch:
    if isinstance(batch, InputError):
        raise InputError(f"{batch} (--skip_bad_images leaves out all that cannot be read)") from batch
    return batch


def validation_pairs(sketches: FileList, photos: FileList, count: int, seed: int) -> tuple[FileList, FileList, np.ndarray]:
    """Up to `count` training photos, each paired with a random held-out sketch of its class.

    Returns the distinct sketches needed, the photos, and (photos,) the row of each photo's sketch among those sketches. The same
    seed makes the same pairs, so that epochs can be compared. Photos of a class without a held-out sketch are left out.
    Raises InputError if no photo remains.
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
