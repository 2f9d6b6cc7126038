import pytest
import torch

from utils.devices import autocast, choose_device, resolve_workers
from utils.errors import InputError, report_errors
from utils.runs import archive_files, list_runs
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
    assert resolve_workers(None, torch.device("cpu")) == 1
    assert 1 <= resolve_workers(None, torch.device("cuda")) <= 8
    assert resolve_workers(0, torch.device("cuda")) == 0


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
    with pytest.raises(SystemExit) as end, report_errors():
        raise InputError("a\nb  \x1b[31m.png: no such file")
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: a\\nb  \\x1b[31m.png: no such file\n"


def test_what_an_earlier_run_left_is_moved_aside_and_never_overwritten(tmp_path):
    assert archive_files(tmp_path) is None
    for number, content in ((1, "old"), (2, "newer")):
        (tmp_path / "model_best.pth.tar").write_text(content)
        (tmp_path / "options.json").write_text("{}")
        kept = archive_files(tmp_path)
        assert kept == tmp_path / f"previous_{number}"
        assert sorted(path.name for path in kept.iterdir()) == ["model_best.pth.tar", "options.json"]
    assert archive_files(tmp_path) is None
    assert (tmp_path / "previous_1/model_best.pth.tar").read_text() == "old"


def test_only_folders_with_a_checkpoint_are_runs(tmp_path):
    for name in ("b", "a", "empty"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        (tmp_path / name / "model_best.pth.tar").touch()
    assert list_runs(tmp_path) == ["a", "b"]
