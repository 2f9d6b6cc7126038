import json
import pickle
import subprocess
import sys
from dataclasses import astuple, replace

import numpy as np
import pytest
from PIL import Image

from synthetic import draw
from synthetic.draw import Settings, draw_dataset
from synthetic.pictures import HANDS, draw_sketch, hand
from synthetic.shapes import SEEN, UNSEEN
from utils.errors import InputError

SMALL = Settings(side=64, photos_per_class=2, sketches_per_class=2, held_out_per_class=1)
DOMAIN = "tx_000000000000_ready"
LISTS = {  # list: (folder, classes, files per class)
    "all_photo_filelist_train.txt": ("photo", SEEN, 2),
    "all_photo_filelist_zero.txt": ("photo", UNSEEN, 2),
    f"sketch_{DOMAIN}_filelist_train.txt": ("sketch", SEEN, 2),
    f"sketch_{DOMAIN}_filelist_test.txt": ("sketch", SEEN, 1),
    f"sketch_{DOMAIN}_filelist_zero.txt": ("sketch", UNSEEN, 2),
}


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pictures_of(folder):
    return {path: content for path, content in files_of(folder).items() if path.endswith(("jpg", "png"))}


def entries(target, name):
    """The (path, class id) of each line of a list."""
    lines = (target / "zeroshot1" / name).read_text().splitlines()
    return [(path, int(cid)) for path, cid in (line.rsplit(" ", 1) for line in lines)]


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """A complete small dataset, which no test changes."""
    return draw_dataset(tmp_path_factory.mktemp("drawn"), SMALL, workers=1)


@pytest.fixture
def two_classes(monkeypatch):
    """For tests that draw more than one dataset: one seen and one unseen class, one of them with a blank."""
    monkeypatch.setattr(draw, "SEEN", ("arrow",))
    monkeypatch.setattr(draw, "UNSEEN", ("alarm clock",))


def test_classes_are_many_and_disjoint():
    assert len(SEEN) >= 24 and len(UNSEEN) >= 8
    assert len({*SEEN, *UNSEEN}) == len(SEEN) + len(UNSEEN)
    assert any(" " in name for name in SEEN) and any(" " in name for name in UNSEEN)


def test_lists_name_files_that_exist_under_their_class(target):
    for name, (folder, classes, count) in LISTS.items():
        found = entries(target, name)
        assert len(set(found)) == len(classes) * count
        for path, cid in found:
            assert path.startswith(f"256x256/{folder}/{DOMAIN}/{classes[cid]}/{classes[cid]}_")
            assert (target / path).is_file()


def test_every_picture_is_on_exactly_one_list(target):
    listed = [path for name in LISTS for path, _ in entries(target, name)]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(pictures_of(target))


def test_class_ids_run_from_zero_and_masks_are_zero(target):
    for file, classes in (("cname_cid.txt", SEEN), ("cname_cid_zero.txt", UNSEEN)):
        lines = (target / "zeroshot1" / file).read_text().splitlines()
        assert lines == [f"{name} {cid}" for cid, name in enumerate(classes)]
    masks = pickle.loads((target / "zeroshot1" / "cid_mask.pickle").read_bytes())
    assert list(masks) == list(range(len(SEEN)))
    assert all(mask.shape == (1000,) and mask.dtype == np.float64 and not mask.any() for mask in masks.values())


def test_each_class_draws_photos_and_sketches(target):
    for name in SEEN + UNSEEN:
        photos = target / f"256x256/photo/{DOMAIN}/{name}"
        first, second = (np.asarray(Image.open(photos / f"{name}_{number}.jpg"), float) for number in (0, 1))
        assert first.shape == (64, 64, 3)
        assert first.std() > 5 and np.abs(first - second).mean() > 10, name
        for path in (target / f"256x256/sketch/{DOMAIN}/{name}").iterdir():
            with Image.open(path) as image:
                assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 64))
                grey = np.asarray(image.convert("L"))
            assert grey.mean() > 200 and (grey < 128).mean() > 0.01, f"dark lines on white paper: {path}"


def test_sketches_stay_inside_their_pictures():
    for name in SEEN + UNSEEN:
        for number in range(4):
            paper = np.asarray(draw_sketch(name, number, side=64))
            border = np.concatenate([paper[0], paper[-1], paper[:, 0], paper[:, -1]])
            assert (border < 128).mean() < 0.05, (name, number)


def test_hands_differ():
    assert len({hand(0, number) for number in range(HANDS)}) == HANDS


