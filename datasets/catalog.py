"""What the datasets are: their folder, their lists, their splits (SAKE's layout), and where to get them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """Names of one dataset's folder and lists; list names are completed with `train`, `test` or `zero`."""

    name: str  # for people
    folder: str  # under the data root; also the name in results
    run_prefix: str  # first word of a run folder
    default_split: str
    photo_list: str
    sketch_list: str
    source: str  # where to get it, for the message that says it is missing


SKETCHY = Dataset(
    name="Sketchy Ext",
    folder="Sketchy",
    run_prefix="sketchy",
    default_split="zeroshot1",
    photo_list="all_photo_filelist_{part}.txt",
    sketch_list="sketch_tx_000000000000_ready_filelist_{part}.txt",
    source="the SAKE authors' Sketchy archive (https://github.com/qliu24/SAKE)",
)

TUBERLIN = Dataset(
    name="TU-Berlin Ext",
    folder="TUBerlin",
    run_prefix="tuberlin",
    default_split="zeroshot",
    photo_list="ImageResized_ready_filelist_{part}.txt",
    sketch_list="png_ready_filelist_{part}.txt",
    source="the SAKE authors' TU-Berlin archive (https://github.com/qliu24/SAKE)",
)
