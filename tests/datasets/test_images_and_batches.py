import numpy as np
import pytest
import torch
from PIL import Image, JpegImagePlugin

from datasets.batches import MixedBatches, plain_batches, validation_pairs
from datasets.catalog import SKETCHY
from datasets.file_lists import FileList, Split
from datasets.images import decode
from datasets.views import ThreeViews
from utils.distributed import Distributed
from utils.errors import InputError


def test_an_image_of_the_right_size_is_taken_as_it_is(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png", 40) == pixels).all()


def test_another_size_is_resized_as_torchvision_does(tmp_path):
    from torchvision.transforms.v2 import functional

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    image.save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png", 40) == np.array(functional.resize(image, [40, 40]))).all()


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (8, 8), "white").convert(mode).save(path)
    assert (decode(path, 8) == np.full((8, 8, 3), 255)).all()


def test_transparent_paper_is_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", 8).min() == 255


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_large_photo_is_decoded_at_a_fraction_of_its_size(tmp_path, monkeypatch, mode):
    """By the decoder's own reduction, with enough left for the filter: what comes out is the same to the eye."""
    loaded = []
    original = JpegImagePlugin.JpegImageFile.load
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", lambda image: loaded.append(image.size) or original(image))
    detailed = np.random.default_rng(0).integers(0, 256, (301, 400, 3), dtype=np.uint8)
    photo = Image.fromarray(detailed).resize((1601, 1203), Image.Resampling.BICUBIC).convert(mode)
    photo.save(tmp_path / "a.jpg", quality=95)
    expected = np.array(photo.convert("RGB").resize((128, 128), Image.Resampling.BILINEAR)).astype(int)
    difference = np.abs(decode(tmp_path / "a.jpg", 128).astype(int) - expected)
    assert set(loaded) == {(401, 301)}
    assert difference.mean() < 2
    assert difference.max() <= 15


def test_a_photo_of_the_published_size_is_decoded_as_it_is(tmp_path):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (500, 256, 3), dtype=np.uint8))
    photo.save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as whole:
        expected = np.array(whole.resize((32, 32), Image.Resampling.BILINEAR))
    assert (decode(tmp_path / "a.jpg", 32) == expected).all()


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "absent"])
def test_unreadable_images_are_named(tmp_path, damage):
    path = tmp_path / "bad.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    content = {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"no image at all"}
    path.write_bytes(content[damage]) if damage != "absent" else path.unlink()
    with pytest.raises(InputError, match=r"bad\.jpg: not a readable image"):
        decode(path, 40)


@pytest.fixture
def lists(shared_dataset):
    split = Split(SKETCHY, shared_dataset, "zeroshot1")
    return split.sketches("train"), split.photos("train")


def mixed(lists, **changes):
    settings = {"sketches_per_batch": 2, "photos_per_batch": 4, "side": 40, "seed": 3}
    return MixedBatches(*lists, **(settings | changes))


def test_an_epoch_shows_each_image_once_sketches_first(lists):
    sketches, photos = lists
    batches = mixed(lists)
    assert len(batches) == 9
    seen_sketches, seen_photos = [], []
    for indices, batch in zip(batches.order, batches.of_epoch(0), strict=True):
        assert batch.images.shape == (6, 3, 40, 40)
        assert batch.images.dtype == torch.uint8
        own_sketches, own_photos = indices[:2], [i - len(sketches) for i in indices[2:]]
        assert batch.labels.tolist() == [*sketches.labels[own_sketches], *photos.labels[own_photos]]
        first = decode(f"{photos.root}/{photos.paths[own_photos[0]]}", 40)
        assert (batch.images[2].permute(1, 2, 0).numpy() == first).all()
        seen_sketches += own_sketches
        seen_photos += own_photos
    assert sorted(seen_sketches) == list(range(18))
    assert sorted(seen_photos) == list(range(36))


def test_the_shorter_list_ends_the_epoch_and_incomplete_batches_are_dropped(lists):
    assert len(mixed(lists, sketches_per_batch=4, photos_per_batch=4)) == 18 // 4
    assert len(mixed(lists, sketches_per_batch=1, photos_per_batch=7)) == 36 // 7
    assert len(mixed(lists, steps_per_epoch=2)) == len(list(mixed(lists, steps_per_epoch=2).of_epoch(0))) == 2


