"""Print the last lines of `make demo`: results of the trained and the untrained network, and the pictures to open.

python -m synthetic.demo_summary demo        # reads demo/trained.json, demo/untrained.json and demo/dataset
"""

import json
import sys
from pathlib import Path

import numpy as np

from datasets.catalog import SKETCHY
from datasets.file_lists import Split
from utils.errors import InputError, report_errors


def chance(query_labels: np.ndarray, gallery_labels: np.ndarray) -> float:
    """Expected precision of a random ranking: the query class's share of the gallery, averaged over query classes.

    Both are class labels, (queries,) and (photos,).
    """
    return float(np.mean([(gallery_labels == label).mean() for label in np.unique(query_labels)]))


def summary(folder: Path) -> str:
    """mAP@all of the trained and the untrained network and twice chance. Raises InputError if a file is missing."""
    split = Split(SKETCHY, folder / "dataset", SKETCHY.default_split)
    by_chance = chance(split.sketches("zero").labels, split.photos("zero").labels)
    trained, untrained = (_released_map(folder / f"{name}.json") for name in ("trained", "untrained"))
    unseen = ", ".join(split.class_names("zero"))
    return (
        f"\nUnseen classes ({unseen}): mAP@all, released protocol, real-valued\n"
        f"  this network, trained on {len(split.class_names('train'))} other classes  {trained:.3f}\n"
        f"  the same network, untrained                {untrained:.3f}\n"
        f"  twice chance (chance is {by_chance:.3f})             {2 * by_chance:.3f}\n"
        f"Open {folder / 'trained.png'} to see the photos found by each sketch, {folder / 'dataset.png'} for the dataset, and\n"
        f"{folder / 'trained_report/index.html'} in a browser for the whole report. `make page`: search its photos by drawing."
    )


def _released_map(path: Path) -> float:
    try:
        return json.loads(path.read_text())["real"]["map_all_released"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: no results there; run `make demo`") from error


if __name__ == "__main__":
    with report_errors():
        print(summary(Path(sys.argv[1] if len(sys.argv) > 1 else "demo")))
