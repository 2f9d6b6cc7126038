"""Options of the train scripts, and the recipe of each dataset. Parsing them imports no PyTorch: --help is fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from datasets.catalog import Dataset
from evaluation.config import RUNS, DataOptions, DeviceOptions, ModelOptions, ObjectiveOptions, data_defaults
from models.names import ALL, CSE_RESNET50, DOWNLOAD, HEADS, NORMS, arch_name
from utils.errors import InputError
from utils.options import as_text, option, parse_bundle
from utils.parser import Parser, non_negative_float, non_negative_int, path_argument, positive_float, positive_int

if TYPE_CHECKING:
    from datasets.preprocessing import Preprocessing


@dataclass(frozen=True)
class Recipe:
    """Training settings that depend on the dataset: lists, share of photos in a batch, schedule and seed."""

    dataset: Dataset
    photos_per_sketch: int  # in a batch: batch_size // (1 + photos_per_sketch) sketches
    epochs: int
    validation_batches: int  # of batch_size // 2 pairs each
    seed: int


@dataclass(frozen=True)
class RunFolder:
    """Where a run writes."""

    title: ClassVar[str] = "run folder"
    savedir: Path = option(RUNS, "-s", type=path_argument, changes_result=False, help="parent folder of the run folders")


@dataclass(frozen=True)
class TrainedModel(ModelOptions):
    """Student and teacher."""

    arch: str = option(CSE_RESNET50, "-a", type=arch_name, help="trunk: cse_resnet50, or timm/NAME for any image model of timm")
    pretrained_weights: str = option(
        DOWNLOAD, help="initial weights of the trunk: imagenet (download), a file, or none (from scratch, without a teacher)"
    )
    teacher: str | None = option(
        None,
        help="teacher: timm/NAME, timm/NAME=FILE, a FILE of an SE-ResNet-50 or of the trunk's model, or none; default: the "
        "ImageNet classifier in the trunk's initial weights",
    )
    domain_tag: str = option("on", choices=("on", "off"), help="input of the domain, sketch or photo, to the trunk")
    ems_loss: bool = option(False, dashed=True, help="classify by the distance to learned class centres, with a margin")


@dataclass(frozen=True)
class TrainedObjective(ObjectiveOptions):
    """The losses and their weights."""

    title: ClassVar[str] = "objective"
    memory_grad: str = option("on", choices=("on", "off"), help="memory loss trains the photo features (released code: off)")
    contrastive_on: str = option(
        "embedding",
        choices=("embedding", "projection"),
        help="input of the contrastive loss: the embedding (released code) or the output of a projection head (paper)",
    )


@dataclass(frozen=True)
class OptimisationOptions:
    """Batches, learning rate and length of the training."""

    title: ClassVar[str] = "schedule"
    epochs: int = option(20, type=non_negative_int, help="number of epochs; 0 saves the initial weights")
    batch_size: int = option(96, type=positive_int, help="images (sketches and photos) per step, each in three views")
    lr: float = option(1e-4, type=positive_float, help="initial learning rate; decays to lr × lr_decay")
    trunk_lr: float | None = option(None, type=positive_float, help="initial learning rate of the trunk (default: lr)")
    lr_decay: float = option(0.001, type=positive_float, help="final learning rate as a fraction of the initial one")
    weight_decay: float = option(5e-4, "--wd", type=non_negative_float, dashed=True, help="weight decay (L2 term of Adam)")
    steps_per_epoch: int | None = option(None, type=positive_int, help="maximum number of steps per epoch (default: no limit)")
    validation_batches: int = option(300, type=positive_int, help="number of validation batches, of batch_size // 2 pairs each")
    seed: int = option(1, type=non_negative_int, help="random seed of weights, batches and views")
    train: str = option(ALL, choices=(ALL, NORMS, HEADS), help="what to train; norms: normalisation layers, domain tag and heads")
    freeze_features: bool = option(False, "-f", help="freeze the backbone; train the heads only, as --train heads")

    @property
    def trainable(self) -> str:
        """all, norms or heads."""
        return HEADS if self.freeze_features else self.train


@dataclass(frozen=True)
class RuntimeOptions(DeviceOptions):
    """Where and how a training runs."""

    print_freq: int = option(10, "-p", type=positive_int, dashed=True, changes_result=False, help="log every N steps")
    evaluate: bool = option(
        False, "-e", changes_result=False, help="validate only: the initial weights, or with --resume the last checkpoint"
    )
    batchnorm: str = option(
        "synchronised",
        choices=("synchronised", "local"),
        help="BatchNorm statistics with several processes: of the whole batch, or of each process's part",
    )
    save_minutes: float = option(
        15,
        type=non_negative_float,
        changes_result=False,
        help="minutes between two checkpoints within an epoch; 0: at the end of epochs only",
    )
    checkpoint_activations: bool = option(False, help="save memory by computing activations again in the backward pass")
    compile: str = option(
        "auto",
        choices=("auto", "on", "off"),
        nargs="?",
        const="on",
        changes_result=False,
        help="compile the network with torch.compile (no value: on); auto: on one CPU or GPU, if the steps left repay it",
    )
    profile: bool = option(False, changes_result=False, help="profile a few steps, write their trace to the run folder and exit")
    resume: bool = option(
        False, "-r", changes_result=False, help="resume from checkpoint.pth.tar in the run folder, if there is one"
    )


@dataclass(frozen=True)
class TrainConfig:
    """Every option of a train script."""

    data: DataOptions = DataOptions()
    folder: RunFolder = RunFolder()
    model: TrainedModel = TrainedModel()
    objective: TrainedObjective = TrainedObjective()
    optimisation: OptimisationOptions = OptimisationOptions()
    runtime: RuntimeOptions = RuntimeOptions()

    @property
    def image_size(self) -> int:
        """Pixels of the network's input."""
        return self.preprocessing.image_size

    @property
    def preprocessing(self) -> "Preprocessing":
        """How images are prepared: whole, in the trunk's normalisation. Raises InputError if the trunk cannot take the size."""
        from models.trunks import preprocessing_for

        return preprocessing_for(self.model.arch, self.data.image_size).whole_image()

    def as_text(self, only_changing_result: bool = False) -> dict[str, Any]:
        """The options by name, as checkpoints and options.json hold them; or only those that change what a run computes."""
        groups = self.data, self.folder, self.model, self.objective, self.optimisation, self.runtime
        return {**as_text(*groups, only_changing_result=only_changing_result), "image_size": self.image_size}


def train_config(recipe: Recipe, arguments: Sequence[str] | None = None) -> TrainConfig:
    """Parse the options of a train script; a mistake exits with code 2 after one line.

    Raises InputError if the trunk cannot take the image size.
    """
    schedule = {name: {"default": getattr(recipe, name)} for name in ("epochs", "validation_batches", "seed")}
    parser = Parser(f"Train DSN on {recipe.dataset.name}.")
    config = parse_bundle(parser, TrainConfig, arguments, **data_defaults(recipe.dataset), **schedule)
    if config.optimisation.freeze_features and config.optimisation.train == NORMS:
        raise InputError("--freeze_features trains the heads only; leave it out, or --train norms")
    if config.optimisation.trunk_lr is not None and config.optimisation.trainable == HEADS:
        raise InputError("--trunk_lr: the trunk is frozen; leave it out, or train all or norms")
    config.preprocessing  # noqa: B018  # raises before any work
    return config