@pytest.mark.parametrize("size", [2, 3])
def test_the_shards_of_all_ranks_are_the_whole_batch(lists, size):
    together = {"sketches_per_batch": 3, "photos_per_batch": 5}
    shares = [mixed(lists, distributed=Distributed(rank, size), **together).of_epoch(1) for rank in range(size)]
    for step, (whole, *parts) in enumerate(zip(mixed(lists, **together).of_epoch(1), *shares, strict=True)):
        views = ThreeViews(32, seed=5)
        expected = views(whole.images, 1, step)
        for rank, part in enumerate(parts):
            own = Distributed(rank, size).own_positions(3, 5)
            assert torch.equal(part.labels, whole.labels)
            assert torch.equal(part.images, whole.images[own])
            for view, of_whole in zip(views(part.images, 1, step, count=8, rows=own), expected, strict=True):
                torch.testing.assert_close(view, of_whole[own], rtol=0, atol=1e-6)
    assert step == 5


def test_an_epoch_can_begin_at_any_step(lists):
    whole = list(mixed(lists).of_epoch(2))
    left = list(mixed(lists).of_epoch(2, first=7))
    assert len(left) == 2
    assert all(torch.equal(one.images, other.images) for one, other in zip(whole[7:], left, strict=True))
    assert list(mixed(lists).of_epoch(2, first=9)) == []


def test_the_files_of_a_batch_are_named(lists):
    batches = mixed(lists)
    batch = list(batches.of_epoch(1))[4]
    files = batches.files_of(1, step=5)
    assert all(
        (decode(path, 40) == image.permute(1, 2, 0).numpy()).all() for path, image in zip(files, batch.images, strict=True)
    )


def test_order_follows_seed_and_epoch_and_nothing_else(lists):
    def order(seed, epoch, workers=0):
        return [batch.labels.tolist() for batch in mixed(lists, seed=seed, num_workers=workers).of_epoch(epoch)]

    assert order(3, 1) == order(3, 1, workers=2)
    assert order(3, 1) != order(3, 2)
    assert order(3, 1) != order(4, 1)


def test_a_list_that_does_not_fill_a_batch_is_named(lists):
    with pytest.raises(InputError, match=r"filelist_train\.txt: 18 images do not fill a batch of 19"):
        mixed(lists, sketches_per_batch=19)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named_from_a_worker_too(tiny_dataset, workers):
    split = Split(SKETCHY, tiny_dataset, "zeroshot1")
    (tiny_dataset / "Sketchy/photo/mug/5.jpg").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"^\S*photo/mug/5\.jpg: not a readable image") as error:
        list(plain_batches(split.photos("train"), side=40, batch_size=5, num_workers=workers))
    assert "\n" not in str(error.value) and str(error.value).endswith("(--skip_bad_images leaves out all that cannot be read)")


def test_plain_batches_keep_the_order(lists):
    batches = list(plain_batches(lists[1], side=40, batch_size=8))
    assert [len(batch.images) for batch in batches] == [8, 8, 8, 8, 4]
    assert torch.cat([batch.labels for batch in batches]).tolist() == lists[1].labels.tolist()


def test_validation_pairs_are_of_one_class_and_always_the_same(shared_dataset):
    split = Split(SKETCHY, shared_dataset, "zeroshot1")
    held_out, photos = split.sketches("test"), split.photos("train")
    sketches, chosen, row = validation_pairs(held_out, photos, 20, seed=5)
    assert len(chosen) == len(row) == 20
    assert len(set(chosen.paths)) == 20
    assert (sketches.labels[row] == chosen.labels).all()
    assert set(sketches.paths) <= set(held_out.paths)
    again = validation_pairs(held_out, photos, 20, seed=5)
    assert again[1].paths == chosen.paths
    assert again[2].tolist() == row.tolist()
    assert len(validation_pairs(held_out, photos, 1000, seed=5)[1]) == 36


def test_photos_without_a_held_out_sketch_are_passed_over(lists):
    sketches, photos = lists
    only_fish = FileList(sketches.source, sketches.root, sketches.paths[12:], sketches.labels[12:])
    _, chosen, _ = validation_pairs(only_fish, photos, 100, seed=0)
    assert set(chosen.labels) == {2}
