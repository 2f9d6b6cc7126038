"""Options that the train and test scripts share, and those of the zero-shot test. Imports no PyTorch: --help is fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from datasets.catalog import DATA_ROOT, SKETCHY, Dataset
from models.names import CSE_RESNET50, arch_name
from retrieval.names import FITS, TIES, UPDATES
from utils.options import option, parse_bundle
from utils.parser import (
    Parser,
    fraction,
    image_side,
    layer_size,
    non_negative_float,
    path_argument,
    positive_float,
    positive_int,
    worker_count,
)

RUNS = Path("cse_resnet50/checkpoint")


@dataclass(frozen=True)
class DataOptions:
    """The split, and how its images are loaded."""

    title: ClassVar[str] = "data"
    data_root: Path = option(DATA_ROOT, type=path_argument, changes_result=False, help="root folder of the datasets")
    zero_version: str = option(SKETCHY.default_split, help="split folder, e.g. zeroshot1 or zeroshot2 of Sketchy")
    image_size: int | None = option(
        None,
        type=image_side,
        help="input size of the network in pixels, 32 to 8192; default: 224; of a timm trunk its native size, and in a test the "
        "size of its training",
    )
    skip_bad_images: bool = option(
        False, changes_result=False, help="leave out missing and unreadable images, and list them in a file"
    )
    num_workers: int | None = option(
        None, type=worker_count, changes_result=False, help="worker processes that decode images (default: 8 at most, 1 on a CPU)"
    )


@dataclass(frozen=True)
class ModelOptions:
    """Widths of the student."""

    title: ClassVar[str] = "model"
    num_classes: int | None = option(None, type=positive_int, help="seen classes (default: read from the data or the checkpoint)")
    num_hashing: int = option(64, type=layer_size, help="embedding length")


@dataclass(frozen=True)
class ObjectiveOptions:
    """Factors and sizes of the losses, which name a run's folder."""

    title: ClassVar[str] = "objective (names the run folder; changes no result)"
    kd_lambda: float = option(1.0, type=non_negative_float, help="factor on the teacher logits")
    kdneg_lambda: float = option(0.3, type=non_negative_float, help="factor on the semantic mask added to the teacher logits")
    sake_lambda: float = option(1.0, type=non_negative_float, help="weight of the distillation loss")
    contrastive_dim: int = option(128, type=layer_size, help="output size of the projection head, if there is one")
    contrastive_lambda: float = option(0.1, type=non_negative_float, help="weight of the contrastive loss (0: no contrast views)")
    temperature: float = option(0.07, type=positive_float, help="temperature of the contrastive loss")
    topk: int = option(10, type=layer_size, help="memory slots per class")
    memory_lambda: float = option(1.0, type=non_negative_float, help="weight of the memory loss")
    cls_lambda: float = option(1.0, type=non_negative_float, help="weight of the classification loss")


@dataclass(frozen=True)
class DeviceOptions:
    """Where to compute, and how precisely."""

    title: ClassVar[str] = "running"
    device: str = option("auto", changes_result=False, help="device: auto, cpu, cuda, cuda:1, …")
    amp: str = option(
        "auto", choices=("auto", "bf16", "off"), help="mixed precision; auto: bf16 where the device has it natively"
    )


@dataclass(frozen=True)
class ResumeFolder:
    """Where the tested run's folder is."""

    title: ClassVar[str] = "run folder"
    resume_dir: Path = option(RUNS, type=path_argument, help="parent folder of the run folders")


@dataclass(frozen=True)
class TrunkOptions:
    """The trunk of a checkpoint, or without one an untrained trunk."""

    arch: str | None = option(
        None, "-a", type=arch_name, help="trunk, cse_resnet50 or timm/NAME; default: as the checkpoint records, else cse_resnet50"
    )
    untrained: bool = option(False, help="use the pooled feature of the trunk with its initial weights, without a checkpoint")
    pretrained_weights: str | None = option(None, help="with --untrained, a file of weights (default: timm's download)")


@dataclass(frozen=True)
class CheckpointOptions(TrunkOptions):
    """The tested model, and which of its features ranks."""

    title: ClassVar[str] = "what to test"
    resume_file: str = option("model_best.pth.tar", help="checkpoint file in the run folder")
    checkpoint: Path | None = option(None, type=path_argument, help="checkpoint file, instead of one in the run folder")
    pretrained: bool = option(False, help="rank by the trunk's pooled feature instead of the embedding")
    precision: bool = option(False, help="no effect, since precision is always printed; for command lines of the released code")


