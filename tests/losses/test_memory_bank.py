import numpy as np
import pytest
import torch
import torch.nn.functional as F

from losses.memory_bank import MemoryBank
from tests.helpers import golden_values


class OneAfterTheOther:
    """The bank's rule, one sketch after the other."""

    def __init__(self, classes: int, capacity: int):
        self.slots = [[] for _ in range(classes)]
        self.capacity = capacity

    def update(self, sketches, sketch_labels, photos, photo_labels):
        for sketch, label in zip(sketches, sketch_labels.tolist(), strict=True):
            slots = self.slots[label]
            if len(slots) < self.capacity:
                slots.append(sketch)
                continue
            same_class = [photo for photo, other in zip(photos, photo_labels.tolist(), strict=True) if other == label]
            if not same_class:
                continue
            prototype = torch.stack(same_class).mean(0)
            cosines = [F.cosine_similarity(slot, prototype, dim=0).item() for slot in slots]
            worst = int(np.argmin(cosines))
            if F.cosine_similarity(sketch, prototype, dim=0).item() > cosines[worst]:
                slots[worst] = sketch

    def loss(self, photos, photo_labels):
        cosines = [
            F.cosine_similarity(photo, torch.stack(self.slots[label]).mean(0), dim=0).item()
            for photo, label in zip(photos, photo_labels.tolist(), strict=True)
            if self.slots[label]
        ]
        return 1 - sum(cosines) / len(cosines) if cosines else 0.0


def test_slots_counts_and_losses_are_the_released_ones_step_by_step():
    golden = golden_values.arrays()
    bank = MemoryBank(5, 3, 16)
    for step in range(12):
        names = ("memory_sketch", "memory_sketch_labels", "memory_photo", "memory_photo_labels")
        sketches, sketch_labels, photos, photo_labels = (torch.tensor(golden[name][step]) for name in names)
        bank.update(sketches, sketch_labels, photos, photo_labels)
        assert bank.loss(photos, photo_labels).item() == pytest.approx(golden["memory_loss"][step], abs=1e-6)
        np.testing.assert_array_equal(bank.counts[:5].numpy(), golden["memory_counts"][step])
        np.testing.assert_allclose(bank.slots[:5].numpy(), golden["memory_slots"][step], atol=1e-6)
        filled_percent = 100 * bank.counts[:5].sum().item() / 15
        assert filled_percent == pytest.approx(golden["memory_used_percent"][step], abs=1e-4)


@pytest.mark.parametrize(("classes", "capacity", "sketches"), [(1, 2, 9), (3, 2, 8), (6, 4, 5), (4, 1, 12)])
def test_the_rounds_mean_what_one_sketch_after_the_other_means(classes, capacity, sketches):
    generator = torch.Generator().manual_seed(classes)
    bank, oracle = MemoryBank(classes, capacity, 5), OneAfterTheOther(classes, capacity)
    for _ in range(15):
        x, p = torch.randn(sketches, 5, generator=generator), torch.randn(4, 5, generator=generator)
        x_labels = torch.randint(classes, (sketches,), generator=generator)
        p_labels = torch.randint(classes, (4,), generator=generator)
        rounds = int(torch.bincount(x_labels).max())
        bank.update(x, x_labels, p, p_labels, rounds=rounds)
        oracle.update(x, x_labels, p, p_labels)
        assert bank.counts[:classes].tolist() == [len(slots) for slots in oracle.slots]
        for label, slots in enumerate(oracle.slots):
            if slots:
                torch.testing.assert_close(bank.slots[label, : len(slots)], torch.stack(slots))
        assert bank.loss(p, p_labels).item() == pytest.approx(oracle.loss(p, p_labels), abs=1e-6)


def test_the_loss_moves_photos_and_only_photos():
    bank, labels = MemoryBank(2, 2, 4), torch.tensor([0, 1])
    sketches = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    photos = torch.randn(2, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    bank.update(sketches, labels, photos, labels)
    bank.loss(photos, labels).backward()
    assert (photos.grad.norm(dim=1) > 0).all()
    assert sketches.grad is None
    moved = (photos - 0.5 * photos.grad).detach()
    assert bank.loss(moved, labels) < bank.loss(photos, labels)
    assert not bank.loss(photos, labels, detach_photos=True).requires_grad


def test_an_empty_bank_costs_nothing_and_emptying_forgets():
    bank, labels = MemoryBank(3, 2, 4), torch.tensor([0, 0, 2])
    photos = torch.ones(3, 4)
    assert bank.loss(photos, labels).item() == 0
    bank.update(torch.ones(3, 4), labels, photos, labels)
    assert bank.counts[:3].tolist() == [2, 0, 1]
    bank.empty()
    assert bank.loss(photos, labels).item() == 0


def test_photos_of_a_class_without_slots_are_left_out():
    bank = MemoryBank(2, 1, 2)
    bank.update(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    photos, labels = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1])
    assert bank.loss(photos, labels).item() == pytest.approx(1.0)
