"""A few training steps, in one process or, as a program, in each of several: python -m tests.helpers.distributed_training."""

import hashlib
import sys
from pathlib import Path
from unittest import mock

import torch
from torch import nn

from datasets.batches import Batch
from datasets.views import ThreeViews
from evaluation.resources import Resources
from models.batchnorm import synchronise_batchnorm
from tests.helpers.steps import training_step
from training.build import wrapped_forward
from training.config import TrainConfig
from utils.distributed import Distributed, init_distributed

SKETCHES, PHOTOS = 5, 7  # not divisible by two or four processes
# float64 trains the network as it is. In float32, rounding flips a ReLU here and there, which changes gradients by far more
# than rounding does (even between two runs of one process with different numbers of threads): there, ReLU is replaced by
# Softplus and the residual branches start small. In float64 there is no teacher, so that one head has no gradient.
SETTINGS = {
    "float64": {"steps": 3, "lr": 1e-4, "eps": 1e-8, "tolerance": 1e-8},
    "float32": {"steps": 10, "lr": 1e-5, "eps": 1e-3, "tolerance": 1e-5},
}
to_float = torch.Tensor.float


def trained(distributed: Distributed, setting: str) -> dict:
    """Losses, gradients, memory bank and weights after some steps."""
    if setting == "float32":
        return some_steps(distributed, setting)
    # the losses call `.float()` on bfloat16, which must not reduce float64
    with mock.patch.object(torch.Tensor, "float", lambda tensor: tensor if tensor.is_floating_point() else tensor.double()):
        return some_steps(distributed, setting)


def some_steps(distributed: Distributed, setting: str) -> dict:
    torch.set_num_threads(1)
    with_values = SETTINGS[setting]
    it = step_in_precision(distributed, setting)
    it.optimizer = torch.optim.Adam(it.student.parameters(), lr=with_values["lr"], weight_decay=5e-4, eps=with_values["eps"])
    start = {name: value.clone() for name, value in it.student.named_parameters()}
    local = distributed.own_positions(SKETCHES, PHOTOS)
    losses, gradients = [], {}
    for number in range(with_values["steps"]):
        losses.append(it(batch_of(number, local), 0, number))
        if number in (0, with_values["steps"] - 1):
            gradients[number] = torch.cat([p.grad.flatten() for p in it.student.parameters() if p.grad is not None])
    return {
        "losses": torch.stack(losses),
        "gradients": torch.stack(list(gradients.values())),
        "slots": it.bank.slots[:-1],  # the last row is scratch space
        "counts": it.bank.counts[:-1],
        "weights": it.student.state_dict(),
        "moved": max((value - start[name]).abs().max() for name, value in it.student.named_parameters()).item(),
    }


def step_in_precision(distributed: Distributed, setting: str):
    dtype = getattr(torch, setting)
    it = training_step()
    it.distributed, it.sketches, it.views = distributed, SKETCHES, Views(32, 0)
    it.views.dtype = dtype
    if setting == "float32":
        smooth(it.student)
    for module in (it.student, it.teacher, it.bank):
        module.to(dtype)
    it.semantic_mask = it.semantic_mask.to(dtype)
    if setting == "float64":
        it.teacher = None
    if distributed.world_size > 1:
        synchronise_batchnorm(it.student, it.device)
        resources = Resources(it.device, "off", 0, distributed)
        it.forward = wrapped_forward(it.student, it.teacher is not None, TrainConfig(), resources)
    it.student.train()
    return it


class Views(ThreeViews):
    """Views in the precision of the networks."""

    dtype = torch.float32

    def __call__(self, *arguments, **keywords):
        with mock.patch.object(torch.Tensor, "float", to_float):
            return tuple(view.to(self.dtype) for view in super().__call__(*arguments, **keywords))


def smooth(student: nn.Module) -> None:
    for module in list(student.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Softplus())
            elif name == "bn3":
                nn.init.constant_(child.weight, 0.2)


def batch_of(number: int, local: list[int]) -> Batch:
    generator = torch.Generator().manual_seed(number)
    images = torch.randint(0, 256, (SKETCHES + PHOTOS, 3, 37, 37), generator=generator, dtype=torch.uint8)
    return Batch(images[local], torch.randint(3, (SKETCHES + PHOTOS,), generator=generator))


def digest(outcome: dict) -> str:
    whole = hashlib.sha256()
    for value in (outcome["losses"], outcome["slots"], *outcome["weights"].values()):
        whole.update(value.contiguous().numpy())
    return whole.hexdigest()


if __name__ == "__main__":
    with init_distributed("cpu") as distributed:
        outcome, folder = trained(distributed, sys.argv[1]), Path(sys.argv[2])
        (folder / f"{distributed.rank}.digest").write_text(digest(outcome))
        if distributed.is_main:
            torch.save(outcome, folder / "first.pt")
