import os

import pytest
import torch

from models.dsn import Student, Teacher
from models.pretrained import factor_classifier, imagenet_state, load_trunk, start_heads
from tests.helpers.network import seresnet_state
from utils.errors import InputError


@pytest.fixture(scope="module")
def weights():
    return seresnet_state()


def as_pth(state, path):
    torch.save(state, path)


def as_wrapped(state, path):
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, path)


def as_safetensors(state, path):
    pytest.importorskip("safetensors.torch").save_file(state, path)


def with_fc(state, path):
    torch.save({key.replace("last_linear", "fc"): value for key, value in state.items()}, path)


@pytest.mark.parametrize(
    ("write", "name"),
    [(as_pth, "a.pth"), (as_wrapped, "a.pth.tar"), (as_safetensors, "a.safetensors"), (with_fc, "b.pth")],
)
def test_every_file_form_gives_the_same_state(weights, tmp_path, write, name):
    write(weights, tmp_path / name)
    state = imagenet_state(str(tmp_path / name))
    assert list(state) == list(Teacher(12).state_dict())
    assert torch.equal(state["layer3.2.conv2.weight"], weights["layer3.2.conv2.weight"])
    assert torch.equal(state["last_linear.weight"], weights["last_linear.weight"])
    fc2 = state["layer1.0.se_module.fc2.weight"]
    assert torch.equal(fc2[:, :-1], weights["layer1.0.se_module.fc2.weight"].flatten(1))
    assert fc2[:, -1].abs().sum() == 0


def test_the_rank_d_start_is_the_best_rank_d_approximation():
    weight = torch.randn(40, 60, generator=torch.Generator().manual_seed(1))
    embed, classify = factor_classifier(weight, 8)
    product = classify @ embed
    left, singular, right = torch.linalg.svd(weight.double(), full_matrices=False)
    best = (left[:, :8] * singular[:8]) @ right[:8]
    torch.testing.assert_close(product.double(), best, atol=1e-5, rtol=0)
    assert (weight - product).norm().item() == pytest.approx(singular[8:].norm().item(), rel=1e-5)  # Eckart–Young
    torch.testing.assert_close(classify.T @ classify, torch.eye(8), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dim", [4, 12, 20])
def test_student_starts_where_the_teacher_is(weights, tmp_path, dim):
    """Its pooled feature is the teacher's, the tag changes nothing yet, and with d ≥ the classifier's rank its logits are too."""
    torch.save(weights, tmp_path / "w.pth")
    state = imagenet_state(str(tmp_path / "w.pth"))
    student, teacher = Student(dim, 5, teacher_classes=12).eval(), Teacher(12)
    load_trunk(student.original_model, state)
    start_heads(student.original_model, state["last_linear.weight"], state["last_linear.bias"])
    teacher.load_state_dict(state)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sketch, photo = (student(images, torch.full((2,), tag)) for tag in (0.0, 1.0))
        expected = teacher(images, torch.ones(2))
        pooled = teacher.features(images, torch.ones(2))
    assert torch.equal(sketch.embedding, photo.embedding)
    torch.testing.assert_close(photo.pooled, pooled)
    close = torch.allclose(photo.teacher_space_logits, expected, atol=1e-4)
    assert close == (dim >= 12)


def test_missing_and_misshaped_keys_are_named(weights, tmp_path):
    path = tmp_path / "w.pth"
    for change, named in (
        (lambda s: s.pop("layer2.1.conv2.weight"), "`layer2.1.conv2.weight`"),
        (lambda s: s.pop("last_linear.weight"), "`last_linear.weight`"),
        (lambda s: s.update({"layer0.conv1.weight": torch.zeros(64, 3, 3, 3)}), "`layer0.conv1.weight` is (64, 3, 3, 3)"),
    ):
        state = dict(weights)
        change(state)
        torch.save(state, path)
        with pytest.raises(InputError, match=r"w\.pth") as error:
            imagenet_state(str(path))
        assert named in str(error.value)


def test_without_a_home_nothing_is_downloaded_into_a_folder_called_tilde(monkeypatch, tmp_path):
    """A container's user may have no name, and so no home."""
    monkeypatch.chdir(tmp_path)
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(InputError, match=r"no home folder\. Set HOME or TORCH_HOME"):
        imagenet_state("imagenet")
    assert list(tmp_path.iterdir()) == []


def test_an_impossible_download_says_what_to_do(monkeypatch):
    import timm

    def refuse(*args, **kwargs):
        raise OSError("no route\n    to host")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(InputError) as error:
        imagenet_state("imagenet")
    assert "--pretrained_weights FILE" in str(error.value)
    assert "http" in str(error.value) and "(OSError: no route to host)" in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("last_linear.weight", torch.tensor(1.0), "its classifier is ()"),
        ("last_linear.weight", torch.zeros(10**6, 0), "its classifier is (1000000, 0)"),
        ("last_linear.weight", torch.full((12, 2048), float("nan")), "`last_linear.weight` is not finite"),
        ("layer1.0.se_module.fc1.weight", torch.tensor(1.0), "`layer1.0.se_module.fc1.weight` is ()"),
        ("layer1.0.se_module.fc2.weight", torch.ones(3), "`layer1.0.se_module.fc2.weight` is (3,)"),
        ("layer1.0.bn1.weight", torch.ones(64, dtype=torch.int64), "`layer1.0.bn1.weight` is int64"),
    ],
)
def test_weights_that_are_no_weights_are_named(weights, tmp_path, key, value, said):
    torch.save(weights | {key: value}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth") as error:
        imagenet_state(str(tmp_path / "w.pth"))
    assert said in str(error.value)
