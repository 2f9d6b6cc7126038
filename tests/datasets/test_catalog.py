import re

import pytest

from datasets.catalog import DATASETS, SKETCHY, imagenet_wnids, published_classes
from tests.helpers.scripts import ROOT
from utils.errors import InputError

SIZES = {"zeroshot1": (100, 25), "zeroshot2": (104, 21), "TUBerlin": (220, 30), "QuickDraw": (80, 30)}


@pytest.mark.parametrize("dataset, split", [(dataset, split) for dataset in DATASETS.values() for split in dataset.splits])
def test_published_splits_have_the_papers_numbers_of_classes(dataset, split):
    seen, unseen = published_classes(dataset, split)
    expected = SIZES.get(split, SIZES.get(dataset.folder))
    assert expected, f"SIZES in this test lacks {dataset.name}: add the published numbers of classes"
    assert (len(seen), len(unseen)) == expected
    assert len({*seen, *unseen}) == len(seen) + len(unseen)


@pytest.mark.parametrize(
    "dataset", [dataset for dataset in DATASETS.values() if dataset.train_script], ids=lambda dataset: dataset.key
)
def test_every_dataset_has_its_scripts(dataset):
    test_script = dataset.train_script.replace("train_", "test_").replace("_ext.py", "_zeroshot.py")
    for script in (dataset.train_script, test_script):
        assert (ROOT / script).is_file(), f"{dataset.name}: write {script}"


def test_both_splits_of_sketchy_are_of_the_same_classes():
    first, second = (published_classes(SKETCHY, split) for split in ("zeroshot1", "zeroshot2"))
    assert {*first[0], *first[1]} == {*second[0], *second[1]}
    assert published_classes(SKETCHY, "zeroshot0") == second
    with pytest.raises(InputError, match=r"Sketchy/zeroshot3: add its classes to datasets/published/class_ids\.json"):
        published_classes(SKETCHY, "zeroshot3")


def test_imagenets_classes_are_in_order():
    wnids = imagenet_wnids()
    assert len(set(wnids)) == 1000 and all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)
    assert wnids == sorted(wnids)  # ImageNet-1k numbers its classes that way
    assert (wnids[0], wnids[207], wnids[999]) == ("n01440764", "n02099601", "n15075141")  # tench, golden retriever, toilet tissue
