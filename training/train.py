"""`train`: a whole run of a train script, from its config to its last checkpoint."""

import contextlib
import functools
from pathlib import Path

from datasets.bad_images import SKIPPED, BadImages
from datasets.file_lists import Split
from evaluation.config import run_name
from evaluation.resources import resolve
from training.build import training_batches, training_step, validation
from training.checkpointing import Checkpointer, archive_previous_run, has_checkpoint, mark_new_run, resume
from training.compiling import compile_step
from training.config import Recipe, TrainConfig
from training.profiling import profile_steps
from training.state import TrainingState
from training.trainer import Trainer
from utils.distributed import Distributed, init_distributed
from utils.files import exclusive_lock, require_writable
from utils.ram import peak_memory, report_out_of_memory
from utils.runs import BEST, record_run
from utils.seeding import seed_everything
from utils.signals import StopRequest, stop_requests

OUT_OF_MEMORY_HINT = (
    "lower --batch_size or --image_size; --amp bf16 halves the features, --contrastive_lambda 0 leaves out two of three views, "
    "and --num_workers 0 the data-loading processes"
)


def train(recipe: Recipe, config: TrainConfig) -> float:
    """Train (or, with `--evaluate`, only validate) and return the best validation mAP.

    Started by torchrun, the processes train one model together; the main one prints and writes. Raises Stopped, once the
    state is saved, on SIGTERM or SIGINT, and InputError for anything wrong with data, options or files.
    """
    with (
        init_distributed(config.runtime.device) as distributed,
        distributed.only_main_prints(),
        stop_requests(distributed) as stop,
        report_out_of_memory(OUT_OF_MEMORY_HINT),
    ):
        return _train(recipe, config, distributed, stop)


def _train(recipe: Recipe, config: TrainConfig, distributed: Distributed, stop: StopRequest) -> float:
    data, runtime = config.data, config.runtime
    resources = resolve(runtime, data, distributed)
    seed_everything(config.optimisation.seed)
    bad_images = BadImages(resources.num_workers, distributed) if data.skip_bad_images else None
    split = Split(recipe.dataset, data.data_root, data.zero_version, config.model.num_classes, filter_list=bad_images)
    photos = split.photos("train")
    batches = training_batches(recipe, split.sketches("train"), photos, config, resources)
    validate = validation(split.sketches("test"), photos, config, resources)
    step = training_step(split, config, resources, sketches_per_batch=batches.per_batch[0])
    folder = config.folder.savedir / run_name(split.run_prefix, config.model.num_hashing, config.objective, config.model.arch)

    with _locked(folder) if distributed.is_main and not runtime.evaluate else contextlib.nullcontext():
        is_new = not (runtime.resume and has_checkpoint(folder))
        state = resume(folder, config, step, batches) if runtime.resume else TrainingState()
        if runtime.evaluate:
            value = validate(step.student)
            print(f"validation mAP (hash, released protocol) {value:.4f}")
            return value
        processes = f", in {distributed.world_size} processes" if distributed.world_size > 1 else ""
        print(f"run folder {folder}")
        print(f"{len(batches)} steps an epoch of {sum(batches.per_batch)} images on {resources.device}{processes}")
        if runtime.profile:
            compile_step(step, batches, state, config)
            print(profile_steps(step, batches, state.epochs, folder))
            return state.best
        if not is_new and state.epochs >= config.optimisation.epochs:
            print(f"nothing to do: {state.epochs} of {config.optimisation.epochs} epochs are trained; raise --epochs to go on")
            return state.best

        @functools.cache  # called before each file is written; until the first, an earlier run's files are not touched
        def prepare_folder() -> None:
            if not distributed.is_main:
                return
            archive_previous_run(folder, is_new)
            record = folder / ("options.json" if is_new else f"options_from_epoch_{state.epochs + 1}.json")
            resolved = {"num_classes": split.seen_classes, "device": str(resources.device), "steps": len(batches)}
            how = {"num_workers": resources.num_workers, "amp": resources.amp, "compiled": state.compiled}
            record_run(record, config.as_text(), **resolved, **how)
            if bad_images:
                bad_images.write(folder / SKIPPED)

        if is_new and distributed.is_main:
            mark_new_run(folder)
        checkpointer = Checkpointer(folder, config, step, batches, prepare_folder)
        if config.optimisation.epochs == 0:
            checkpointer.save_epoch(state, validate(step.student))
            return state.best
        state.compiled = compile_step(step, batches, state, config)
        Trainer(step, batches, validate, checkpointer, stop, config, state).train()
        print(f"best validation mAP {state.best:.4f}: {folder / BEST}\npeak memory: {peak_memory(resources.device)}")
        return state.best


def _locked(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Raises InputError if the folder cannot be written, or another run is writing there."""
    require_writable(folder / "options.json", option="--savedir", suffix=".json")
    refusal = f"{folder}: another run is writing there; wait for it, stop it, or choose another --savedir"
    return exclusive_lock(folder / ".lock", refusal)
