"""Teachers receive the student's images, and convert them where their own normalisation or size differs."""

import pytest
import timm
import torch
import torch.nn.functional as F

from datasets.preprocessing import Preprocessing
from models.dsn import Teacher
from models.teachers import load_teacher
from models.timm_weights import load_network
from tests.helpers.network import seresnet_state
from tests.helpers.timm_weights import random_state, write_weights

STUDENT = Preprocessing(64, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
PHOTOS = torch.ones(2)


def images() -> torch.Tensor:
    """(2, 3, 64, 64) in [0, 1]."""
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "size"), [("test_resnet", 64), ("test_vit", 160)])  # the latter takes its own size only
def test_a_timm_teacher_sees_what_its_own_preprocessing_shows(name, size, tmp_path):
    file = write_weights(tmp_path / "weights.safetensors", random_state(name))
    teacher = load_teacher(f"timm/{name}={file}", "cse_resnet50", STUDENT)
    found = teacher.train()(STUDENT.normalise(images()), PHOTOS)
    loaded = load_network(name, size, str(file))
    config = timm.get_pretrained_cfg(name)
    own = Preprocessing(size, config.mean, config.std)
    resized = F.interpolate(images(), (size, size), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = loaded.classifier.eval()(loaded.network.eval()(own.normalise(resized)))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert found.shape == (2, 1000) and not found.requires_grad


@pytest.mark.parametrize("given", [STUDENT, Preprocessing(64)])
def test_an_se_resnet_is_found_by_its_weights(given, tmp_path):
    file, state = tmp_path / "weights.pth", seresnet_state()
    torch.save(state, file)
    teacher, plain = load_teacher(str(file), "timm/test_vit", given), load_teacher(str(file), "cse_resnet50", Preprocessing(64))
    assert isinstance(plain, Teacher) and teacher.last_linear.out_features == 12
    expected = plain(Preprocessing(64).normalise(images()), PHOTOS)
    torch.testing.assert_close(teacher(given.normalise(images()), PHOTOS), expected, rtol=1e-3, atol=1e-3)
