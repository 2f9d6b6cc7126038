"""Whether training can start as it stands, and how: the lists' length beside a batch, the semantic mask, the command."""

import shlex
from pathlib import Path
from typing import NamedTuple

from datasets.catalog import CUSTOM, DATA_ROOT, IMAGENET_CLASSES, QUICKDRAW, SKETCHY, TUBERLIN, Dataset
from datasets.file_lists import REMAKE_MASK
from preparation.checks.findings import Findings
from preparation.checks.split_lists import SplitLists
from utils.errors import InputError

BATCH_SIZE = 96  # what the training scripts take by default


class Script(NamedTuple):
    """What a training script's recipe says of its batches."""

    file: str
    dataset: Dataset
    photos_per_sketch: int

    def batch_that_fits(self, batch_size: int, sketches: int, photos: int) -> int:
        """`batch_size` if there are images enough to fill it once, else the next smaller that can be filled; 0: none.

        Where it is too small to hold a sketch, the least that does.
        """
        whole = 1 + self.photos_per_sketch
        fit = min(sketches, photos // self.photos_per_sketch)
        asked = max(1, batch_size // whole)
        return max(batch_size, whole) if asked <= fit else fit * whole


SCRIPTS = (
    Script("train_cse_resnet_sketchy_ext.py", SKETCHY, 2),
    Script("train_cse_resnet_tuberlin_ext.py", TUBERLIN, 9),
    Script("train_cse_resnet_quickdraw_ext.py", QUICKDRAW, 1),
)


def check_mask(lists: SplitLists, findings: Findings) -> None:
    """A fault if it is missing, damaged, lacks a class or does not fit an ImageNet teacher."""
    try:
        width = lists.split.semantic_mask().shape[1]
        if width != IMAGENET_CLASSES:
            fault = f"{lists.split.mask_file}: {width} wide, and ImageNet has {IMAGENET_CLASSES} classes"
            findings.fault(_without_teacher(fault))
    except InputError as error:
        if lists.seen is not None:  # else that is what it says
            findings.fault(_without_teacher(str(error)))


def _without_teacher(fault: str) -> str:
    """A fault of the mask with what follows from it; most of the messages do not say yet where a mask comes from."""
    makes = "until then" if REMAKE_MASK in fault else "prepare_dataset.py makes the mask; until then"
    return f"{fault}: training with a teacher cannot start; {makes}, train with --pretrained_weights none"


def check_batches(lists: SplitLists, script: Script, batch_size: int, findings: Findings) -> int:
    """The batch size that `script` can train with; a caution if it is another, and for own folders so for every script."""
    if not {"train_sketches", "train_photos"} <= set(lists.files):
        return batch_size
    counts = len(lists.files["train_sketches"]), len(lists.files["train_photos"])
    asked = SCRIPTS if lists.split.dataset is CUSTOM else (script,)
    fits = {one.file: one.batch_that_fits(batch_size, *counts) for one in asked}
    others = [f"{fit or 'none'} for {file}" for file, fit in fits.items() if fit != batch_size]
    if others:
        message = f"{counts[0]:,} training sketches and {counts[1]:,} photos do not make a batch of {batch_size}"
        findings.caution(f"{message}; a --batch_size that fits", others, shown=len(others))
    if not fits[script.file]:
        need = f"{script.photos_per_sketch} photos to a sketch"
        findings.fault(f"{script.file} takes {need}, and there are not enough for the smallest batch")
    return fits[script.file]


def script_for(asked: Dataset, lists: SplitLists, findings: Findings) -> Script:
    """The one that trains on this split. Own folders are found by a script whose own dataset is not there."""
    if asked is not CUSTOM:
        return next(script for script in SCRIPTS if script.dataset is asked)
    data_root = lists.split.root.parent
    free = [script for script in SCRIPTS if not (data_root / script.dataset.folder).exists()]
    if not free:
        findings.fault(
            f"{data_root} holds every other dataset too, which scripts take first; move {CUSTOM.folder}/ to a root of its own"
        )
    return (free or SCRIPTS)[0]


def command(script: Script, lists: SplitLists, data_root: Path, batch_size: int) -> str:
    """The line that trains."""
    split, default = lists.split.name, script.dataset.default_split
    if lists.split.dataset is CUSTOM:
        default = CUSTOM.default_split
    words = ["python", script.file]
    if data_root != DATA_ROOT or lists.split.dataset is CUSTOM:
        words += ["--data_root", str(data_root)]
    if split != default:
        words += ["--zero_version", split]
    if batch_size != BATCH_SIZE:
        words += ["--batch_size", str(batch_size)]
    return shlex.join(words)
