"""Each term against the released values, against nested loops, and for the gradient it should and should not send."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from losses.classification import classification_loss, distance_margin_loss, margin_at
from losses.contrastive import contrastive_loss
from losses.distillation import distillation_loss
from losses.objective import Losses, Weights
from tests.helpers import golden_values


@pytest.fixture(scope="module")
def golden():
    return golden_values.arrays()


def unit_views(first, second):
    return torch.nn.functional.normalize(torch.stack([first, second], dim=1), dim=2)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_contrastive_value_and_gradient_are_the_released_ones(golden, temperature):
    features = torch.tensor(golden["contrastive_features"], requires_grad=True)
    loss = contrastive_loss(features, torch.tensor(golden["contrastive_labels"]), temperature)
    loss.backward()
    assert loss.item() == pytest.approx(golden[f"contrastive_T{temperature}"].item(), abs=1e-5)
    np.testing.assert_allclose(features.grad.numpy(), golden[f"contrastive_T{temperature}_grad"], atol=1e-5)


def test_contrastive_equals_nested_loops():
    features, labels, tau = unit_views(random(6, 5), random(6, 5, seed=1)), [0, 1, 0, 2, 1, 0], 0.2
    views = [(features[i, v], labels[i]) for v in range(2) for i in range(6)]
    total = 0.0
    for i, (anchor, label) in enumerate(views):
        others = [j for j in range(len(views)) if j != i]
        denominator = sum(math.exp(float(anchor @ views[j][0]) / tau) for j in others)
        positives = [j for j in others if views[j][1] == label]
        total -= sum(float(anchor @ views[j][0]) / tau - math.log(denominator) for j in positives) / len(positives)
    expected = total / len(views) * tau / 0.07
    assert contrastive_loss(features, torch.tensor(labels), tau).item() == pytest.approx(expected, abs=1e-5)


def test_contrastive_moves_sketch_and_photo_embeddings():
    first, second = (random(4, 8, seed=s).requires_grad_() for s in (1, 2))
    contrastive_loss(unit_views(first, second), torch.tensor([0, 1, 0, 1])).backward()
    assert (first.grad.norm(dim=1) > 0).all()
    assert (second.grad.norm(dim=1) > 0).all()


def test_distillation_value_and_gradient_are_the_released_ones(golden):
    student = torch.tensor(golden["kd_student"], requires_grad=True)
    photo = torch.tensor(golden["kd_is_photo"][:, 0] > 0)
    teacher, mask = torch.tensor(golden["kd_teacher"]), torch.tensor(golden["kd_mask"])
    loss = distillation_loss(student[photo], teacher[photo], mask[photo], kd_lambda=1.0, kdneg_lambda=0.3)
    loss.backward()
    assert loss.item() == pytest.approx(golden["kd_loss"].item(), abs=1e-5)
    assert student.grad.norm().item() == pytest.approx(golden["kd_grad_norm"].item(), abs=1e-5)
    np.testing.assert_allclose(student.grad[0].numpy(), golden["kd_grad_row0"], atol=1e-5)
    assert student.grad[~photo].abs().max() == 0


def test_distillation_equals_nested_loops_and_spares_the_teacher():
    student, teacher = random(3, 4).requires_grad_(), random(3, 4, seed=1).requires_grad_()
    mask = torch.rand(3, 4, generator=torch.Generator().manual_seed(2))
    loss = distillation_loss(student, teacher, mask, kd_lambda=0.5, kdneg_lambda=0.7)
    expected = 0.0
    for i in range(3):
        target = [math.exp(0.5 * teacher[i, k].item() + 0.7 * mask[i, k].item()) for k in range(4)]
        log_normaliser = math.log(sum(math.exp(student[i, k].item()) for k in range(4)))
        expected -= sum(target[k] / sum(target) * (student[i, k].item() - log_normaliser) for k in range(4)) / 3
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    loss.backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_margin_loss_is_the_released_one(golden):
    logits, labels = torch.tensor(golden["kd_student"][:, :100]), torch.tensor(golden["contrastive_labels"])
    assert distance_margin_loss(logits, labels, 4.0).item() == pytest.approx(golden["ems_loss_m4"].item(), abs=1e-5)
    assert distance_margin_loss(logits, labels, 1.0).item() == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-6)


def test_the_margin_doubles_at_epochs_20_and_25():
    assert [margin_at(epoch) for epoch in (0, 19, 20, 24, 25, 40)] == [1, 1, 2, 2, 4, 4]


def test_classification_pushes_the_true_class_up():
    logits = random(5, 7).requires_grad_()
    labels = torch.tensor([0, 6, 3, 3, 1])
    classification_loss(logits, labels).backward()
    true_class = F.one_hot(labels, 7).bool()
    assert (logits.grad[true_class] < 0).all()
    assert (logits.grad[~true_class] > 0).all()


def test_the_total_weighs_each_term_by_its_own_lambda():
    losses = Losses(*(torch.tensor(value) for value in (1.0, 10.0, 100.0, 1000.0)))
    assert Weights(2, 3, 4, 5).total(losses).item() == 2 + 30 + 400 + 5000
    assert Weights().total(losses).item() == pytest.approx(1 + 10 + 10 + 1000)
