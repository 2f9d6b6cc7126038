"""What the training benchmarks share: real batches and training steps on a drawn dataset of 256-px files, and timing."""

import argparse
import contextlib
import dataclasses
import functools
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.plain import PlainBank, plain_step
from datasets.batches import Batch, MixedBatches
from datasets.catalog import SKETCHY
from datasets.file_lists import Split
from evaluation.config import Resources, resolve
from losses.objective import Losses
from models.dsn import Teacher
from synthetic.draw import Settings, draw_dataset
from training.build import training_batches, training_step
from training.checkpointing import Checkpointer
from training.config import Recipe, TrainConfig, train_config
from training.state import TrainingState
from training.step import TrainingStep
from training.trainer import Trainer
from utils.devices import finished, uses_bf16
from utils.distributed import Distributed
from utils.parser import positive_int
from utils.seeding import seed_everything
from utils.signals import StopRequest

RECIPE = Recipe(SKETCHY, photos_per_sketch=2, epochs=20, validation_batches=1, seed=1)


class Setting(NamedTuple):
    """A run with the batches of the Sketchy train script and a random teacher."""

    config: TrainConfig
    resources: Resources
    split: Split

    @property
    def device(self) -> torch.device:
        return self.resources.device

    def batches(self, num_workers: int | None = None) -> MixedBatches:
        """Training batches, with `num_workers` data-loading processes if given."""
        workers = self.resources.num_workers if num_workers is None else num_workers
        resources = dataclasses.replace(self.resources, num_workers=workers)
        return training_batches(RECIPE, self.split.sketches("train"), self.split.photos("train"), self.config, resources)

    def step(self, amp: str | None = None, compile: bool = False) -> TrainingStep:
        """A training step with freshly initialised networks, the student in train mode."""
        seed_everything(0)
        config = dataclasses.replace(self.config, runtime=dataclasses.replace(self.config.runtime, compile=compile))
        resources = dataclasses.replace(self.resources, amp=amp or self.resources.amp)
        step = training_step(self.split, config, resources, self.batches(num_workers=0).shares[0])
        step.student.train()
        return step

    def trainer(self, step: TrainingStep, batches: MixedBatches, epochs: int = 0) -> Trainer:
        """A trainer that neither validates nor saves, after `epochs` epochs."""
        checkpointer = Checkpointer(self.split.root, self.config, step, batches, lambda: None)
        stop = StopRequest(self.resources.distributed)
        return Trainer(step, batches, lambda student: 0.0, checkpointer, stop, self.config, TrainingState(epochs))

    def batch_at_hand(self) -> Batch:
        """The first batch, in (pinned) host memory, as a loader returns it."""
        batch = next(self.batches(num_workers=0).of_epoch(0))
        return Batch(*(part.pin_memory() for part in batch)) if self.device.type == "cuda" else batch

    def plain_step(self) -> Callable[[torch.Tensor, torch.Tensor], Losses]:
        """A function (views, labels) that takes a plain step with networks of its own."""
        step = self.step(amp="off")
        student, teacher = (
            network.to(memory_format=torch.contiguous_format) for network in (step.student, step.teacher) if network
        )
        schedule = self.config.optimisation
        adam = torch.optim.Adam(student.parameters(), lr=schedule.lr, weight_decay=schedule.weight_decay)
        bank = PlainBank(self.config.objective.topk)
        return functools.partial(plain_step, student, teacher, step.semantic_mask, bank, adam, sketches=step.sketches)


def parser(description: str, steps: int) -> argparse.ArgumentParser:
    """The options all training benchmarks know."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--amp", default="auto", choices=("auto", "bf16", "off"))
    parser.add_argument("--image_size", type=positive_int, default=224)
    parser.add_argument("--batch_size", type=positive_int, default=96)
    parser.add_argument("--threads", type=positive_int, default=None, help="CPU threads of the main process")
    parser.add_argument("--num_workers", type=int, default=None)
    parser.add_argument("--steps", type=positive_int, default=steps, help="measured steps or batches")
    return parser


@contextlib.contextmanager
def setting(options: argparse.Namespace, distributed: Distributed | None = None) -> Iterator[Setting]:
    """The main process draws the dataset, a few thousand files, into a temporary folder, which is removed with the block."""
    distributed = distributed or Distributed()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="dsn-benchmark-") as name:
        folder = Path(distributed.all_gather_objects(name)[0])
        photos = -(-(options.steps + 1) * options.batch_size * 2 // 3 // 48)  # of 48 seen classes
        if distributed.is_main:
            print("drawing 256-px files …", file=sys.stderr)
            draw_dataset(folder, Settings(photos_per_class=photos, sketches_per_class=-(-photos // 2), held_out_per_class=1))
            torch.manual_seed(0)
            torch.save(Teacher(1000).state_dict(), folder / "teacher.pth")
        distributed.barrier()
        words = ["--data_root", folder, "--pretrained_weights", folder / "teacher.pth", "--steps_per_epoch", options.steps]
        words += ["--image_size", options.image_size, "--batch_size", options.batch_size]
        words += ["--amp", options.amp, "--device", options.device]
        words += [] if options.num_workers is None else ["--num_workers", options.num_workers]
        config = train_config(RECIPE, [str(word) for word in words])
        split = Split(RECIPE.dataset, config.data.data_root, config.data.zero_version)
        yield Setting(config, resolve(config.runtime, config.data, distributed), split)
        distributed.barrier()


def machine(device: torch.device, amp: str) -> str:
    """Where and how it was measured, in one line."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return f"{where}, {'bf16' if uses_bf16(device, amp) else 'float32'}, torch {torch.__version__}"


def milliseconds(work: Callable[[], object], device: torch.device, times: int, warm_up: int = 2) -> float:
    """The median over `times` runs, each waited for."""
    return side_by_side({"": work}, device, times, warm_up)[""]


def side_by_side(works: dict[str, Callable[[], object]], device: torch.device, times: int, warm_up: int = 2) -> dict[str, float]:
    """The median milliseconds of each over `times` rounds, in which they take turns: a machine's moods hit all alike."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warm_up + times):
        for name, work in works.items():
            started = finished(device)
            work()
            if turn >= warm_up:
                taken[name].append((finished(device) - started) * 1e3)
    return {name: statistics.median(values) for name, values in taken.items()}
