"""Memory bank of sketch features, which attracts the photos of the same class (DSN, Wang et al. IJCAI 2021).

The bank stores up to K pooled sketch features of each class. A sketch takes a free slot of its class. If there is none, it
replaces the slot that is least similar to the photos of its class in this step, if the sketch is more similar to them. With m_c
the mean of the filled slots of class c,

L = 1 − mean of cos(photo, m_c) over the photos whose class c has a filled slot; 0 if there is no such photo

Stored features carry no gradient and photo features do, so the loss moves photos towards sketches. (The released code detaches
the photos too, so that the loss has no effect; `detach_photos` reproduces this.)
"""

import torch
import torch.nn.functional as F
from torch import nn


class MemoryBank(nn.Module):
    """`slots` (classes + 1, K, dim) float32 and `counts` (classes + 1,), the number of filled slots of each class.

    There is one row more than classes: a write that must not happen (a rejected sketch, or one of another round) goes to that
    last row, which is never read. So all sketches are written at once by one indexing operation, without a mask of varying
    length for which the host would have to wait for the device.
    """

    def __init__(self, num_classes: int, slots_per_class: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("slots", torch.zeros(num_classes + 1, slots_per_class, dim))
        self.register_buffer("counts", torch.zeros(num_classes + 1, dtype=torch.int64))

    def empty(self) -> None:
        """Remove all features; the trainer does so at the start of each epoch."""
        self.slots.zero_()
        self.counts.zero_()

    @torch.no_grad()
    def update(
        self,
        sketches: torch.Tensor,
        sketch_labels: torch.Tensor,
        photos: torch.Tensor,
        photo_labels: torch.Tensor,
        rounds: int | None = None,
    ) -> None:
        """Offer the sketches of one step to the bank, in their order.

        sketches (S, dim), photos (P, dim); labels (S,), (P,) int64 in [0, classes). rounds: the number of sketches of the most
        frequent class; a caller that knows it on the host saves a device synchronisation.

        Classes do not affect each other, so round n handles the n-th sketches of all classes at once. The result is the same as
        with one sketch after the other.
        """
        sketches, photos = sketches.float(), photos.float()
        last_row, capacity = len(self.counts) - 1, self.slots.shape[1]
        earlier = (sketch_labels[:, None] == sketch_labels[None, :]).tril(-1).sum(1)  # (S,) earlier sketches of the class
        if rounds is None:
            rounds = int(earlier.max()) + 1
        same_class = (sketch_labels[:, None] == photo_labels[None, :]).float()  # (S, P)
        has_photo = same_class.any(1)
        prototype = F.normalize(same_class @ photos, dim=1)  # direction of the mean; a cosine needs no more
        sketch_cosine = (F.normalize(sketches, dim=1) * prototype).sum(1)
        for turn in range(rounds):
            count = self.counts[sketch_labels]
            slot_cosine = torch.einsum("skd,sd->sk", F.normalize(self.slots[sketch_labels], dim=2), prototype)
            worst_cosine, worst_slot = slot_cosine.min(1)
            is_free = count < capacity
            is_stored = (earlier == turn) & (is_free | has_photo & (sketch_cosine > worst_cosine))
            row = torch.where(is_stored, sketch_labels, last_row)
            self.slots[row, torch.where(is_free, count, worst_slot)] = sketches
            self.counts[row] = torch.where(is_free, count + 1, count)

    def loss(self, photos: torch.Tensor, photo_labels: torch.Tensor, detach_photos: bool = False) -> torch.Tensor:
        """photos (P, dim), photo_labels (P,) int64 → scalar in [0, 2]."""
        photos = (photos.detach() if detach_photos else photos).float()
        cosine = F.cosine_similarity(
            photos, self.slots[photo_labels].sum(1), dim=1
        )  # empty slots are 0; a cosine of the sum is that of the mean
        is_remembered = (self.counts[photo_labels] > 0).float()
        return ((1 - cosine) * is_remembered).sum() / is_remembered.sum().clamp(min=1)
