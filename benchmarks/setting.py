"""What the training benchmarks share: options, real batches and training steps on a drawn dataset of 256-px files, and timing."""

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
from torch.utils.data import DataLoader

from benchmarks.plain import PlainBank, PlainImages, plain_step
from datasets.batches import Batch, MixedBatches
from datasets.catalog import SKETCHY
from datasets.file_lists import Split
from evaluation.resources import Resources, resolve
from losses.objective import Losses
from models.dsn import Teacher
from synthetic.draw import Settings, draw_dataset
from training.build import training_batches, training_step
from training.checkpointing import Checkpointer
from training.compiling import compile_step
from training.config import Recipe, TrainConfig, train_config
from training.state import TrainingState
from training.step import TrainingStep
from training.trainer import Trainer
from utils.devices import finished
from utils.distributed import Distributed
from utils.errors import InputError
from utils.parser import whole_number
from utils.seeding import seed_everything
from utils.signals import StopRequest

RECIPE = Recipe(SKETCHY, photos_per_sketch=2, epochs=20, validation_batches=1, seed=1)
OTHERS = "All other options are those of the train script: --device, --amp, --image_size, --batch_size, --num_workers, …"


class Setting(NamedTuple):
    """A run with the batches of the Sketchy train script and a random teacher."""

    config: TrainConfig
    resources: Resources
    split: Split
    arguments: list[str]  # of the train script; they make `config`

    @classmethod
    def of(cls, arguments: list[str], distributed: Distributed) -> "Setting":
        """Raises InputError if an argument is wrong or there is no dataset."""
        config = train_config(RECIPE, arguments)
        resources = resolve(config.runtime, config.data, distributed)
        return cls(config, resources, Split(RECIPE.dataset, config.data.data_root, config.data.zero_version), arguments)

    @property
    def device(self) -> torch.device:
        return self.resources.device

    @property
    def batch_size(self) -> int:
        return self.config.optimisation.batch_size

    @property
    def image_size(self) -> int:
        return self.config.image_size

    def batches(self, num_workers: int | None = None) -> MixedBatches:
        """Training batches, with `num_workers` data-loading processes if given."""
        workers = self.resources.num_workers if num_workers is None else num_workers
        resources = dataclasses.replace(self.resources, num_workers=workers)
        return training_batches(RECIPE, self.split.sketches("train"), self.split.photos("train"), self.config, resources)

    def plain_loader(self, num_workers: int) -> DataLoader:
        """The plain pipeline with the same images in each batch."""
        batches = self.batches(num_workers=0)
        images = PlainImages(batches.images.paths, batches.images.labels, self.image_size)
        order = list(batches.order)
        return DataLoader(images, batch_sampler=order, num_workers=num_workers, persistent_workers=num_workers > 0)

    def step(self, amp: str | None = None) -> TrainingStep:
        """A training step with freshly initialised networks, the student in train mode."""
        seed_everything(0)
        resources = dataclasses.replace(self.resources, amp=amp or self.resources.amp)
        step = training_step(self.split, self.config, resources, self.batches(num_workers=0).per_batch[0])
        step.student.train()
        return step

    def compile(self, step: TrainingStep) -> None:
        """Compile the step as `--compile on` does, and print how long that takes. Raises InputError if it does not work."""
        config = dataclasses.replace(self.config, runtime=dataclasses.replace(self.config.runtime, compile="on"))
        if not compile_step(step, self.batches(num_workers=0), TrainingState(), config):
            raise InputError("--compile: does not work here; leave it out")

    def plain_step(self) -> Callable[[torch.Tensor, torch.Tensor], Losses]:
        """A function (views, labels) that takes a plain step with networks of its own."""
        step, schedule = self.step(amp="off"), self.config.optimisation
        for network in (step.student, step.teacher):
            if network is not None:
                network.to(memory_format=torch.contiguous_format)
        step.optimizer = torch.optim.Adam(step.student.parameters(), lr=schedule.lr, weight_decay=schedule.weight_decay)
        return functools.partial(plain_step, step, PlainBank(self.config.objective.topk))

    def trainer(self, step: TrainingStep, batches: MixedBatches, epochs: int = 0) -> Trainer:
        """A trainer that neither validates nor saves, after `epochs` epochs."""
        checkpointer = Checkpointer(self.split.root, self.config, step, batches, lambda: None)
        stop = StopRequest(self.resources.distributed)
        return Trainer(step, batches, lambda student: 0.0, checkpointer, stop, self.config, TrainingState(epochs))

    def batch_at_hand(self) -> Batch:
        """The first batch, in (pinned) host memory, as a loader returns it."""
        batch = next(self.batches(num_workers=0).of_epoch(0))
        return Batch(*(part.pin_memory() for part in batch)) if self.device.type == "cuda" else batch

    def machine(self, amp: str | None = None) -> str:
        """Where and how it is measured, in one line."""
        where = f"{torch.get_num_threads()} CPU threads"
        if self.device.type == "cuda":
            where = torch.cuda.get_device_name(self.device)
        precision = "bf16" if (amp or self.resources.amp) == "bf16" else "float32"
        return f"{where}, {precision}, torch {torch.__version__}"


@contextlib.contextmanager
def setting(
    description: str, steps: int, least: int = 1, add: Callable[[argparse.ArgumentParser], None] | None = None, **flags: str
) -> Iterator[tuple[Setting, argparse.Namespace]]:
    """A setting from the command line, and the values of --steps (default and least value), of what `add` adds and of `flags`
    {name: help}.

    It draws the dataset, a few thousand files, into a temporary folder, which is removed with the block.
    """
    parser = argparse.ArgumentParser(description=description, epilog=OTHERS)
    parser.add_argument("--steps", type=whole_number(least), default=steps, help="measured batches (default: %(default)s)")
    if add is not None:
        add(parser)
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    options, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="dsn-benchmark-") as folder:
        teacher = str(Path(folder) / "teacher.pth")
        ours = ["--data_root", folder, "--pretrained_weights", teacher, "--steps_per_epoch", str(options.steps)]
        config = train_config(RECIPE, ours + others)
        resolve(config.runtime, config.data)  # raises before anything is drawn
        print("drawing 256-px files …", file=sys.stderr)
        photos = -(-(options.steps + 1) * config.optimisation.batch_size * 2 // 3 // 48)  # of 48 seen classes
        kinds = Settings(photos_per_class=photos, sketches_per_class=-(-photos // 2), held_out_per_class=1)
        draw_dataset(Path(folder), kinds)
        torch.manual_seed(0)
        torch.save(Teacher(1000).state_dict(), teacher)
        yield Setting.of(ours + others, Distributed()), options


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long `work` takes until the device has finished."""
    started = finished(device)
    work()
    return finished(device) - started


def side_by_side(works: dict[str, Callable[[], object]], device: torch.device, times: int) -> dict[str, float]:
    """The median milliseconds of each over `times` rounds, in which they take turns: a busy machine slows all alike."""
    rounds = [[1e3 * seconds(work, device) for work in works.values()] for _ in range(2 + times)]  # two to warm up
    return {name: statistics.median(taken) for name, taken in zip(works, zip(*rounds[2:], strict=True), strict=True)}
