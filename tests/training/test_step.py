"""Which parameters each loss trains, measured on the whole network."""

import pytest
import torch

from models.dsn import Teacher
from tests.helpers import golden_values
from tests.helpers.steps import batch, training_step
from training.trainer import learning_rate

TRUNK, EMBEDDING, TEACHER_HEAD, CLASS_HEAD, CONTRASTIVE_HEAD = (
    "original_model.layer1.0.conv1.weight",
    "original_model.second_last_linear.weight",
    "original_model.last_linear.weight",
    "linear.weight",
    "contrastive_head.weight",
)


def trained_by(name: str, **changes) -> set[str]:
    """Names of the parameters that the gradient of a loss reaches."""
    it = training_step(**changes)
    loss = getattr(it.losses(batch(), epoch=0, number=1), name)
    if loss.requires_grad:
        loss.backward()
    return {name for name, p in it.student.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


@pytest.mark.parametrize(
    ("loss", "changes", "reached", "untouched"),
    [
        ("classification", {}, {TRUNK, EMBEDDING, CLASS_HEAD}, {TEACHER_HEAD}),
        ("distillation", {}, {TRUNK, EMBEDDING, TEACHER_HEAD}, {CLASS_HEAD}),
        ("contrastive", {}, {TRUNK, EMBEDDING}, {CLASS_HEAD, TEACHER_HEAD}),
        ("contrastive", {"contrastive_on": "projection"}, {TRUNK, CONTRASTIVE_HEAD}, {EMBEDDING, CLASS_HEAD, TEACHER_HEAD}),
        ("memory", {}, {TRUNK}, {EMBEDDING, CLASS_HEAD, TEACHER_HEAD}),
        ("memory", {"memory_grad": "off"}, set(), {TRUNK, EMBEDDING, CLASS_HEAD, TEACHER_HEAD}),
    ],
)
def test_each_loss_trains_what_it_should_and_nothing_else(loss, changes, reached, untouched):
    names = trained_by(loss, **changes)
    assert reached <= names
    assert not (untouched & names)


def test_distillation_reads_photos_only(monkeypatch):
    import training.step

    seen = {}

    def watch(student_logits, teacher_logits, mask, *lambdas):
        seen.update(student=len(student_logits), teacher=len(teacher_logits), mask=mask)
        return student_logits.sum()

    monkeypatch.setattr(training.step, "distillation_loss", watch)
    it = training_step()
    it.losses(batch(), epoch=0, number=1)
    assert (seen["student"], seen["teacher"]) == (4, 4)
    assert torch.equal(seen["mask"], it.semantic_mask[torch.tensor([0, 1, 2, 0])])


def test_the_bank_is_fed_with_the_sketches_of_the_base_view():
    it = training_step()
    it.losses(batch(), epoch=0, number=1)
    assert it.bank.counts[:3].tolist() == [1, 1, 0]


def test_learning_rate_by_epoch_is_the_released_one():
    golden = golden_values.arrays()["lr_sketchy_20_epochs"]
    for epoch, expected in enumerate(golden):
        assert learning_rate(1e-4, 0.001, epoch, 20) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.slow
def test_another_forward_pass_takes_the_students_place():
    """As a compiled one does; the weights that learn are the student's own."""
    own, other = training_step(), training_step()
    other.forward = torch.compile(other.student, backend="aot_eager", dynamic=False)
    expected, found = (it.weights.total(it.losses(batch(), epoch=0, number=1)) for it in (own, other))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    assert other.student.linear.weight.grad.abs().sum() > 0
    assert other.student.state_dict().keys() == own.student.state_dict().keys()


def test_the_teachers_answer_can_stand_in_a_loss():
    teacher = Teacher(10)
    logits = teacher(torch.zeros(2, 3, 32, 32), torch.ones(2))
    assert not logits.requires_grad
    assert not logits.is_inference()
