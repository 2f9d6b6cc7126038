"""Lists of files → batches of uint8 images: mixed batches for training, plain ones for embedding, pairs for validation."""

import functools
from collections.abc import Iterator

import numpy as np
import torch

from datasets.decoded import Cache
from datasets.file_lists import FileList
from datasets.image_files import Batch, ImageFiles, require_readable
from datasets.loading import Loading
from utils.distributed import Distributed
from utils.errors import InputError
from utils.seeding import generator_for

SKETCH_ORDER, PHOTO_ORDER, VALIDATION = 1, 2, 3  # what a generator is for, so that no two share a stream


class MixedOrder:
    """Rows of each batch of `epoch` from step `first` on: first sketches and then photos, each shuffled on their own.

    counts: sketches and photos there are, the photos' rows following the sketches'; shares: how many of each a batch takes.
    The order depends on (seed, epoch) alone. A DataLoader that iterates over it gets the rows at `own` of each batch.
    """

    def __init__(self, counts: tuple[int, int], shares: tuple[int, int], steps: int, seed: int, own: list[int]):
        self.counts, self.shares, self.steps, self.seed, self.own = counts, shares, steps, seed, own
        self.epoch = self.first = 0

    @property
    def identity(self) -> list[int]:
        """Alike for orders with the same batches in the same steps, however many there are."""
        return [*self.counts, *self.shares, self.seed]

    def __len__(self) -> int:
        return self.steps - self.first

    def __iter__(self) -> Iterator[list[int]]:
        return ([rows[position] for position in self.own] for rows in self.whole())

    def whole(self) -> Iterator[list[int]]:
        """The rows of whole batches."""
        sketch_order = generator_for(self.seed, SKETCH_ORDER, self.epoch).permutation(self.counts[0])
        photo_order = generator_for(self.seed, PHOTO_ORDER, self.epoch).permutation(self.counts[1]) + self.counts[0]
        s, p = self.shares
        for step in range(self.first, self.steps):
            yield [*sketch_order[step * s : (step + 1) * s].tolist(), *photo_order[step * p : (step + 1) * p].tolist()]


class MixedBatches:
    """Batches of `sketches_per_batch` sketches, then `photos_per_batch` photos, not paired by class (see `MixedOrder`).

    An epoch ends with the shorter of the two, incomplete batches dropped, or after `steps_per_epoch`. With a `cache`, images
    are decoded before the first epoch; the batches are the same. In a team each process gets its share of the images, and the
    labels of all. Raises InputError if a list does not fill one batch, or a batch does not go round the team.
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
        cache: Cache | None = None,
        distributed: Distributed | None = None,
    ):
        distributed = distributed or Distributed()
        for files, needed in ((sketches, sketches_per_batch), (photos, photos_per_batch)):
            if len(files) < needed:
                raise InputError(f"{files.source}: {len(files)} images do not fill a batch of {needed}; lower --batch_size")
        if distributed.world_size > sketches_per_batch:
            raise InputError(
                f"{distributed.world_size} processes: a batch has {sketches_per_batch} sketches; raise --batch_size or use fewer"
            )
        self.shares = sketches_per_batch, photos_per_batch
        full_epoch = min(len(sketches) // sketches_per_batch, len(photos) // photos_per_batch)
        steps = min(full_epoch, steps_per_epoch or full_epoch)
        self.order = MixedOrder((len(sketches), len(photos)), self.shares, steps, seed, distributed.own_positions(*self.shares))
        self.images, self.cache = ImageFiles([sketches, photos], side), cache
        self.num_workers, self.pin_memory, self.distributed = num_workers, pin_memory, distributed

    def prepare(self) -> None:
        """Fill the cache, if there is one, which takes its time; else the first epoch does."""
        _ = self.loader

    @functools.cached_property
    def loader(self) -> Loading:
        """Not made before it is needed: some runs never train."""
        images = self.cache.of(self.images, self.distributed) if self.cache else self.images
        return Loading(images, self.order, self.num_workers, pin_memory=self.pin_memory, persistent=True)

    def __len__(self) -> int:
        return self.order.steps

    def files_of(self, epoch: int, step: int) -> list[str]:
        """The images of the batch that is taken in this step, counted from 1."""
        self.order.epoch, self.order.first = epoch, step - 1
        return [self.images.paths[row] for row in next(self.order.whole())]

    def of_epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `first` on, always the same ones for the same seed and epoch."""
        self.order.epoch, self.order.first = epoch, first
        labels = (torch.from_numpy(self.images.labels[rows]) for rows in self.order.whole())
        return (Batch(require_readable(batch).images, own) for batch, own in zip(self.loader, labels, strict=True))


def plain_batches(
    files: FileList, *, side: int, batch_size: int, num_workers: int = 0, pin_memory: bool = False
) -> Iterator[Batch]:
    """The list's images in its order."""
    return map(require_readable, Loading(ImageFiles([files], side), batch_size, num_workers, pin_memory=pin_memory))


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