@dataclass(frozen=True)
class ProtocolOptions:
    """Changes to the zero-shot protocol."""

    title: ClassVar[str] = "protocol"
    generalized: float | None = option(None, type=fraction, help="fraction of the seen classes' photos added to the gallery")
    photo_to_photo: int | None = option(
        None, type=positive_int, nargs="?", const=10, help="use N photos per class as queries instead of sketches (no N: 10)"
    )
    also_seen: list[Path] | None = option(
        None,
        type=path_argument,
        nargs="+",
        help="split folders (or cname_cid.txt files) of other data the model was trained on; their classes are left out",
    )


@dataclass(frozen=True)
class HashCodeOptions:
    """How hash codes are computed and compared."""

    title: ClassVar[str] = "hash codes"
    itq: str = option("released", choices=UPDATES, help="ITQ update of the released code or of the ITQ paper")
    itq_fit: str = option("queries", choices=FITS, help="images the codes are fitted to (published: queries)")
    ties: str = option("stable", choices=TIES, help="order at equal distance: lower gallery index first, or mean over all orders")


@dataclass(frozen=True)
class OutputOptions:
    """Files that a test writes."""

    title: ClassVar[str] = "what is written"
    results: Path | None = option(None, type=path_argument, help="results file (default: results.json beside the checkpoint)")
    no_report: bool = option(False, help="do not write the HTML report")
    no_cache: bool = option(False, help="neither read nor write cached features beside the checkpoint")


@dataclass(frozen=True)
class ZeroShotRuntime(DeviceOptions):
    """How a test runs."""

    amp: str = option(
        "off",
        choices=("auto", "bf16", "fp16", "off"),
        help="mixed precision; auto: bf16 where the device has it natively; fp16: on a GPU only",
    )
    batch_size: int = option(50, type=positive_int, help="images per batch")
    print_freq: int = option(20, "-p", type=positive_int, dashed=True, help="update the progress bar every N batches")


@dataclass(frozen=True)
class ZeroShotConfig:
    """Every option of a test script."""

    data: DataOptions = DataOptions()
    folder: ResumeFolder = ResumeFolder()
    model: ModelOptions = ModelOptions()
    objective: ObjectiveOptions = ObjectiveOptions()
    tested: CheckpointOptions = CheckpointOptions()
    protocol: ProtocolOptions = ProtocolOptions()
    codes: HashCodeOptions = HashCodeOptions()
    output: OutputOptions = OutputOptions()
    runtime: ZeroShotRuntime = ZeroShotRuntime()


def zero_shot_config(dataset: Dataset, arguments: Sequence[str] | None = None) -> ZeroShotConfig:
    """Parse the options of a test script; a mistake exits with code 2 after one line."""
    parser = Parser(f"Retrieve unseen classes of {dataset.name} with a trained DSN.")
    return parse_bundle(parser, ZeroShotConfig, arguments, **data_defaults(dataset))


def data_defaults(dataset: Dataset) -> dict[str, dict[str, str]]:
    """What a dataset changes in DataOptions, for `utils.options.parse`."""
    return {
        "data_root": {"help": f"root folder of the datasets; holds {dataset.folder}/"},
        "zero_version": {"default": dataset.default_split},
    }


def run_name(prefix: str, embedding_dim: int, objective: ObjectiveOptions, arch: str = CSE_RESNET50) -> str:
    """The released name of a run folder, e.g. sketchy_kd(1.0)_kdneg(0.3)_sake(1.0)_dim(64)_contrastive(128-0.1)_T(0.07)_…

    A trunk of timm is named after the prefix: sketchy_timm-resnet18_kd(1.0)_…
    """
    trunk = "" if arch == CSE_RESNET50 else f"_{arch.replace('/', '-')}"
    return (
        f"{prefix}{trunk}_kd({objective.kd_lambda})_kdneg({objective.kdneg_lambda})_sake({objective.sake_lambda})"
        f"_dim({embedding_dim})_contrastive({objective.contrastive_dim}-{objective.contrastive_lambda})"
        f"_T({objective.temperature})_memory({objective.topk}-{objective.memory_lambda})"
    )
