"""A training step on the meta device, whose tensors have no values, in place of a GPU.

Reading a value back, on a GPU a wait of the host, raises there, and so does a mix of devices.
"""

import contextlib
from typing import ClassVar

import pytest
import timm
import torch
import torch.distributed as dist
import torch.nn.functional as F
import torch.optim.optimizer as optimizers
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from datasets.batches import Batch
from datasets.catalog import SKETCHY
from datasets.file_lists import Split
from evaluation.resources import Resources
from tests.helpers.steps import batch
from training.build import training_step
from training.config import Recipe, train_config
from training.networks import initial_networks
from training.state import TrainingState
from training.step import TrainingStep
from utils.distributed import Distributed

DEVICE = torch.device("meta")
RECIPE = Recipe(SKETCHY, photos_per_sketch=2, epochs=1, validation_batches=1, seed=1)
NON_BLOCKING = torch.ops.aten._to_copy.default
FROM_NUMBERS = torch.tensor, torch.as_tensor, torch.Tensor.new_tensor
INDEXING = torch.Tensor.__getitem__, torch.Tensor.__setitem__


class NoHostTensors(TorchDispatchMode):
    """Raises where a tensor in host memory meets one on the device, as an index, a number or the source of a blocking copy.

    The meta device itself admits these; a GPU refuses them or makes the host wait.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        devices = {part.device.type for part in tree_leaves((args, kwargs, result)) if isinstance(part, torch.Tensor)}
        if {"cpu", DEVICE.type} <= devices and not (func is NON_BLOCKING and kwargs.get("non_blocking")):
            raise RuntimeError(f"{func} mixes devices or waits")
        return result


class NoHostNumbers(TorchFunctionMode):
    """Raises where Python's numbers become a tensor on the device: PyTorch makes it on the host, and waits for a copy."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        is_made = func in FROM_NUMBERS and result.device == DEVICE
        if is_made or (func in INDEXING and args[0].device == DEVICE and isinstance(args[1], list)):
            raise RuntimeError(f"{func} waits for a copy")
        return result


@contextlib.contextmanager
def no_waiting():
    with NoHostTensors(), NoHostNumbers():
        yield


class Autocast(TorchFunctionMode):
    """torch.autocast, which does not know the meta device: convolutions and linear layers compute in bf16."""

    entered: ClassVar[list[torch.dtype | None]] = []

    def __init__(self, device_type, dtype=None, enabled=True):
        super().__init__()
        self.dtype = dtype if enabled else None

    def __enter__(self):
        self.entered.append(self.dtype)
        return super().__enter__()

    def __exit__(self, *error):
        self.entered.pop()
        return super().__exit__(*error)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (F.conv2d, F.linear) and (dtype := self.entered[-1]):
            args = [part.to(dtype) if isinstance(part, torch.Tensor) else part for part in args]
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    file = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    return f"timm/test_resnet={file}"


def on_device(network: nn.Module) -> None:
    """Move it with its gradients' hooks, which stay in a move to a GPU, but not in one to the meta device."""
    hooks = {name: list((parameter._backward_hooks or {}).values()) for name, parameter in network.named_parameters()}
    network.to(DEVICE)
    for name, parameter in network.named_parameters():
        for hook in hooks[name]:
            parameter.register_hook(hook)


@pytest.fixture
def step_of(shared_dataset, teacher, monkeypatch):
    """step_of(*options): the step that a train script builds on a GPU, in bf16 with fused Adam."""
    monkeypatch.setattr(torch, "autocast", Autocast)
    monkeypatch.setattr(optimizers, "_get_fused_kernels_supported_devices", lambda: [DEVICE.type])

    def networks(*given):
        made = initial_networks(*given)
        on_device(made.student)
        return made

    def build(*options: str) -> TrainingStep:
        images = ["--data_root", str(shared_dataset), "--image_size", "32"]
        config = train_config(RECIPE, [*images, "--pretrained_weights", "none", "--teacher", teacher, *options])
        split = Split(SKETCHY, shared_dataset, "zeroshot1")
        step = training_step(split, config, Resources(DEVICE, "bf16", 0, Distributed()), sketches_per_batch=2)
        step.optimizer = torch.optim.Adam([{**group, "fused": True} for group in step.optimizer.param_groups], fused=True)
        step.student.train()
        return step

    monkeypatch.setattr("training.build.initial_networks", networks)
    return build


def take_steps(step: TrainingStep, given: Batch, epoch: int = 20) -> None:
    state = TrainingState()
    with no_waiting():
        for number in (1, 2):
            state.add(step(given, epoch, number))
    assert state.sums.device == DEVICE and state.sums.shape == (5,)
    assert all(parameter in step.optimizer.state for parameter in step.student.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    "options",
    [
        ["--arch", "timm/test_resnet"],
        ["--arch", "timm/test_resnet", "--train", "norms", "--contrastive_on", "projection", "--ems-loss"],
        ["--arch", "timm/test_vit", "--image_size", "160", "--trunk_lr", "1e-5", "--memory_grad", "off"],
        pytest.param(["--train", "norms"], marks=pytest.mark.slow),  # cse_resnet50
    ],
    ids=" ".join,
)
def test_a_step_neither_reads_a_value_back_nor_waits_for_a_copy(options, step_of):
    take_steps(step_of(*options), batch())


def test_nor_does_a_step_of_several_processes(step_of, monkeypatch):
    monkeypatch.setattr(dist, "all_gather", lambda received, sent: [part.copy_(sent) for part in received])
    step, whole = step_of("--arch", "timm/test_resnet"), batch()
    step.distributed = Distributed(1, 2)
    take_steps(step, Batch(whole.images[step.distributed.own_positions(2, 4)], whole.labels))


@pytest.mark.parametrize(
    "fault",
    [
        lambda values: values.sum().item(),
        lambda values: values.nonzero(),
        lambda values: values[values > 0],
        lambda values: values.cpu(),
        lambda values: values + torch.ones(3),
        lambda values: values + torch.ones(()),
        lambda values: values[torch.zeros(1, dtype=torch.long)],
        lambda values: values + torch.ones(3).to(DEVICE),
        lambda values: values + torch.tensor([1.0, 2.0, 3.0], device=DEVICE),
        lambda values: values[[0, 1]],
    ],
)
def test_each_fault_is_seen(fault):
    values = torch.ones(3, device=DEVICE)
    with no_waiting(), pytest.raises((RuntimeError, NotImplementedError)):
        fault(values)
