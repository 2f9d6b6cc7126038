"""Memory bank of sketch features that photos of the same class are drawn towards (DSN, Wang et al. IJCAI 2021).

The bank holds up to K pooled sketch features a class. A sketch takes a free slot of its class; once there is none it replaces the
slot least like this step's photos of the class, if it is more like them. With m_c the mean of class c's filled slots,

L = 1 − mean over photos whose class c has a filled slot of cos(photo, m_c)                          (0 where there is none)

What is stored carries no gradient; the photo features do, so the loss moves photos towards sketches. (The released code cuts the
photos' gradient as well, which leaves the term without any effect; `detach_photos` gives that behaviour.)
"""

import torch
import torch.nn.functional as F
from torch import nn


class MemoryBank(nn.Module):
    """`slots` (classes + 1, K, dim) and `counts` (classes + 1,): the last row is a scratch row that masked writes go to."""

    def __init__(self, num_classes: int, slots_per_class: int, dim: int):
        super().__init__()
        self.register_buffer("slots", torch.zeros(num_classes + 1, slots_per_class, dim))
        self.register_buffer("counts", torch.zeros(num_classes + 1, dtype=torch.int64))

    def empty(self) -> None:
        """Forget everything, as each epoch does when it starts."""
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
        """Offer the step's sketches to the bank, in their order.

        sketches (S, dim), photos (P, dim); labels (S,), (P,) int64 in [0, classes). `rounds` is how often the most frequent
        sketch class occurs; a caller that knows the labels on the host passes it and spares a device synchronisation.

        Classes do not touch each other, so the n-th sketches of all classes are handled at once in round n: the outcome is
        that of one sketch after the other.
        """
        sketches, photos = sketches.float(), photos.float()
        occurrence = (sketch_labels[:, None] == sketch_labels[None, :]).tril(-1).sum(1)  # (S,) earlier sketches of the class
        if rounds is None:
            rounds = int(occurrence.max()) + 1
        same_class = (sketch_labels[:, None] == photo_labels[None, :]).float()  # (S, P)
        has_photo = same_class.any(1)
        prototype = F.normalize(same_class @ photos, dim=1)  # the mean's direction is all a cosine needs
        sketch_cosine = (F.normalize(sketches, dim=1) * prototype).sum(1)
        for turn in range(rounds):
            self._offer(sketches, sketch_labels, prototype, sketch_cosine, has_photo, occurrence == turn)

    def _offer(self, sketches, labels, prototype, sketch_cosine, has_photo, is_turn) -> None:
        """Sketches with `is_turn` (S,), no two of one class, each take a free slot, replace the worst one, or are passed over."""
        count, capacity = self.counts[labels], self.slots.shape[1]
        slot_cosine = torch.einsum("skd,sd->sk", F.normalize(self.slots[labels], dim=2), prototype)
        worst_cosine, worst_slot = slot_cosine.min(1)
        is_free = count < capacity
        is_better = has_photo & (sketch_cosine > worst_cosine)
        row = torch.where(is_turn & (is_free | is_better), labels, len(self.counts) - 1)
        self.slots[row, torch.where(is_free, count, worst_slot)] = sketches
        self.counts[row] = torch.where(is_free, count + 1, count)

    def loss(self, photos: torch.Tensor, photo_labels: torch.Tensor, detach_photos: bool = False) -> torch.Tensor:
        """photos (P, dim), photo_labels (P,) int64 → scalar in [0, 2]."""
        photos = (photos.detach() if detach_photos else photos).float()
        cosine = F.cosine_similarity(photos, self.slots[photo_labels].sum(1), dim=1)  # empty slots are zeros
        is_remembered = (self.counts[photo_labels] > 0).float()
        return ((1 - cosine) * is_remembered).sum() / is_remembered.sum().clamp(min=1)