def test_bytes_depend_only_on_the_seed(two_classes, tmp_path):
    here = files_of(draw_dataset(tmp_path / "here", replace(SMALL, seed=3), workers=1))
    other = pictures_of(draw_dataset(tmp_path / "other", replace(SMALL, seed=4), workers=1))
    assert other and not any(here[path] == content for path, content in other.items())


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_number_of_processes(two_classes, tmp_path):
    here, spread = (files_of(draw_dataset(tmp_path / str(workers), SMALL, workers)) for workers in (1, 2))
    assert here == spread


def test_without_worker_processes_the_main_process_draws(two_classes, tmp_path, monkeypatch, capsys):
    def no_semaphores(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", no_semaphores)
    here = files_of(draw_dataset(tmp_path / "here", SMALL, workers=2))
    assert "note: worker processes cannot be started" in capsys.readouterr().out
    assert here == files_of(draw_dataset(tmp_path / "alone", SMALL, workers=1))


def test_a_picture_is_the_same_however_many_are_drawn(two_classes, tmp_path):
    few = pictures_of(draw_dataset(tmp_path / "few", SMALL, workers=1))
    more = replace(SMALL, photos_per_class=4, sketches_per_class=5)
    many = pictures_of(draw_dataset(tmp_path / "many", more, workers=1))
    assert few and few.items() <= many.items()


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_hash_seed():
    code = "import zlib; from synthetic.pictures import *; "
    code += "print([zlib.crc32(f('bow tie', 1, side=48).tobytes()) for f in (draw_photo, draw_sketch)])"
    outputs = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": h}, capture_output=True, check=True).stdout
        for h in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_dataset_of_the_same_settings_is_kept_and_others_are_refused(two_classes, tmp_path):
    target = draw_dataset(tmp_path, SMALL, workers=1)
    times = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    assert draw_dataset(tmp_path, SMALL, workers=1) == target
    with pytest.raises(InputError, match="not drawn with these settings"):
        draw_dataset(tmp_path, replace(SMALL, seed=1), workers=1)
    assert times == {path: path.stat().st_mtime_ns for path in target.rglob("*")}


@pytest.mark.parametrize("content", [None, "[1, 2]", "not json"])
def test_another_folder_of_that_name_is_not_changed(two_classes, tmp_path, content):
    other = tmp_path / "Sketchy" / "mine.txt"
    other.parent.mkdir()
    other.write_text("precious")
    if content:
        (tmp_path / "Sketchy" / "drawn.json").write_text(content)
    before = files_of(tmp_path)
    with pytest.raises(InputError, match="was not drawn with these settings; remove it or choose another --root"):
        draw_dataset(tmp_path, SMALL, workers=1)
    assert files_of(tmp_path) == before


def test_an_interrupted_drawing_leaves_nothing_that_looks_complete(two_classes, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(draw, "draw_sketch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            draw_dataset(tmp_path, SMALL, workers=1)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".drawing-killed" / "Sketchy").mkdir(parents=True)  # left by a killed process
    assert json.loads((draw_dataset(tmp_path, SMALL, workers=1) / "drawn.json").read_text())["side"] == 64


@pytest.mark.parametrize(("what", "value"), [("photos_per_class", 0), ("side", 8), ("seed", -1), ("workers", 0)])
def test_impossible_counts_are_refused(tmp_path, capsys, what, value):
    with pytest.raises(SystemExit, match="2"):
        draw.main(["--root", str(tmp_path), f"--{what}", str(value)])
    assert f"argument --{what}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_draws_the_dataset_and_a_contact_sheet_of_all_classes(two_classes, tmp_path, capsys):
    names = ("seed", "side", "photos_per_class", "sketches_per_class", "held_out_per_class")
    options = [f"--{name}={value}" for name, value in zip(names, astuple(SMALL), strict=True)]
    for _ in ("draw", "keep"):
        draw.main(["--root", str(tmp_path), *options, "--workers=1", "--contact_sheet", str(tmp_path / "sheet.png")])
        line = capsys.readouterr().out.strip()
        assert line == f"{tmp_path / 'Sketchy'}: 4 photo and 5 sketch files of 1 seen and 1 unseen classes"
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    left = 200  # of the images, behind the names
    assert sheet.shape == (72, 3 * (left + 4 * 72))
    assert (sheet[:70, left : left + 142] < 250).mean() > 0.5, "photos"
    assert (sheet[:70, left + 144 : left + 286] < 200).any(), "sketches"
