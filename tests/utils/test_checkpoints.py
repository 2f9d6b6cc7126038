import os
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import Hostile
from utils.checkpoints import load_state, read_checkpoint, read_tensors, write_checkpoint
from utils.errors import InputError
from utils.files import written_whole


def released(best) -> dict:
    """What the released training script saved: DataParallel keys and an optimizer that has stepped."""
    model = nn.DataParallel(nn.Linear(2, 3)) if torch.cuda.is_available() else nn.Linear(2, 3)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = {f"module.{key.removeprefix('module.')}": value for key, value in model.state_dict().items()}
    return {"epoch": 7, "arch": "cse_resnet50", "state_dict": state, "best_acc1": best, "optimizer": optimizer.state_dict()}


@pytest.mark.parametrize("best", [torch.tensor(0.5), torch.tensor([0.5]), 0.5, np.float64(0.5), np.float32(0.5)])
@pytest.mark.parametrize("zipped", [True, False])
def test_released_files_are_read_whatever_their_age(tmp_path, best, zipped):
    path = tmp_path / "model_best.pth.tar"
    torch.save(released(best), path, _use_new_zipfile_serialization=zipped)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = read_checkpoint(path)
    assert content["epoch"] == 7
    assert float(content["best_acc1"]) == 0.5
    assert set(content["state_dict"]) == {"weight", "bias"}


def test_what_is_written_has_the_released_form(tmp_path):
    path = tmp_path / "checkpoint.pth.tar"
    layer = nn.Linear(2, 3)
    optimizer = torch.optim.Adam(layer.parameters())
    write_checkpoint(
        path,
        epoch=3,
        arch="cse_resnet50",
        state=layer.state_dict(),
        best=0.25,
        optimizer=optimizer.state_dict(),
        options={"lr": 1},
    )
    content = torch.load(path, weights_only=True)
    assert {"epoch", "arch", "state_dict", "best_acc1", "optimizer"} <= set(content)
    assert list(content["state_dict"]) == ["module.weight", "module.bias"]
    assert content["best_acc1"].shape == ()
    assert content["epoch"] == 3
    assert os.listdir(tmp_path) == ["checkpoint.pth.tar"]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_calls_code_is_refused_and_the_code_not_run(tmp_path, zipped):
    path, victim = tmp_path / "evil.pth.tar", tmp_path / "victim"
    torch.save(released(0.5) | {"extra": Hostile(victim)}, path, _use_new_zipfile_serialization=zipped)
    for read in (read_checkpoint, read_tensors):
        with pytest.raises(InputError, match=r"evil\.pth\.tar: refused") as error:
            read(path)
        assert "\n" not in str(error.value)
        assert "mkdir" in str(error.value)
    assert not victim.exists()


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_checkpoint_is_named(tmp_path, share, zipped):
    path = tmp_path / "cut.pth.tar"
    torch.save(released(0.5), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"cut\.pth\.tar") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [[1, 2], {"weights": 3}, {"state_dict": 5}, torch.zeros(2)])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=r"odd\.pth"):
        read_checkpoint(tmp_path / "odd.pth")


def test_an_absent_file_names_the_option(tmp_path):
    with pytest.raises(InputError, match="--resume"):
        read_checkpoint(tmp_path / "absent.pth.tar", option="--resume")


def test_load_state_names_what_is_wrong_and_returns_what_it_ignores(tmp_path):
    layer = nn.Linear(2, 3)
    good = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    assert load_state(layer, good | {"head.weight": torch.ones(1)}, tmp_path) == ["head.weight"]
    assert layer.weight.sum() == 6
    for bad, said in (
        ({"weight": torch.ones(3, 2)}, "`bias` is missing"),
        (good | {"weight": torch.ones(4, 2)}, r"`weight` is \(4, 2\)"),
        (good | {"bias": "text"}, "`bias` is not a tensor"),
    ):
        with pytest.raises(InputError, match=said):
            load_state(layer, bad, tmp_path)
    assert load_state(layer, {"weight": torch.zeros(3, 2)}, tmp_path, optional=("bias",)) == []


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), written_whole(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_unwritable_target_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/a\.txt"), written_whole(tmp_path / "file" / "a.txt"):
        pass
