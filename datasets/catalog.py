"""The datasets: folders, lists and published splits in SAKE's layout, and where to get them.

To add a dataset, add a `Dataset` to DATASETS, the folders of its downloads to PLACES in preparation/layouts.py, and a train and a
test script. If it has published `splits`, add their classes to published/class_ids.json.

The lists of a split have the parts TRAIN, HELD_OUT and UNSEEN, whose values are words in the names of the list files.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from utils.errors import InputError

TRAIN = "train"  # photos and sketches of the seen classes, to train on
HELD_OUT = "test"  # further sketches of the seen classes, for validation; the photos of validation are training photos
UNSEEN = "zero"  # photos and sketches of the unseen classes: the gallery and the queries of the zero-shot test

DATA_ROOT = Path("dataset")  # default of --data_root
PUBLISHED = Path(__file__).parent / "published"
IMAGENET_CLASSES = 1000
WNID = re.compile(r"(?:.*/)?(n\d{8})_[^/]*$")  # path of a photo from ImageNet: its name begins with its WordNet id


@dataclass(frozen=True)
class Counts:
    """Published numbers of images in a split, None if not published. Training sketches do not include the held-out ones."""

    train_sketches: int | None = None
    train_photos: int | None = None
    held_out_sketches: int | None = None
    query_sketches: int | None = None
    gallery_photos: int | None = None


@dataclass(frozen=True)
class Dataset:
    """Folders, lists and recipe of one dataset."""

    name: str  # in titles
    key: str  # on the command lines of prepare_dataset.py and check_dataset.py
    folder: str  # below the data root; also the name in results
    run_prefix: str  # first word of a run folder's name
    default_split: str
    photo_list: str  # file name in a split's folder; {part} is TRAIN or UNSEEN
    sketch_list: str  # {part} is TRAIN, HELD_OUT or UNSEEN
    photo_folder: str  # below `folder`: a folder of photos for each class
    sketch_folder: str
    how_to_get: str  # start of a sentence in the message that the dataset is missing
    held_out: int  # number of HELD_OUT sketches of each seen class
    train_script: str | None = None  # None: any script trains on it if the script's own dataset is missing
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

# Folders of the user's own images: any script uses them if they are under --data_root and its own dataset is not.
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
SAME_SPLIT = {"zeroshot0": "zeroshot2"}  # other repositories' name of Sketchy's split into 104 and 21 classes: our name


def published_classes(dataset: Dataset, split: str) -> tuple[list[str], list[str]]:
    """Names by id of the seen and of the unseen classes of a published split. Raises InputError for any other split."""
    split = SAME_SPLIT.get(split, split)
    key, known = f"{dataset.folder}/{split}", json.loads((PUBLISHED / "class_ids.json").read_text(encoding="utf-8"))
    if key not in known:
        raise InputError(
            f"{key}: add its classes to datasets/published/class_ids.json, or do not list it in `splits` of {dataset.name}"
        )
    return known[key]["seen"], known[key]["unseen"]


def imagenet_wnids() -> list[str]:
    """WordNet ids (`n01440764`) of ImageNet-1k's classes, in the order of an ImageNet classifier's outputs."""
    return (PUBLISHED / "imagenet_wnids.txt").read_text(encoding="ascii").split()
