import pytest
import torch

from models.dsn import Student
from models.restore import restore_student
from utils.checkpoints import write_checkpoint
from utils.errors import InputError

HEAD, CLASSES = "original_model.last_linear.weight", "linear.weight"


@pytest.fixture(scope="module")
def state() -> dict:
    torch.manual_seed(0)
    return Student(8, 3, teacher_classes=5).state_dict()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        # a layer as wide as these say would take more memory than there is
        ({HEAD: torch.zeros(10**12, 0)}, f"`{HEAD}` is missing or not a matrix of 8 columns"),
        ({CLASSES: torch.zeros(10**12, 0)}, f"`{CLASSES}` is missing or not a matrix of 8 columns"),
        ({"contrastive_head.weight": torch.zeros(10**12, 0)}, "not a matrix of 2048 columns"),
        ({"linear.cpars": torch.zeros(10**6, 1)}, "not a matrix of 8 columns"),
        ({CLASSES: torch.zeros(0, 8)}, f"`{CLASSES}` is missing or not a matrix"),
        ({"original_model.second_last_linear.weight": "text"}, "not a matrix of 2048 columns"),
        ({"original_model.second_last_linear.bias": torch.full((8,), float("nan"))}, "is not finite"),
        ({"original_model.second_last_linear.bias": torch.zeros(8, dtype=torch.int32)}, "is int32, not floats"),
    ],
)
def test_a_checkpoint_that_fits_no_network_is_refused(state, tmp_path, changes, said):
    path = tmp_path / "odd.pth.tar"
    write_checkpoint(path, epoch=1, arch="cse_resnet50", state=state | changes, best=0.0, optimizer=None)
    with pytest.raises(InputError, match=r"odd\.pth\.tar") as error:
        restore_student(path, 8)
    assert said in str(error.value)


def test_a_whole_checkpoint_is_restored(state, tmp_path):
    write_checkpoint(tmp_path / "a.pth.tar", epoch=1, arch="cse_resnet50", state=state, best=0.0, optimizer=None)
    student, _ = restore_student(tmp_path / "a.pth.tar", 8)
    assert all(torch.equal(value, student.state_dict()[key]) for key, value in state.items())
