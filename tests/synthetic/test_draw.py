import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from synthetic import draw as drawn
from synthetic.shapes import SEEN, UNSEEN
from utils.errors import InputError

SMALL = {"photos_per_class": 2, "sketches_per_class": 2, "held_out_per_class": 1, "side": 64}
DOMAIN = "tx_000000000000_ready"
LISTS = {  # list: (folder, classes, files a class)
    "all_photo_filelist_train.txt": ("photo", SEEN, 2),
    "all_photo_filelist_zero.txt": ("photo", UNSEEN, 2),
    f"sketch_{DOMAIN}_filelist_train.txt": ("sketch", SEEN, 2),
    f"sketch_{DOMAIN}_filelist_test.txt": ("sketch", SEEN, 1),
    f"sketch_{DOMAIN}_filelist_zero.txt": ("sketch", UNSEEN, 2),
}


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entries(target, name):
    """The (path, class id) of each line of a list."""
    lines = (target / "zeroshot1" / name).read_text().splitlines()
    return [(path, int(cid)) for path, cid in (line.rsplit(" ", 1) for line in lines)]


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """A complete small dataset, which no test changes."""
    return drawn.draw_dataset(tmp_path_factory.mktemp("drawn"), workers=1, **SMALL)


@pytest.fixture
def two_classes(monkeypatch):
    """For the tests that draw again: a dataset of one seen and one unseen class, one of them with a blank."""
    monkeypatch.setattr(drawn, "SEEN", ("arrow",))
    monkeypatch.setattr(drawn, "UNSEEN", ("alarm clock",))


def test_classes_are_many_and_disjoint():
    assert len(SEEN) >= 24 and len(UNSEEN) >= 8
    assert not set(SEEN) & set(UNSEEN)
    assert len({*SEEN, *UNSEEN}) == len(SEEN) + len(UNSEEN)
    assert any(" " in name for name in SEEN) and any(" " in name for name in UNSEEN)


@pytest.mark.parametrize(("name", "folder", "classes", "count"), [(name, *what) for name, what in LISTS.items()])
def test_a_list_names_files_that_exist_under_their_class(target, name, folder, classes, count):
    found = entries(target, name)
    assert len(set(found)) == len(classes) * count
    for path, cid in found:
        assert path.startswith(f"256x256/{folder}/{DOMAIN}/{classes[cid]}/{classes[cid]}_")
        assert (target / path).is_file()


def test_every_picture_is_on_exactly_one_list(target):
    listed = [path for name in LISTS for path, _ in entries(target, name)]
    pictures = {str(path.relative_to(target)) for path in target.glob("256x256/*/*/*/*")}
    assert len(listed) == len(set(listed))
    assert set(listed) == pictures


def test_class_ids_run_from_zero_and_masks_have_no_meaning(target):
    for file, classes in (("cname_cid.txt", SEEN), ("cname_cid_zero.txt", UNSEEN)):
        lines = (target / "zeroshot1" / file).read_text().splitlines()
        assert lines == [f"{name} {cid}" for cid, name in enumerate(classes)]
    masks = pickle.loads((target / "zeroshot1" / "cid_mask.pickle").read_bytes())
    assert list(masks) == list(range(len(SEEN)))
    assert all(mask.shape == (1000,) and mask.dtype == np.float64 and not mask.any() for mask in masks.values())


@pytest.mark.parametrize("name", SEEN + UNSEEN)
def test_each_class_draws_a_photo_and_a_sketch(target, name):
    first, second = (np.asarray(Image.open(target / f"256x256/photo/{DOMAIN}/{name}/{name}_{n}.jpg"), float) for n in (0, 1))
    assert first.shape == (64, 64, 3)
    assert first.std() > 5  # something is to be seen
    assert np.abs(first - second).mean() > 10
    for path in (target / f"256x256/sketch/{DOMAIN}/{name}").iterdir():
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 64))
            grey = np.asarray(image.convert("L"))
        assert grey.mean() > 200, "white paper"
        assert (grey < 128).mean() > 0.01, "dark lines"


def test_things_stay_inside_their_pictures():
    for name in SEEN + UNSEEN:
        for number in range(12):
            paper = np.asarray(drawn.draw_sketch(name, number, side=64))
            border = np.concatenate([paper[0], paper[-1], paper[:, 0], paper[:, -1]])
            assert (border < 128).mean() < 0.05, (name, number)


def test_hands_differ():
    assert len({drawn._hand(0, number) for number in range(drawn.HANDS)}) == drawn.HANDS


def test_bytes_depend_on_the_seed_alone(two_classes, tmp_path):
    here = files_of(drawn.draw_dataset(tmp_path / "here", seed=3, workers=1, **SMALL))
    spread = files_of(drawn.draw_dataset(tmp_path / "spread", seed=3, workers=2, **SMALL))
    assert here == spread
    other = files_of(drawn.draw_dataset(tmp_path / "other", seed=4, workers=1, **SMALL))
    assert not any(here[path] == other[path] for path in here if path.endswith(("jpg", "png")))


