"""When a step is compiled, that compiling changes nothing else, and what happens where it fails."""

import os
from types import SimpleNamespace

import pytest
import torch

from datasets.catalog import SKETCHY
from tests.helpers.steps import batch, training_step
from training.compiling import CACHE, compile_step
from training.config import Recipe, train_config
from training.state import TrainingState
from utils.distributed import Distributed

RECIPE = Recipe(dataset=SKETCHY, photos_per_sketch=2, epochs=20, validation_batches=300, seed=1)
STEPS = 900


class Batches:
    """900 steps an epoch, with the size of `tests.helpers.steps.batch`."""

    per_batch, images, order = (2, 4), SimpleNamespace(side=37), SimpleNamespace(local_positions=range(6))

    def __len__(self) -> int:
        return STEPS


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE, str(tmp_path))


@pytest.fixture
def compiled(monkeypatch):
    """What was compiled, by a compiler that changes nothing."""
    networks = []
    monkeypatch.setattr(torch, "compile", lambda network, **_: networks.append(network) or network)
    return networks


def compiles(words="", state=None, step=None):
    return compile_step(step or training_step(), Batches(), state or TrainingState(), train_config(RECIPE, words.split()))


@pytest.mark.parametrize(
    ("words", "state", "expected"),
    [
        ("", TrainingState(), True),  # 20 epochs of 900 steps of 6 · 3 · 224² pixels
        ("--image_size 32 --contrastive_lambda 0 --epochs 1", TrainingState(), False),
        ("", TrainingState(epochs=19, steps=STEPS - 100), False),
        ("--compile off", TrainingState(compiled=True), False),
        ("--compile on --image_size 32 --epochs 1", TrainingState(compiled=False), True),
        ("--compile --image_size 32 --epochs 1", TrainingState(), True),
        ("--profile", TrainingState(), False),
        ("--arch timm/resnet18", TrainingState(), False),
        ("--arch timm/resnet18", TrainingState(compiled=True), True),
        ("", TrainingState(compiled=False), False),  # as the run so far
        ("", TrainingState(epochs=19, steps=STEPS - 1, compiled=True), True),
    ],
)
def test_auto_compiles_what_repays_it_and_a_resumed_run_as_before(words, state, expected, compiled):
    assert compiles(words, state) == expected == bool(compiled)


def test_several_processes_compile_only_on_request(compiled, monkeypatch):
    step = training_step()
    step.distributed = Distributed(0, 2)
    assert not compiles(step=step) and not compiled


def test_a_change_within_a_run_is_named(compiled, capsys):
    compiles("--compile off", TrainingState(compiled=True))
    assert "note: the run so far was compiled, and now it is not" in capsys.readouterr().out
    compiles("--compile on", TrainingState(compiled=False))
    assert "note: the run so far was not compiled, and now it is:" in capsys.readouterr().out


def state_of(step):
    parts = [*step.student.state_dict().values(), *step.bank.state_dict().values(), torch.get_rng_state()]
    return [part.clone() for part in parts]


def require_unchanged(step, before):
    assert all(map(torch.equal, state_of(step), before))
    assert all(parameter.grad is None for parameter in step.student.parameters())
    assert not step.optimizer.state


def test_compiling_changes_nothing_but_the_forward_pass(compiled):
    step = training_step()
    step.bank.update(
        torch.rand(1, 2048), torch.zeros(1, dtype=torch.int64), torch.rand(1, 2048), torch.zeros(1, dtype=torch.int64)
    )
    before = state_of(step)
    seen = []
    step.student.register_forward_hook(lambda _, inputs, __: seen.append((inputs[0].shape, torch.rand(1))))
    assert compiles("--compile", step=step) and compiled[-1] is step.forward is step.student
    require_unchanged(step, before)
    step.losses(batch(), epoch=0, number=1)
    assert [shape for shape, _ in seen] == [(18, 3, 32, 32)] * 2  # else the first step would compile again


@pytest.mark.parametrize("fails", ["compiler", "forward", "backward"])
def test_what_cannot_be_compiled_trains_uncompiled(fails, monkeypatch, capsys):
    def missing(*_, **__):
        raise RuntimeError("InvalidCxxCompiler: No working C++\ncompiler found\n\nand much more")

    def broken(network, **_):
        if network is torch.sin:
            return network
        return missing if fails == "forward" else lambda *inputs: type(output := network(*inputs))(*map(Broken.apply, output))

    class Broken(torch.autograd.Function):
        forward = staticmethod(lambda _, x: x * 1)
        backward = staticmethod(missing)

    step = training_step()
    before = state_of(step)
    monkeypatch.setattr(torch, "compile", missing if fails == "compiler" else broken)
    assert not compiles("--compile", step=step)
    assert step.forward is None
    require_unchanged(step, before)
    note = "note: --compile: InvalidCxxCompiler: No working C++ compiler found; training goes on uncompiled\n"
    assert capsys.readouterr().out.endswith(note)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_compiled_code_is_kept_where_nobody_else_can_write(compiled, monkeypatch, tmp_path):
    def chosen():
        monkeypatch.delenv(CACHE, raising=False)
        compiles("--compile")
        return os.environ.get(CACHE)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = chosen()
    assert folder.startswith(str(tmp_path / "cache")) and os.stat(folder).st_mode & 0o777 == 0o700
    os.chmod(folder, 0o770)
    assert chosen() is None
    os.rmdir(folder)
    os.symlink(tmp_path, folder)
    assert chosen() is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert chosen() is None
