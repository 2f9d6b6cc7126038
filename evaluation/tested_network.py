"""The network that a test script tests: a student of a checkpoint, or an untrained trunk."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.catalog import CUSTOM, DATASETS, SAME_SPLIT
from datasets.file_lists import Split
from evaluation.config import ZeroShotConfig, run_name
from models.cse_resnet import IMAGE_SIZE
from models.embedding import EmbeddingNetwork, embedding_network, trained_preprocessing
from models.names import CSE_RESNET50, DOWNLOAD, NONE, is_timm
from models.restore import recorded_image_size, recorded_option, require_arch, restore_student, weights_digest
from models.trunks import initial_trunk
from utils.errors import InputError
from utils.runs import list_runs


@dataclass(frozen=True)
class TestedNetwork:
    """arch: value of --arch. source: what results name as the checkpoint. folder: where results go by default."""

    network: EmbeddingNetwork
    arch: str
    source: str
    folder: Path

    @functools.cached_property
    def digest(self) -> str:
        """Identifies the weights, in results and in the feature cache; an engine may change them afterwards."""
        return weights_digest(self.network)

    @property
    def identity(self) -> dict[str, object]:
        """All that the feature of an image depends on."""
        images, pooled = self.network.preprocessing.as_dict(), self.network.projection is None
        return {"weights": self.digest, "arch": self.arch, "images": images, "pooled": pooled}


def open_tested(split: Split, config: ZeroShotConfig) -> TestedNetwork:
    """Raises InputError if there is no such checkpoint, it holds another trunk than `--arch`, or weights cannot be read."""
    return _untrained(split, config) if config.tested.untrained else _trained(split, config)


def _trained(split: Split, config: ZeroShotConfig) -> TestedNetwork:
    tested = config.tested
    if tested.pretrained_weights is not None:
        raise InputError("--pretrained_weights: a checkpoint has weights; add --untrained to test initial ones, or leave it out")
    checkpoint = tested.checkpoint or _checkpoint_of_run(split, config)
    student, content = restore_student(checkpoint, config.model.num_hashing, config.model.num_classes)
    require_arch(student.original_model, tested.arch, checkpoint)
    arch = student.original_model.arch
    default = None if is_timm(arch) else IMAGE_SIZE
    preprocessing = trained_preprocessing(student, recorded_image_size(content), config.data.image_size or default)
    print(f"testing {checkpoint}, epochs trained: {content.get('epoch', 'unknown')}")
    _print_warnings(split, content, preprocessing.image_size)
    network = embedding_network(student, preprocessing, pooled=tested.pretrained)
    return TestedNetwork(network, arch, str(checkpoint), checkpoint if checkpoint.is_dir() else checkpoint.parent)


def _untrained(split: Split, config: ZeroShotConfig) -> TestedNetwork:
    tested = config.tested
    if tested.checkpoint is not None:
        raise InputError("--untrained: tests the trunk alone; leave out --checkpoint")
    if tested.pretrained_weights == NONE:
        raise InputError("--pretrained_weights none: its weights differ in each test; train with --epochs 0 and test that")
    arch = tested.arch or CSE_RESNET50
    trunk = initial_trunk(arch, tested.pretrained_weights or DOWNLOAD, config.data.image_size)
    print(f"testing {arch}, untrained, at {trunk.preprocessing.image_size} px")
    if trunk.licence:
        print(f"its weights: licence {trunk.licence}")
    weights = "timm's weights" if tested.pretrained_weights is None else Path(tested.pretrained_weights).name
    folder = config.folder.resume_dir / f"{split.run_prefix}_{arch.replace('/', '-')}_untrained"
    return TestedNetwork(EmbeddingNetwork(trunk, trunk.preprocessing), arch, f"{arch}, untrained: {weights}", folder)


def _checkpoint_of_run(split: Split, config: ZeroShotConfig) -> Path:
    """The checkpoint in the run folder that the options name. Raises InputError if there is none."""
    name = run_name(split.run_prefix, config.model.num_hashing, config.objective, config.tested.arch or CSE_RESNET50)
    folder = config.folder.resume_dir / name
    path = folder / config.tested.resume_file
    if not path.exists():
        runs = list_runs(folder.parent)
        found = f"the runs there are {', '.join(runs)}: repeat one's options" if runs else "no run is there: train one"
        raise InputError(f"{path}: no such file; {found}, or name any file with --checkpoint FILE")
    return path


def _print_warnings(split: Split, content: dict[str, Any], tested_at: int) -> None:
    """Classes that are unseen in one split may be training classes of another."""
    trained_at = recorded_image_size(content)
    if trained_at not in (None, tested_at):
        print(f"note: trained at {trained_at} px, tested at {tested_at} px; use --image_size {trained_at} to match")
    trained_on = recorded_option(content, "zero_version", str)
    if trained_on is not None and SAME_SPLIT.get(trained_on, trained_on) not in _names_of(split):
        print(f"warning: trained on the split {trained_on}, tested on {split.name}: classes unseen here may have been trained on")


def _names_of(split: Split) -> set[str]:
    """Values of --zero_version that select this split; own folders are also selected by the defaults of all scripts."""
    defaults = {dataset.default_split for dataset in DATASETS.values()}
    return {split.name} | (defaults if split.dataset is CUSTOM and split.name == CUSTOM.default_split else set())
