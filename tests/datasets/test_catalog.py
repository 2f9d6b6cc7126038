import re

import pytest

from datasets.catalog import DATASETS, SKETCHY, imagenet_wnids, published_classes

SIZES = {"zeroshot1": (100, 25), "zeroshot2": (104, 21), "TUBerlin": (220, 30), "QuickDraw": (80, 30)}


@pytest.mark.parametrize("dataset, split", [(dataset, split) for dataset in DATASETS.values() for split in dataset.splits])
def test_published_splits_have_the_papers_numbers_of_classes(dataset, split):
    seen, unseen = published_classes(dataset, split)
    assert (len(seen), len(unseen)) == SIZES.get(split, SIZES.get(dataset.folder))
    assert len({*seen, *unseen}) == len(seen) + len(unseen)


def test_both_splits_of_sketchy_are_of_the_same_classes():
    first, second = (published_classes(SKETCHY, split) for split in ("zeroshot1", "zeroshot2"))
    assert {*first[0], *first[1]} == {*second[0], *second[1]}
    assert published_classes(SKETCHY, "zeroshot0") == second
    with pytest.raises(KeyError):
        published_classes(SKETCHY, "zeroshot3")


def test_imagenets_classes_are_in_order():
    wnids = imagenet_wnids()
    assert len(set(wnids)) == 1000 and all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)
    assert wnids == sorted(wnids)  # ImageNet-1k numbers its classes that way
    assert (wnids[0], wnids[207], wnids[999]) == ("n01440764", "n02099601", "n15075141")  # tench, golden retriever, toilet tissue
