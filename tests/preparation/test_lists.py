"""Lists of a split."""

import numpy as np

from datasets.catalog import QUICKDRAW
from preparation.archives import open_source
from preparation.layouts import recognise
from preparation.lists import new_lists, write_lists
from preparation.splits import Classes, images_of_split
from tests.helpers.trees import write_tree


def test_held_out_sketches_are_drawn_by_seed_and_class(tmp_path):
    names = [f"class {number}" for number in range(30)]
    write_tree(tmp_path / "QuickDraw", names, 1, 12, "images", "sketches", side=0)
    layout = recognise(QUICKDRAW, [open_source(tmp_path)])
    classes = Classes(names[:20], names[20:])
    images = images_of_split(layout, classes, "other").by_class
    drawn = [new_lists(QUICKDRAW, classes, images, 2, seed)["sketch_test.txt"].decode() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    lines = [line.rpartition(" ") for line in drawn[0].splitlines()]
    assert np.bincount([int(label) for _, _, label in lines]).tolist() == [2] * 20
    assert len({path.rpartition("_")[2] for path, _, _ in lines}) > 6  # not the same ones of every class


def test_masks_of_other_classes_do_not_stay(tmp_path):
    folder = tmp_path / "zeroshot"
    write_lists(folder, {"cname_cid.txt": b"a 0\n", "cid_mask.npz": b"1", "cid_mask.pickle": b"2"})
    write_lists(folder, {"cname_cid.txt": b"a 0\n"})
    assert (folder / "cid_mask.npz").exists()
    write_lists(folder, {"cname_cid.txt": b"b 0\n"})
    assert sorted(path.name for path in folder.iterdir()) == ["cname_cid.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["zeroshot"]
