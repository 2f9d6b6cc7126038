"""What the training benchmarks share: real wiring on a drawn dataset of 256-px files, and a stopwatch."""

import argparse
import contextlib
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
from losses.objective import Terms
from models.dsn import Teacher
from synthetic.draw import Settings, draw_dataset
from training import build as wiring
from training.config import Recipe, training_options
from training.step import Learner
from utils.devices import choose_device, finished, resolve_workers, uses_bf16
from utils.distributed import Distributed
from utils.parser import positive_int
from utils.seeding import seed_everything

RECIPE = Recipe(SKETCHY, photos_per_sketch=2, epochs=20, validation_batches=1, seed=1)


class Setting(NamedTuple):
    """A run with the shares of the Sketchy train script, from a random teacher."""

    recipe: Recipe
    options: argparse.Namespace
    device: torch.device
    split: Split
    distributed: Distributed = Distributed()

    def batches(self, **changes: object) -> MixedBatches:
        """Real batches, with some options changed."""
        options = argparse.Namespace(**(vars(self.options) | changes))
        return wiring.training_batches(
            self.recipe, self.split.sketches("train"), self.split.photos("train"), options, self.device, self.distributed
        )

    def learner(self, **changes: object) -> Learner:
        """Student in train mode, teacher and all, with some options changed."""
        seed_everything(0)
        options = argparse.Namespace(**(vars(self.options) | changes))
        learner = wiring.learner(self.split, options, self.device, self.distributed)
        learner.student.train()
        return learner

    def batch_at_hand(self) -> Batch:
        """The first batch, on the host as a loader would leave it."""
        batch = next(self.batches(num_workers=0).of_epoch(0))
        return Batch(*(part.pin_memory() for part in batch)) if self.device.type == "cuda" else batch

    def plain_step(self, sketches: int) -> Callable[[torch.Tensor, torch.Tensor], Terms]:
        """A function (views, labels) that takes a plain step with a learner of its own."""
        learner = self.learner(amp="off")
        student, teacher = (network.to(memory_format=torch.contiguous_format) for network in (learner.student, learner.teacher))
        adam = torch.optim.Adam(student.parameters(), lr=self.options.lr, weight_decay=self.options.weight_decay)
        return functools.partial(
            plain_step, student, teacher, learner.semantic_mask, PlainBank(self.options.topk), adam, sketches=sketches
        )


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
    """Draws the dataset into a temporary folder, a few thousand files, gone with the block; a team's first process does."""
    distributed = distributed or Distributed()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    with tempfile.TemporaryDirectory(prefix="dsn-benchmark-") as name:
        folder = Path(distributed.all_gather_objects(name)[0])
        photos = -(-(options.steps + 1) * options.batch_size * 2 // 3 // 48)  # of 48 seen classes
        if distributed.is_main:
            print("drawing 256-px files …", file=sys.stderr)
            draw_dataset(folder, Settings(photos_per_class=photos, sketches_per_class=-(-photos // 2), held_out_per_class=1))
            torch.manual_seed(0)
            torch.save(Teacher(1000).state_dict(), folder / "teacher.pth")
        distributed.all_gather_objects("drawn")
        words = ["--data_root", folder, "--pretrained_weights", folder / "teacher.pth", "--steps_per_epoch", options.steps]
        words += ["--image_size", options.image_size, "--batch_size", options.batch_size, "--amp", options.amp]
        run = training_options(RECIPE, [str(word) for word in words])
        run.num_workers = resolve_workers(options.num_workers, device)
        yield Setting(RECIPE, run, device, Split(RECIPE.dataset, run.data_root, run.zero_version), distributed)
        distributed.all_gather_objects("done")


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
