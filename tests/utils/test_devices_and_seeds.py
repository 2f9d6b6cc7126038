import pytest
import torch

from utils.devices import autocast, choose_device, decoding_workers
from utils.errors import InputError, one_clear_line
from utils.runs import keep_previous
from utils.seeding import generator_for, random_state, restore_random_state, seed_everything


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")
    for name in ("cuda:99", "abacus"):
        with pytest.raises(InputError, match=f"--device {name}"):
            choose_device(name)


@pytest.mark.parametrize(("amp", "expected"), [("bf16", torch.bfloat16), ("off", torch.float32)])
def test_precision_is_what_was_asked_for(amp, expected):
    with autocast(torch.device("cpu"), amp):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_workers_leave_a_cpu_to_the_network():
    assert decoding_workers(None, torch.device("cpu")) == 1
    assert 1 <= decoding_workers(None, torch.device("cuda")) <= 8
    assert decoding_workers(0, torch.device("cuda")) == 0


def test_generators_depend_on_their_place_alone():
    first = generator_for(1, 2, 3).integers(0, 1 << 30, 4).tolist()
    assert generator_for(1, 2, 3).integers(0, 1 << 30, 4).tolist() == first
    assert generator_for(1, 3, 2).integers(0, 1 << 30, 4).tolist() != first


def test_the_random_state_comes_back():
    seed_everything(5)
    state = random_state(torch.device("cpu"))
    first = torch.rand(3)
    restore_random_state(state, torch.device("cpu"))
    assert torch.equal(torch.rand(3), first)
    restore_random_state(None, torch.device("cpu"))


def test_an_input_error_is_one_line_and_exit_code_2(capsys):
    with pytest.raises(SystemExit) as end, one_clear_line():
        raise InputError("first\n  second")
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: first second\n"


def test_earlier_checkpoints_are_renamed(tmp_path):
    (tmp_path / "model_best.pth.tar").write_text("old")
    assert [path.name for path in keep_previous(tmp_path)] == ["previous_1_model_best.pth.tar"]
    assert keep_previous(tmp_path) == []
    (tmp_path / "model_best.pth.tar").write_text("newer")
    assert [path.name for path in keep_previous(tmp_path)] == ["previous_2_model_best.pth.tar"]
    assert (tmp_path / "previous_1_model_best.pth.tar").read_text() == "old"
