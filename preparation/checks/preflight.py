"""Whether training can start: the semantic mask, a batch that the lists can fill, and the command to run."""

import shlex
from pathlib import Path

from datasets.catalog import CUSTOM, DATA_ROOT, DATASETS, IMAGENET_CLASSES, Dataset
from datasets.file_lists import REMAKE_MASK
from preparation.checks.config import BATCH_SIZE
from preparation.checks.findings import Findings
from preparation.checks.split_lists import SplitLists
from utils.errors import InputError

TRAINABLE = [dataset for dataset in DATASETS.values() if dataset.train_script]


def check_mask(lists: SplitLists, findings: Findings) -> None:
    """Check that the semantic mask has a vector for each class and fits an ImageNet teacher."""
    try:
        width = lists.split.semantic_mask().shape[1]
        problem = f"{lists.split.mask_file}: {width} wide, and ImageNet has {IMAGENET_CLASSES} classes"
        if width == IMAGENET_CLASSES:
            return
    except InputError as error:
        problem = str(error)
        if lists.seen is None:  # reported already
            return
    advice = "until then" if REMAKE_MASK in problem else "prepare_dataset.py makes the mask; until then"
    without_teacher = f"training with a teacher cannot start; {advice}, train with --pretrained_weights none"
    findings.error(f"{problem}: {without_teacher}")


def training_command(requested: Dataset, lists: SplitLists, data_root: Path, batch_size: int, findings: Findings) -> str:
    """The command that trains on the split; it is an error if there is none.

    The train scripts use custom images where their own dataset is missing, so any script whose dataset is missing will do.
    """
    possible = [requested] if requested.train_script else [each for each in TRAINABLE if not (data_root / each.folder).exists()]
    if not possible:
        advice = f"move {CUSTOM.folder}/ to another data root"
        findings.error(f"{data_root} holds all other datasets, and the train scripts use those first; {advice}")
    recipe = (possible or TRAINABLE)[0]
    is_custom = lists.split.dataset is CUSTOM
    fitting = _check_batch_size(lists, TRAINABLE if is_custom else [recipe], recipe, batch_size, findings)
    words = ["python", str(recipe.train_script)]
    if data_root != DATA_ROOT or is_custom:
        words += ["--data_root", str(data_root)]
    if lists.split.name != lists.split.dataset.default_split:
        words += ["--zero_version", lists.split.name]
    if fitting != BATCH_SIZE:
        words += ["--batch_size", str(fitting)]
    return shlex.join(words)


def fitting_batch_size(batch_size: int, sketches: int, photos: int, photos_per_sketch: int) -> int:
    """`batch_size`, reduced if that many sketches and photos cannot fill it, raised if it holds no sketch; 0: impossible.

    A batch has `batch_size // (1 + photos_per_sketch)` sketches.
    """
    group = 1 + photos_per_sketch  # a sketch and its photos
    available = min(sketches, photos // photos_per_sketch)
    return max(batch_size, group) if max(1, batch_size // group) <= available else available * group


def _check_batch_size(lists: SplitLists, recipes: list[Dataset], chosen: Dataset, batch_size: int, findings: Findings) -> int:
    if not {"train_sketches", "train_photos"} <= lists.files.keys():
        return batch_size
    counts = len(lists.files["train_sketches"]), len(lists.files["train_photos"])
    fitting = {each.train_script: fitting_batch_size(batch_size, *counts, each.photos_per_sketch) for each in recipes}
    others = [f"{size or 'none'} for {script}" for script, size in fitting.items() if size != batch_size]
    message = f"{counts[0]:,} training sketches and {counts[1]:,} photos cannot fill a batch of {batch_size}"
    findings.warning(f"{message}; use --batch_size", others, shown=len(others))
    if not fitting[chosen.train_script]:
        needs = f"{chosen.train_script} needs {chosen.photos_per_sketch} photos per sketch"
        findings.error(f"{needs}, and there are not enough for the smallest batch")
    return fitting[chosen.train_script]
