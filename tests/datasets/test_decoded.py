"""Decoded images kept on disk or in memory: the same batches, whoever builds, whatever fails."""

import errno
import fcntl
import os
import pickle
import resource
import shutil
import threading

import pytest
import torch

import datasets.decoded
import datasets.image_files
from datasets.batches import MixedBatches
from datasets.catalog import SKETCHY
from datasets.decoded import Cache
from datasets.file_lists import Split
from datasets.image_files import ImageFiles
from utils.errors import InputError


def lists(root):
    split = Split(SKETCHY, root, "zeroshot1")
    return split.sketches("train"), split.photos("train")


@pytest.fixture
def images(shared_dataset):
    return ImageFiles(list(lists(shared_dataset)), 24)


@pytest.fixture
def decodings(monkeypatch):
    """The paths decoded so far, in this process."""
    seen, decode = [], datasets.image_files.decode

    def counting(path, side):
        seen.append(path)
        return decode(path, side)

    monkeypatch.setattr(datasets.image_files, "decode", counting)
    return seen


@pytest.fixture
def small_files():
    """A limit of 10 kB on what this process may write into one file: the operating system's own refusal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def kept(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def of_epoch(root, workers, cache):
    batches = MixedBatches(
        *lists(root), sketches_per_batch=2, photos_per_batch=4, side=24, seed=3, num_workers=workers, cache=cache
    )
    return [(batch.images.clone(), batch.labels.clone()) for batch in batches.of_epoch(1)]


@pytest.mark.parametrize("place", ["disk", "ram"])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_to_the_byte(shared_dataset, tmp_path, place, workers):
    expected = of_epoch(shared_dataset, 1, None)
    found = of_epoch(shared_dataset, workers, Cache(place, tmp_path / "decoded", workers))
    assert len(found) == len(expected) == 9
    for (images, labels), (wanted_images, wanted_labels) in zip(found, expected, strict=True):
        assert torch.equal(images, wanted_images)
        assert torch.equal(labels, wanted_labels)


def test_images_on_disk_are_decoded_once_for_all_runs(images, tmp_path, decodings):
    Cache("disk", tmp_path, 0).of(images)
    assert decodings == images.paths
    Cache("disk", tmp_path, 0).of(images)
    assert len(decodings) == len(images)


def test_a_changed_image_or_side_or_list_is_decoded_anew(tiny_dataset, tmp_path):
    sketches, photos = lists(tiny_dataset)
    files = {Cache("disk", tmp_path, 0).of(ImageFiles([sketches, photos], 24)).path}
    files.add(Cache("disk", tmp_path, 0).of(ImageFiles([sketches, photos], 25)).path)
    files.add(Cache("disk", tmp_path, 0).of(ImageFiles([photos, sketches], 24)).path)
    os.utime(photos.root / photos.paths[5], (1, 1))
    files.add(Cache("disk", tmp_path, 0).of(ImageFiles([sketches, photos], 24)).path)
    assert len(files) == 4


def test_a_file_of_another_length_is_not_taken(images, tmp_path, decodings):
    path = Cache("disk", tmp_path, 0).of(images).path
    os.truncate(path, 100)
    assert (Cache("disk", tmp_path, 0).of(images).pixels == Cache("ram", tmp_path, 0).of(images).pixels).all()


def test_two_runs_at_once_decode_once(images, tmp_path, decodings):
    found = []
    runs = [threading.Thread(target=lambda: found.append(Cache("disk", tmp_path, 0).of(images))) for _ in range(2)]
    [run.start() for run in runs]
    [run.join() for run in runs]
    assert len(found) == 2
    assert len(decodings) == len(images)
    assert (found[0].pixels == found[1].pixels).all()


def test_what_a_killed_run_left_is_removed_and_a_living_one_s_is_not(images, tmp_path):
    (tmp_path / ".killed-24px-0.abc123.uint8").write_bytes(b"half")
    os.utime(tmp_path / ".killed-24px-0.abc123.uint8", (1, 1))
    (tmp_path / ".living-24px-0.abc123.uint8").write_bytes(b"half")
    path = Cache("disk", tmp_path, 0).of(images).path
    assert kept(tmp_path) == [".living-24px-0.abc123.uint8", path.name]


def test_without_locks_runs_do_not_wait_for_each_other(images, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    assert len(Cache("disk", tmp_path, 0).of(images)) == len(images)


def test_a_full_disk_is_said_before_anything_is_decoded(images, tmp_path, decodings, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(InputError, match=r"decoded/\S+: takes 0\.1 MB, and 0\.0 MB are free there .*--cache_dir"):
        Cache("disk", tmp_path / "decoded", 0).of(images)
    assert kept(tmp_path / "decoded") == []
    assert decodings == []


def test_a_disk_that_refuses_the_space_is_said(images, tmp_path, small_files):
    with pytest.raises(InputError, match=r"File too large.*--cache off"):
        Cache("disk", tmp_path, 0).of(images)
    assert kept(tmp_path) == []


def test_a_disk_that_fills_while_decoding_leaves_nothing(images, tmp_path, small_files, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    with pytest.raises(InputError, match=r"cannot be written \(File too large\)"):
        Cache("disk", tmp_path, 0).of(images)
    assert kept(tmp_path) == []


def test_too_little_memory_is_said(images, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.decoded, "available_memory", lambda: 50_000)
    with pytest.raises(InputError, match=r"--cache ram: 54 images of 24 px take 0\.1 MB, and 0\.1 MB of memory are free"):
        Cache("ram", tmp_path, 0).of(images)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named_and_nothing_is_left(tiny_dataset, tmp_path, workers):
    (tiny_dataset / "Sketchy/photo/mug/5.jpg").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"photo/mug/5\.jpg: not a readable image"):
        Cache("disk", tmp_path / "decoded", workers).of(ImageFiles(list(lists(tiny_dataset)), 24))
    assert kept(tmp_path / "decoded") == []


def test_a_folder_that_cannot_be_written_is_named(images, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match=r"--cache_dir \S+taken: nothing can be written there \(File exists\)"):
        Cache("disk", tmp_path / "taken", 0).of(images)


def test_memory_that_refuses_is_said_and_given_back(images, tmp_path, small_files):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(InputError, match=r"--cache ram: 0\.1 MB do not fit the memory \(File too large\)"):
        Cache("ram", tmp_path, 0).of(images)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("place", ["disk", "ram"])
def test_a_pickled_set_of_images_finds_its_pixels_again(images, tmp_path, place):
    decoded = Cache(place, tmp_path, 0).of(images)
    content = pickle.dumps(decoded)
    assert len(content) < 10_000
    assert torch.equal(pickle.loads(content).__getitems__([3, 1]).images, decoded.__getitems__([3, 1]).images)


def test_others_in_the_folder_are_mentioned(images, tmp_path, capsys):
    (tmp_path / ".being-written.abc123.uint8").write_bytes(b"half")
    Cache("disk", tmp_path, 0).of(images)
    assert "other such" not in capsys.readouterr().out
    Cache("disk", tmp_path, 0).of(ImageFiles(images.lists, 25))
    assert "1 other such file there, 0.1 MB" in capsys.readouterr().out
