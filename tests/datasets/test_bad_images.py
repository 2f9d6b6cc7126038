from dataclasses import replace

import numpy as np
import pytest

from datasets.bad_images import readable
from datasets.catalog import SKETCHY
from datasets.file_lists import Split
from utils.errors import InputError


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_decoded_is_left_out_and_said(tiny_dataset, workers):
    photos = Split(SKETCHY, tiny_dataset, "zeroshot1").photos("train")
    folder = tiny_dataset / "Sketchy/photo"
    whole = (folder / "mug/3.jpg").read_bytes()
    (folder / "mug/3.jpg").write_bytes(whole[: len(whole) - len(whole) // 5])
    (folder / "fish/0.jpg").write_bytes(b"")
    (folder / "fish/11.jpg").unlink()
    bad = ["photo/mug/3.jpg", "photo/fish/0.jpg", "photo/fish/11.jpg"]
    good, messages = readable(photos, workers)
    rows = [row for row, path in enumerate(photos.paths) if path not in bad]
    assert good.paths == [photos.paths[row] for row in rows]
    assert good.labels.tolist() == photos.labels[rows].tolist()
    assert (good.source, good.root) == (photos.source, photos.root)
    assert [any(message.startswith(f"{photos.root}/{path}: ") for message in messages) for path in bad] == [True] * 3
    assert len(messages) == 3 and not any("\n" in message for message in messages)


def test_a_whole_list_stays_as_it_is(shared_dataset):
    photos = Split(SKETCHY, shared_dataset, "zeroshot1").photos("train")
    good, messages = readable(photos, 0)
    assert good.paths == photos.paths and (good.labels == photos.labels).all()
    assert messages == []


def test_a_large_photo_cut_short_is_noticed(tmp_path):
    from PIL import Image

    from datasets.file_lists import FileList

    noise = np.random.default_rng(0).integers(0, 256, (1100, 1200, 3), dtype=np.uint8)
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / "b.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: int(0.95 * len(whole))])
    good, messages = readable(FileList(tmp_path / "list.txt", tmp_path, ["a.jpg", "b.jpg"], np.zeros(2, dtype=np.int64)), 0)
    assert good.paths == ["a.jpg"]
    assert "b.jpg" in messages[0]


def test_a_list_without_any_readable_image_is_refused(tiny_dataset):
    photos = Split(SKETCHY, tiny_dataset, "zeroshot1").photos("zero")
    for path in photos.paths:
        (photos.root / path).write_bytes(b"none")
    with pytest.raises(InputError, match=r"filelist_zero\.txt: no image of the list can be read \(the first: \S+/star/0\.jpg"):
        readable(photos, 0)


def test_names_in_what_is_said_stay_as_they_are(tiny_dataset):
    photos = Split(SKETCHY, tiny_dataset, "zeroshot1").photos("zero")
    (photos.root / "photo/two  blanks.jpg").write_bytes(b"none")
    _, messages = readable(replace(photos, paths=["photo/two  blanks.jpg", *photos.paths[1:]]), 0)
    assert len(messages) == 1 and messages[0].startswith(f"{photos.root}/photo/two  blanks.jpg: not a readable image (")
