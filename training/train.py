"""The training run that both train scripts share: its pieces come from `training.build`."""

import argparse
import contextlib
from pathlib import Path

import torch

from datasets.bad_images import SKIPPED, BadImages
from datasets.batches import Batch, MixedBatches
from datasets.file_lists import Split
from training import build as wiring
from training.checkpointing import Checkpointer, archive_previous_run, has_checkpoint, mark_new_run, resume
from training.config import Recipe
from training.profiling import profile_steps
from training.state import Progress
from training.step import Learner, take_step
from training.trainer import Run
from utils.devices import choose_device, resolve_workers
from utils.distributed import Distributed, init_distributed
from utils.files import exclusive_lock, require_writable
from utils.ram import peak_memory, report_out_of_memory
from utils.runs import BEST, record_run, run_folder
from utils.seeding import seed_everything
from utils.signals import StopRequest, stop_requests

OUT_OF_MEMORY_HINT = (
    "lower --batch_size, or --image_size; --amp bf16 halves the features, --contrastive_lambda 0 spares two of three views, "
    "and --num_workers 0 the decoding processes"
)


def train(recipe: Recipe, options: argparse.Namespace) -> float:
    """Train (or, with `--evaluate`, only validate) and return the best validation mAP.

    Started by torchrun, the processes train one model together; the first one prints and writes. Raises Stopped, once the
    state is saved, if the process is told to stop.
    """
    with (
        init_distributed(options.device) as distributed,
        distributed.only_main_prints(),
        stop_requests(distributed) as stop,
        report_out_of_memory(OUT_OF_MEMORY_HINT),
    ):
        return _train(recipe, options, distributed, stop)


def _train(recipe: Recipe, options: argparse.Namespace, distributed: Distributed, stop: StopRequest) -> float:
    device = choose_device(options.device)
    options.num_workers = resolve_workers(options.num_workers, device, distributed.local_world_size)
    seed_everything(options.seed)
    bad_images = BadImages(options.num_workers, distributed) if options.skip_bad_images else None
    split = Split(recipe.dataset, options.data_root, options.zero_version, options.num_classes, filter_list=bad_images)
    photos = split.photos("train")
    batches = wiring.training_batches(recipe, split.sketches("train"), photos, options, device, distributed)
    validate = wiring.validation(split.sketches("test"), photos, options, device, distributed)
    learner = wiring.learner(split, options, device, distributed)
    optimizer = wiring.optimizer(learner.student, options)

    folder = run_folder(options.savedir, split.run_prefix, options)
    with contextlib.ExitStack() as opened:
        if distributed.is_main and not options.evaluate:
            require_writable(folder / "options.json", option="--savedir", suffix=".json")
            refusal = f"{folder}: another run is writing there; wait for it, stop it, or choose another --savedir"
            opened.enter_context(exclusive_lock(folder / ".lock", refusal))
        is_new = not (options.resume and has_checkpoint(folder))
        progress = resume(folder, learner, optimizer, batches) if options.resume else Progress()
        if options.evaluate:
            value = validate(learner.student)
            print(f"validation mAP (hash, released protocol) {value:.4f}")
            return value
        processes = f", in {distributed.world_size} processes" if distributed.world_size > 1 else ""
        print(f"run folder {folder}\n{len(batches)} steps an epoch of {sum(batches.shares)} images on {device}{processes}")
        if options.profile:
            print(_profile(learner, optimizer, batches, progress.epochs, folder))
            return progress.best
        if not is_new and progress.epochs >= options.epochs:
            print(f"nothing to do: {progress.epochs} of {options.epochs} epochs are trained; raise --epochs to go on")
            return progress.best

        def begin() -> None:
            """Once there is something to write: until then, what an earlier run left is not touched."""
            archive_previous_run(folder, is_new)
            record = "options.json" if is_new else f"options_from_epoch_{progress.epochs + 1}.json"
            record_run(folder / record, options, num_classes=split.seen_classes, device=str(device), steps=len(batches))
            if bad_images:
                bad_images.write(folder / SKIPPED)

        if is_new and distributed.is_main:
            mark_new_run(folder)
        checkpointer = Checkpointer(folder, learner, optimizer, begin, batches, options.save_minutes)
        run = Run(learner, optimizer, batches, validate, checkpointer, stop, options)
        if options.epochs == 0:
            checkpointer.keep(progress, validate(learner.student))
            return progress.best
        run.finish(progress)
        print(f"best validation mAP {progress.best:.4f}: {folder / BEST}\npeak memory: {peak_memory(device)}")
        return progress.best


def _profile(learner: Learner, optimizer: torch.optim.Optimizer, batches: MixedBatches, epoch: int, folder: Path) -> str:
    """Where the steps of this epoch spend their time, as text; the trace is in `folder`."""
    learner.student.train()
    sketches = batches.shares[0]

    def step(batch: Batch, number: int) -> None:
        take_step(learner, optimizer, batch, sketches, epoch, number)

    return profile_steps(batches.of_epoch(epoch), len(batches), step, learner, folder)
