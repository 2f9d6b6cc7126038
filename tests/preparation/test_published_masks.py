"""Published splits: their lists, and the published semantic mask, without WordNet, nltk or photos named by synset."""

import hashlib
import json
import sys

import numpy as np
import pytest

import preparation.mask
from datasets.catalog import CUSTOM, DATASETS, QUICKDRAW, SKETCHY, TUBERLIN, published_classes
from datasets.file_lists import Split
from preparation.mask import published_mask_rows
from tests.helpers.trees import listed, write_published, write_tree

# sha256 of the seen classes' float32 rows by class id, of SAKE's files (QuickDraw: as made once, all 110 classes)
DIGESTS = {
    (SKETCHY.key, "zeroshot1"): "19e8b5f7a1271f04c2e9de59e2c0df3d53efd5a79c7d45de0c5c6af9a86720e6",
    (SKETCHY.key, "zeroshot2"): "82865e7ef7445365578c846afda5b2b28ba30b2ab6f86a90defadd9bab848e89",
    (TUBERLIN.key, "zeroshot"): "a1baee66ee39a135382f90d0f14a917fce2ae89bff2fb045f9756c614a8883d7",
    (QUICKDRAW.key, "zeroshot"): "2922dbeaf43e616cdf23953ef728449cfb1f0ebfdff21885cd271bb9a330d303",
}


def digest(rows: np.ndarray) -> str:
    return hashlib.sha256(rows.astype("<f4").tobytes()).hexdigest()


def masks_of(split: Split) -> tuple[np.ndarray, np.ndarray]:
    with np.load(split.folder / "cid_mask.npz", allow_pickle=False) as arrays:
        return arrays["cid_mask"], arrays["cid_mask_zero"]


CASES = [pytest.param(*case, marks=[pytest.mark.slow] * (case[0] != QUICKDRAW.key)) for case in DIGESTS]


@pytest.mark.parametrize("key, split", CASES)
def test_published_lists_and_masks_come_out(tmp_path, prepare, monkeypatch, key, split):
    monkeypatch.setitem(sys.modules, "nltk", None)
    dataset = DATASETS[key]
    published = write_published(tmp_path / "got", dataset, split, photos=1, sketches=5)
    code, out, err = prepare(key, tmp_path / "got", "--split", split, "--output", str(tmp_path / "out"))
    assert code == 0, err
    there = Split(dataset, tmp_path / "out", split)
    assert listed(there.folder, dataset.photo_list.format(part="train")) == published["photo train"]
    for kind, pattern in (("photo", dataset.photo_list), ("sketch", dataset.sketch_list)):
        assert listed(there.folder, pattern.format(part="zero")) == published[f"{kind} zero"]
    parts = [dataset.sketch_list.format(part=part) for part in ("train", "test")]
    assert listed(there.folder, *parts) == published["sketch train"]
    assert len(there.sketches("test")) == there.seen_classes  # one of five sketches of each class
    if dataset is SKETCHY:
        assert "note: 125 photos instead of the published 85,502; was every part of the dataset named?" in out
    seen, unseen = masks_of(there)
    everything = np.concatenate([seen, unseen])
    assert digest(everything if dataset is QUICKDRAW else seen) == DIGESTS[key, split]
    np.testing.assert_array_equal(there.semantic_mask(), seen.astype(np.float32))
    assert {0, 1 / 4, 1 / 3, 1} == set(seen.flat)  # doubles, as in the published pickles
    assert f"published rows of {len(everything)} classes\n" in out
    record = json.loads((there.folder / "prepared.json").read_text())
    assert record["published_mask_rows"] == len(everything) and record["found_in_wordnet_by_name"] == {}
    names = [name for names in published_classes(dataset, split) for name in names]
    assert record["mask_is_zero"] == [name for name, row in zip(names, everything, strict=True) if not row.any()]


def test_every_class_of_every_published_split_has_one_row():
    for dataset in DATASETS.values():
        names = {name for split in dataset.splits for names in published_classes(dataset, split) for name in names}
        rows = published_mask_rows(dataset)
        assert set(rows) == names
        assert all(row.shape == (1000,) and ((row >= 0) & (row <= 1)).all() for row in rows.values())
    assert published_mask_rows(CUSTOM) == {}


def test_quickdraw_takes_the_rows_of_classes_of_the_same_name():
    sketchy, tuberlin, quickdraw = map(published_mask_rows, (SKETCHY, TUBERLIN, QUICKDRAW))
    np.testing.assert_array_equal(quickdraw["wine bottle"], sketchy["wine_bottle"])
    np.testing.assert_array_equal(quickdraw["palm tree"], tuberlin["palm tree"])
    assert quickdraw["tiger"][292] == 1  # ImageNet's tiger; the word's first noun is a fierce person
    assert quickdraw["soccer ball"][805] == 1  # by the first noun: neither of the two has the class


def test_another_split_of_published_classes_in_other_spellings(tmp_path, prepare):
    write_tree(tmp_path / "got", ["Alarm-Clock", "car", "hot air balloon", "tiger"], 1, 2, side=0)
    options = ["--split", "other", "--unseen", "tiger", "--output", str(tmp_path / "out")]
    code, out, err = prepare("sketchy", tmp_path / "got", *options)
    assert code == 0 and "published rows of 4 classes" in out, err
    seen, unseen = masks_of(Split(SKETCHY, tmp_path / "out", "other"))
    rows = published_mask_rows(SKETCHY)
    expected = [rows["alarm_clock"], rows["car_(sedan)"], rows["hot-air_balloon"]]
    np.testing.assert_array_equal(seen, expected)
    np.testing.assert_array_equal(unseen, [rows["tiger"]])


def test_classes_without_a_published_row_need_wordnet(tmp_path, prepare):
    write_tree(tmp_path / "got", ["tiger", "cup", "gizmo"], 1, 2, side=0)
    options = ["--split", "other", "--unseen", "tiger", "--output", str(tmp_path / "out")]
    code, out, err = prepare("sketchy", tmp_path / "got", *options)
    assert code == 0 and "note: no semantic mask is written" in out, err
    assert not list((tmp_path / "out/Sketchy/other").glob("cid_mask*"))


def test_published_rows_and_those_of_wordnet_side_by_side(tmp_path, prepare, monkeypatch):
    looked_up = []

    def made_up(photos, wordnet):
        looked_up.append(photos)
        return {"gizmo": np.full(1000, 0.5)}, {"gizmo": ("n00000001", "gizmo.n.01")}

    monkeypatch.setattr(preparation.mask, "open_wordnet", lambda folder: None)
    monkeypatch.setattr(preparation.mask, "mask_rows", made_up)
    write_tree(tmp_path / "got", ["tiger", "cup", "gizmo"], 1, 2, side=0)
    options = ["--split", "other", "--unseen", "tiger", "--output", str(tmp_path / "out")]
    code, out, err = prepare("sketchy", tmp_path / "got", *options)
    assert code == 0 and "published rows of 2 classes, WordNet's of 1" in out and "gizmo is gizmo.n.01" in out, err
    assert looked_up == [{"gizmo": ["photos/gizmo/gizmo_0.jpg"]}]
    seen, unseen = masks_of(Split(SKETCHY, tmp_path / "out", "other"))
    rows = published_mask_rows(SKETCHY)
    np.testing.assert_array_equal(seen, [rows["cup"], np.full(1000, 0.5)])
    np.testing.assert_array_equal(unseen, [rows["tiger"]])