def test_without_worker_processes_this_one_draws(two_classes, tmp_path, monkeypatch, capsys):
    def no_semaphores(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", no_semaphores)
    here = files_of(drawn.draw_dataset(tmp_path / "here", seed=3, workers=2, **SMALL))
    assert "note: worker processes cannot be started" in capsys.readouterr().out
    assert here == files_of(drawn.draw_dataset(tmp_path / "alone", seed=3, workers=1, **SMALL))


def test_a_sample_is_the_same_however_many_are_drawn(two_classes, tmp_path):
    few = files_of(drawn.draw_dataset(tmp_path / "few", workers=1, **SMALL))
    more = {**SMALL, "photos_per_class": 4, "sketches_per_class": 5}
    many = files_of(drawn.draw_dataset(tmp_path / "many", workers=1, **more))
    pictures = [path for path in few if path.endswith(("jpg", "png"))]
    assert pictures and all(few[path] == many[path] for path in pictures)


def test_bytes_do_not_depend_on_the_hash_seed():
    code = "import zlib; from synthetic.draw import *; "
    code += "print([zlib.crc32(f('bow tie', 1, side=48).tobytes()) for f in (draw_photo, draw_sketch)])"
    outputs = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": h}, capture_output=True, check=True).stdout
        for h in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_complete_dataset_is_kept(two_classes, tmp_path):
    target = drawn.draw_dataset(tmp_path, workers=1, **SMALL)
    times = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    assert drawn.draw_dataset(tmp_path, workers=1, **SMALL) == target
    assert times == {path: path.stat().st_mtime_ns for path in target.rglob("*")}


def test_other_settings_are_refused(two_classes, tmp_path):
    drawn.draw_dataset(tmp_path, workers=1, **SMALL)
    with pytest.raises(InputError, match="other settings"):
        drawn.draw_dataset(tmp_path, seed=1, workers=1, **SMALL)


def test_a_damaged_dataset_is_not_taken_as_complete(two_classes, tmp_path):
    target = drawn.draw_dataset(tmp_path, workers=1, **SMALL)
    next(target.glob("256x256/sketch/*/arrow/*.png")).unlink()
    with pytest.raises(InputError, match="lacks sketch files of arrow"):
        drawn.draw_dataset(tmp_path, workers=1, **SMALL)


@pytest.mark.parametrize("content", [None, "[1, 2]", "not json"])
def test_a_folder_of_somebody_else_is_left_alone(two_classes, tmp_path, content):
    theirs = tmp_path / "Sketchy" / "mine.txt"
    theirs.parent.mkdir()
    theirs.write_text("precious")
    if content:
        (tmp_path / "Sketchy" / "drawn.json").write_text(content)
    before = files_of(tmp_path)
    with pytest.raises(InputError, match="was not drawn by"):
        drawn.draw_dataset(tmp_path, workers=1, **SMALL)
    assert files_of(tmp_path) == before


def test_an_interrupted_drawing_leaves_nothing_that_looks_complete(two_classes, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(drawn, "_write_lists", interrupted)
        with pytest.raises(KeyboardInterrupt):
            drawn.draw_dataset(tmp_path, workers=1, **SMALL)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".drawing-killed" / "Sketchy").mkdir(parents=True)  # what a killed process would leave
    assert json.loads((drawn.draw_dataset(tmp_path, workers=1, **SMALL) / "drawn.json").read_text())["side"] == 64


@pytest.mark.parametrize(("what", "value"), [("photos_per_class", 0), ("side", 8), ("seed", -1), ("workers", 0)])
def test_impossible_counts_are_refused(tmp_path, what, value):
    with pytest.raises(InputError, match=what):
        drawn.draw_dataset(tmp_path, **{**SMALL, "workers": 1, what: value})
    assert list(tmp_path.iterdir()) == []


def test_the_command_draws_keeps_and_complains_in_one_line(two_classes, tmp_path, monkeypatch, capsys):
    options = [f"--{name}={value}" for name, value in {**SMALL, "workers": 1}.items()]
    command = ["drawn", "--root", str(tmp_path), *options, "--contact_sheet", str(tmp_path / "sheet.png")]
    for verb in ("drew", "kept"):
        monkeypatch.setattr(sys, "argv", command)
        drawn.main()
        line = capsys.readouterr().out.strip()
        assert line == f"{verb} {tmp_path / 'Sketchy'}: 4 photos and 5 sketches of 1 seen and 1 unseen classes"
    monkeypatch.setattr(sys, "argv", [*command, "--seed", "9"])
    with pytest.raises(SystemExit):
        drawn.main()
    assert capsys.readouterr().err.count("\n") == 1


def test_contact_sheet_shows_every_class(two_classes, tmp_path):
    drawn.draw_dataset(tmp_path, workers=1, **SMALL)
    drawn.contact_sheet(tmp_path, tmp_path / "sheet.png", each=2, cell=50, columns=1)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    assert sheet.shape == (2 * 72, 225)
    for top in (0, 72):
        assert (sheet[top + 22 : top + 70, :98] < 250).mean() > 0.5, "photos"
        assert (sheet[top + 22 : top + 70, 100:200] < 200).any(), "sketches"


def test_contact_sheet_without_a_dataset_says_so(tmp_path):
    with pytest.raises(InputError, match="draw it first"):
        drawn.contact_sheet(tmp_path, tmp_path / "sheet.png")
