"""The plain reference computes what it is compared with: the same losses on the same views."""

import pytest
import torch

from benchmarks.plain import PlainBank, PlainImages, plain_step
from tests.helpers.steps import batch, training_step


def test_plain_losses_are_ours_step_by_step():
    ours, plain = training_step(), training_step()
    for it in (ours, plain):
        it.optimizer = torch.optim.SGD(it.student.parameters(), lr=1e-4)
    bank, shared = PlainBank(2), batch()
    for step in range(3):
        plain.student.load_state_dict(ours.student.state_dict())  # else ReLU lets the last bits of one step grow in the next
        expected = ours(shared, 0, step)[:4].tolist()
        views = torch.stack(plain.views(shared.images, 0, step), dim=1)
        found = plain_step(plain, bank, views, shared.labels)
        assert list(found) == pytest.approx(expected, rel=2e-3, abs=1e-4)


def test_the_plain_pipeline_gives_three_views(shared_dataset):
    path = str(next((shared_dataset / "Sketchy/photo").rglob("*.jpg")))
    views, label = PlainImages([path], [4], 32)[0]
    assert views.shape == (3, 3, 32, 32)
    assert label == 4
