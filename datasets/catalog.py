"""What the datasets are: their folder, their lists, their published splits (SAKE's layout), and where to get them."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

IMAGENET_CLASSES = 1000
WNID = re.compile(r"(?:.*/)?(n\d{8})_[^/]*$")  # of a photo from ImageNet: its name begins with its synset's id
PUBLISHED = Path(__file__).parent / "published"


@dataclass(frozen=True)
class Counts:
    """How many images a published split has (SPEC 2); None where that is not published.

    Training sketches do not count the held-out ones.
    """

    train_sketches: int | None = None
    train_photos: int | None = None
    held_out_sketches: int | None = None
    query_sketches: int | None = None
    gallery_photos: int | None = None


DATA_ROOT = Path("dataset")  # where scripts look for datasets, and prepare them, by default


@dataclass(frozen=True)
class Dataset:
    """Names of one dataset's folder and lists; list names are completed with `train`, `test` or `zero`."""

    name: str  # for people
    key: str  # what prepare_dataset.py and check_dataset.py call it
    folder: str  # under the data root; also the name in results
    run_prefix: str  # first word of a run folder
    default_split: str
    photo_list: str
    sketch_list: str
    photo_folder: str  # below `folder`: where photos lie, in a folder for each class
    sketch_folder: str
    how_to_get: str  # the beginning of a sentence, for the message that says it is missing
    held_out: int  # sketches of each seen class kept for validation
    train_script: str | None = None  # None: every script trains on it, when the script's own dataset is not there
    photos_per_sketch: int = 1  # in a training batch
    splits: dict[str, Counts] = field(default_factory=dict)  # the published ones


SKETCHY = Dataset(
    name="Sketchy Ext",
    key="sketchy",
    folder="Sketchy",
    run_prefix="sketchy",
    default_split="zeroshot1",
    photo_list="all_photo_filelist_{part}.txt",
    sketch_list="sketch_tx_000000000000_ready_filelist_{part}.txt",
    photo_folder="256x256/photo/tx_000000000000_ready",
    sketch_folder="256x256/sketch/tx_000000000000_ready",
    how_to_get="Get the SAKE authors' Sketchy archive (https://github.com/qliu24/SAKE)",
    held_out=50,
    train_script="train_cse_resnet_sketchy_ext.py",
    photos_per_sketch=2,
    splits={
        "zeroshot1": Counts(55_252, 68_401, 5_000, 15_229, 17_101),
        "zeroshot2": Counts(57_587, 72_949, None, 12_694, 12_553),
    },
)

TUBERLIN = Dataset(
    name="TU-Berlin Ext",
    key="tuberlin",
    folder="TUBerlin",
    run_prefix="tuberlin",
    default_split="zeroshot",
    photo_list="ImageResized_ready_filelist_{part}.txt",
    sketch_list="png_ready_filelist_{part}.txt",
    photo_folder="ImageResized_ready",
    sketch_folder="png_ready",
    how_to_get="Get the SAKE authors' TU-Berlin archive (https://github.com/qliu24/SAKE)",
    held_out=10,
    train_script="train_cse_resnet_tuberlin_ext.py",
    photos_per_sketch=9,
    splits={"zeroshot": Counts(15_400, 176_500, 2_200, 2_400, 27_989)},
)

QUICKDRAW = Dataset(
    name="QuickDraw Ext",
    key="quickdraw",
    folder="QuickDraw",
    run_prefix="quickdraw",
    default_split="zeroshot",
    photo_list="all_photo_{part}.txt",
    sketch_list="sketch_{part}.txt",
    photo_folder="images",
    sketch_folder="sketches",
    how_to_get="Get the QuickDraw-Extended archives of Dey et al. (https://github.com/sounakdey/doodle2search)",
    held_out=50,
    train_script="train_cse_resnet_quickdraw_ext.py",
    photos_per_sketch=1,
    splits={"zeroshot": Counts(query_sketches=92_291, gallery_photos=54_151)},
)

# One's own folders, prepared: any script finds them under --data_root where its own dataset is not.
CUSTOM = Dataset(
    name="own folders",
    key="folders",
    folder="Own",
    run_prefix="own",
    default_split="zeroshot",
    photo_list="photo_filelist_{part}.txt",
    sketch_list="sketch_filelist_{part}.txt",
    photo_folder="photos",
    sketch_folder="sketches",
    how_to_get="Put your images into folders photos/<class>/ and sketches/<class>/",
    held_out=10,
)

DATASETS = {dataset.key: dataset for dataset in (SKETCHY, TUBERLIN, QUICKDRAW, CUSTOM)}
SAME_SPLIT = {"zeroshot0": "zeroshot2"}  # what other repositories call Sketchy's 104/21 split


def published_classes(dataset: Dataset, split: str) -> tuple[list[str], list[str]]:
    """Names by id of the seen and of the unseen classes of a published split (SPEC 2). Raises KeyError if it is none."""
    split = SAME_SPLIT.get(split, split)
    found = json.loads((PUBLISHED / "class_ids.json").read_text(encoding="utf-8"))[f"{dataset.folder}/{split}"]
    return found["seen"], found["unseen"]


def published_mask_rows(dataset: Dataset) -> dict[str, np.ndarray]:
    """{class: (1000,) float64 in [0, 1]}: how near each class of a published dataset is to each ImageNet class; else {}.

    `published/semantic_masks.npz` holds, for each dataset's folder name, `<folder>_names` (n,) and `<folder>` (n, 1000). The
    rows of Sketchy's `zeroshot1` and TU-Berlin's `zeroshot` seen classes are those of SAKE's published files; their other rows
    follow SAKE's rule (preparation/mask.py) from the published lists. QuickDraw's photos name no synset: its rows are
    Sketchy's for a class of the same name (86), else TU-Berlin's (12), else those of the first WordNet noun of the name (12).
    """
    with np.load(PUBLISHED / "semantic_masks.npz", allow_pickle=False) as arrays:
        if dataset.folder not in arrays:
            return {}
        return dict(zip(arrays[f"{dataset.folder}_names"].tolist(), arrays[dataset.folder], strict=True))


def imagenet_wnids() -> list[str]:
    """WordNet ids (`n01440764`) of ImageNet-1k's classes, in the order of every ImageNet network's outputs."""
    return (PUBLISHED / "imagenet_wnids.txt").read_text(encoding="ascii").split()
