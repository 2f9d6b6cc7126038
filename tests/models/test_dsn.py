import numpy as np
import pytest
import torch

from models.dsn import Student, Teacher
from models.names import HEADS
from models.trainable import choose_trainable
from tests.helpers import golden_values

TAGS = torch.tensor([0.0, 0.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def golden():
    return golden_values.arrays()


@pytest.fixture(scope="module")
def student():
    student = Student(embedding_dim=64, num_classes=100)
    student.load_state_dict({k.removeprefix("module."): v for k, v in golden_values.weights("student").items()})
    return student


def described(state: dict) -> list:
    return [(key, list(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in state.items()]


def test_keys_shapes_dtypes_and_order_are_the_released_ones(student):
    for network, prefix, name in ((student, "module.", "student"), (Teacher(), "", "teacher")):
        ours = described({prefix + key: value for key, value in network.state_dict().items()})
        assert ours == [(key, shape, dtype) for key, (shape, dtype) in golden_values.manifest(name).items()]


def test_student_in_eval_mode_gives_the_released_values(student, golden):
    with torch.no_grad():
        output = student.eval()(golden_values.images(), TAGS)
    for ours, name in (
        (output.class_logits, "model_logits"),
        (output.teacher_space_logits[:, :50], "model_teacher_logits"),
        (output.embedding, "model_embedding"),
        (output.pooled[:, :128], "model_feature"),
    ):
        np.testing.assert_allclose(ours.numpy(), golden[name], atol=1e-4, err_msg=name)


def test_student_in_train_mode_gives_the_released_embedding(golden):
    student = Student(64, 100)
    student.load_state_dict({k.removeprefix("module."): v for k, v in golden_values.weights("student").items()})
    with torch.no_grad():
        embedding = student.train()(golden_values.images(), TAGS).embedding
    np.testing.assert_allclose(embedding.numpy(), golden["model_train_mode_embedding"], atol=1e-4)


def test_teacher_gives_the_released_logits_and_cannot_leave_eval_mode(golden):
    teacher = Teacher()
    teacher.load_state_dict(golden_values.weights("teacher"))
    logits = teacher.train()(golden_values.images(), TAGS)
    np.testing.assert_allclose(logits[:, :50].numpy(), golden["teacher_logits"], atol=1e-4)
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_domain_tag_reaches_the_embedding(student):
    images = golden_values.images(2, size=64)
    with torch.no_grad():
        as_sketch, as_photo = (student.eval()(images, torch.full((2,), tag)).embedding for tag in (0.0, 1.0))
    assert (as_sketch - as_photo).abs().max() > 1e-3


@pytest.mark.parametrize("size", [32, 64, 97])
def test_any_image_size(student, size):
    with torch.no_grad():
        assert student.eval()(golden_values.images(1, size=size), TAGS[:1]).pooled.shape == (1, 2048)


def test_distance_head_is_minus_the_distance_to_the_centre():
    student = Student(8, 5, distance_head=True)
    assert student.state_dict()["linear.cpars"].shape == (5, 8)
    embedding = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    logits = student.linear(embedding)
    for i in range(3):
        for c in range(5):
            assert logits[i, c].item() == pytest.approx(-(embedding[i] - student.linear.cpars[c]).norm().item(), abs=1e-6)


def test_a_frozen_trunk_keeps_weights_and_statistics():
    student = Student(8, 5, teacher_classes=7)
    choose_trainable(student, HEADS)
    student.train()
    before = {key: value.clone() for key, value in student.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=1.0)
    output = student(golden_values.images(4, size=32), TAGS)
    sum(part.square().sum() for part in output).backward()
    optimizer.step()
    changed = {key.split(".weight")[0] for key, value in student.state_dict().items() if not torch.equal(value, before[key])}
    changed = {key.removesuffix(".bias") for key in changed}
    assert changed == {"original_model.second_last_linear", "original_model.last_linear", "linear"}
