"""prepare_dataset.py as a user runs it."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.catalog import CUSTOM, QUICKDRAW, SKETCHY, TUBERLIN, published_classes
from datasets.file_lists import Split
from tests.helpers.scripts import ROOT
from tests.helpers.trees import packed_tree, picture, put, write_published, write_tree


@pytest.mark.slow
def test_originals_and_extension_from_several_archives(tmp_path, prepare):
    """As Sketchy's authors and DSH's publish them: other folder names, class spellings, augmentations and clutter."""
    classes = [name for names in published_classes(SKETCHY, "zeroshot1") for name in names]
    got = tmp_path / "got"
    write_tree(
        got, [name.replace("_", "-") for name in classes], 1, 2, "256x256/photo/tx_000000000000", "256x256/sketch/tx_000000000000"
    )
    write_tree(got, ["airplane"], 0, 3, "unused", "256x256/sketch/tx_000100000000")
    write_tree(got / "extension", classes, 1, 0, "EXTEND_image_sketchy", "unused")
    (got / "extension/EXTEND_image_sketchy/cup/._cup_0.jpg").write_bytes(b"of a Mac")
    archives = []
    for name, folder in (("rendered_256x256", got / "256x256"), ("EXTEND_image_sketchy", got / "extension")):
        archives.append(tmp_path / f"{name}.zip")
        with zipfile.ZipFile(archives[-1], "w") as archive:
            for file in sorted(folder.rglob("*.*")):
                archive.write(file, file.relative_to(folder.parent))
    code, out, err = prepare("sketchy", *archives, "--output", str(tmp_path / "out"))
    assert code == 0, err
    assert "left out: 3 images in" in out and "tx_000100000000" in out
    assert "photo/tx_000000000000_ready/alarm-clock is 'alarm_clock'" in out
    split = Split(SKETCHY, tmp_path / "out", "zeroshot1")
    paths = {files.source.name: files.paths for files in (split.photos("zero"), split.sketches("zero"))}
    assert "EXTEND_image_sketchy_ready/cup/cup_0.jpg" in paths["all_photo_filelist_zero.txt"]
    assert "256x256/photo/tx_000000000000_ready/wine-bottle/wine-bottle_0.jpg" in paths["all_photo_filelist_zero.txt"]
    assert (len(split.photos("zero")), len(split.sketches("train")), len(split.sketches("test"))) == (50, 100, 100)
    assert split.class_names("zero") == published_classes(SKETCHY, "zeroshot1")[1]


@pytest.mark.slow
def test_lists_and_mask_that_came_with_the_images_stay(tmp_path, prepare):
    published = write_published(tmp_path / "got", QUICKDRAW, "zeroshot", photos=1, sketches=6)
    root = tmp_path / "got/QuickDraw"
    assert prepare("quickdraw", root, "--held_out", 1, "--seed", 5, "--output", str(tmp_path / "made"))[0] == 0
    shutil.copytree(tmp_path / "made/QuickDraw/zeroshot", root / "zeroshot")
    (root / "zeroshot/cid_mask.npz").unlink()
    mask = {i: np.full(1000, 1 / 3) for i in range(80)}
    (root / "zeroshot/cid_mask.pickle").write_bytes(pickle.dumps(mask))
    code, out, err = prepare("quickdraw", tmp_path / "got", "--output", str(tmp_path / "out"))
    assert code == 0 and "stay as they are" in out and "note: the mask that came with the images is kept" in out, err
    folder = tmp_path / "out/QuickDraw/zeroshot"
    for name in ("sketch_test.txt", "cid_mask.pickle"):
        assert (folder / name).read_bytes() == (root / "zeroshot" / name).read_bytes()
    (root / "zeroshot/cid_mask.pickle").write_bytes(b"none")
    code, out, _ = prepare("quickdraw", tmp_path / "got", "--output", str(tmp_path / "other"))
    assert code == 0 and "stay as they are" in out and "the mask that came with the images is not used: damaged" in out
    assert (tmp_path / "other/QuickDraw/zeroshot/cid_mask.pickle").read_bytes() != b"none"
    (root / "zeroshot/cid_mask.pickle").write_bytes(pickle.dumps(mask))
    # in their own place too; but lists that do not fit the images are not believed
    assert prepare("quickdraw", tmp_path / "got", "--output", str(tmp_path / "got"))[0] == 0
    gone = sorted(path for path, _ in published["photo zero"])[0]
    (root / gone).rename((root / gone).with_name("other.jpg"))
    code, out, _ = prepare("quickdraw", tmp_path / "got", "--output", str(tmp_path / "third"))
    assert code == 0 and f"are not used: all_photo_zero.txt names {gone}, which is not among" in out


def test_own_folders_become_a_split_any_script_reads(mine, tmp_path, prepare):
    (mine / "sketches/cup").rename(mine / "sketches/Cup")
    write_tree(mine, ["sun"], 2, 0)  # no sketches: no class
    code, out, err = prepare("folders", mine, "--unseen", "duck", "Eye", "--output", str(tmp_path / "out"))
    assert code == 0, err
    assert "4 seen and 2 unseen classes" in out and "sketches/Cup is 'cup'" in out
    assert "left out, no class of the split: photos/sun" in out
    split = Split(SKETCHY, tmp_path / "out", "zeroshot1")
    assert split.dataset is CUSTOM
    assert (split.class_names("train"), split.class_names("zero")) == (["apple", "bell", "cup", "fish"], ["duck", "eye"])
    assert [len(split.sketches(part)) for part in ("train", "test", "zero")] == [20, 4, 12]
    assert [len(split.photos(part)) for part in ("train", "zero")] == [16, 8]


@pytest.mark.parametrize("unseen, count", [([], 1), (["0.5"], 3), (["4"], 4)])
def test_unseen_classes_are_drawn_where_they_are_not_named(mine, tmp_path, prepare, unseen, count):
    for seed in (0, 1):
        options = ["--unseen", *unseen] if unseen else []
        out = tmp_path / str(seed)
        assert prepare("folders", mine, *options, "--seed", seed, "--output", str(out))[0] == 0
    drawn = [Split(CUSTOM, tmp_path / str(seed), "zeroshot").class_names("zero") for seed in (0, 1)]
    assert [len(names) for names in drawn] == [count, count]
    assert drawn[0] != drawn[1]


def test_large_images_are_shrunk_with_their_proportions(mine, tmp_path, prepare):
    Image.new("RGB", (900, 600), "red").save(mine / "photos/cup/large.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6  # shown upright it is 600 wide
    Image.new("RGB", (900, 600), "red").save(mine / "photos/cup/turned.jpg", exif=turned)
    Image.new("P", (300, 300)).save(mine / "sketches/cup/palette.png")
    (mine / "photos/cup/broken.jpg").write_bytes(b"no image")
    code, out, err = prepare("folders", mine, "--output", str(tmp_path / "out"))
    assert code == 0, err
    assert "3 of them shrunk" in out
    assert "1 of 64 images cannot be read, and are taken as they are (the first: photos/cup/broken.jpg: " in out
    root = tmp_path / "out/Own"
    sizes = {name: Image.open(root / f"photos/cup/{name}.jpg").size for name in ("large", "turned")}
    assert sizes == {"large": (384, 256), "turned": (256, 384)}
    assert Image.open(root / "sketches/cup/palette.png").size == (256, 256)
    assert (root / "photos/cup/broken.jpg").read_bytes() == b"no image"
    assert os.path.samefile(root / "photos/cup/cup_0.jpg", mine / "photos/cup/cup_0.jpg")  # a hard link
    assert prepare("folders", mine, "--side", 0, "--copy", "--output", str(tmp_path / "copied"))[0] == 0
    copied = tmp_path / "copied/Own/photos/cup"
    assert Image.open(copied / "large.jpg").size == (900, 600)
    assert not os.path.samefile(copied / "cup_0.jpg", mine / "photos/cup/cup_0.jpg")


@pytest.fixture
def prepare_cut_short(prepare, monkeypatch) -> Callable[[int, Path, Path], None]:
    """prepare_cut_short(count, source, output): Ctrl-C comes as the image of that number, from 1, is linked."""
    link = os.link

    def run(count: int, source: Path, output: Path) -> None:
        written = []

        def cut(source: str, target: Path) -> None:
            written.append(target)
            if len(written) >= count:
                raise KeyboardInterrupt
            link(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "link", cut)
            with pytest.raises(AssertionError):  # it has no line of error
                prepare("folders", source, "--output", str(output))

    return run


def test_a_run_cut_short_goes_on(mine, tmp_path, prepare, prepare_cut_short):
    Image.new("RGB", (900, 600), "red").save(mine / "photos/cup/large.jpg")
    out = tmp_path / "out"
    prepare_cut_short(20, mine, out)
    copied = {path for path in (out / "Own").rglob("*.*") if path.is_file() and not path.name.startswith(".")}
    assert len(copied) == 19 and not (out / "Own/zeroshot").exists()
    damaged = next(iter(copied))
    damaged.unlink()  # a hard link
    damaged.write_bytes(b"")  # as a power cut leaves it
    code, text, err = prepare("folders", mine, "--output", str(out))
    assert code == 0, err
    assert "43 linked or copied" in text
    assert not list(out.rglob("*.placing"))
    assert "0 linked or copied" in prepare("folders", mine, "--output", str(out))[1]


def test_nothing_is_overwritten_unless_forced(mine, tmp_path, prepare):
    out = tmp_path / "out"
    assert prepare("folders", mine, "--output", str(out))[0] == 0
    lists = (out / "Own/zeroshot/cname_cid.txt").read_bytes()
    code, _, err = prepare("folders", mine, "--unseen", "cup", "bell", "--output", str(out))
    assert code == 2 and "already exists with other content; replace the lists with --force" in err
    assert (out / "Own/zeroshot/cname_cid.txt").read_bytes() == lists
    photo = out / "Own/photos/cup/cup_0.jpg"
    photo.unlink()
    photo.write_bytes(b"my own")
    other = write_tree(tmp_path / "other", ["apple", "bell", "cup", "duck", "eye", "fish"], photos=4, sketches=6)
    code, _, err = prepare("folders", other, "--output", str(out))
    assert code == 2 and f"{photo}: already exists and differs from {other}/photos/cup/cup_0.jpg" in err
    assert photo.read_bytes() == b"my own"
    code, _, err = prepare("folders", other, "--output", str(out), "--unseen", "cup", "bell", "--force")
    assert code == 0, err
    assert photo.read_bytes() == (other / "photos/cup/cup_0.jpg").read_bytes()
    assert Split(CUSTOM, out, "zeroshot").class_names("zero") == ["bell", "cup"]


BAD = {
    "no such source": (lambda tree: shutil.rmtree(tree), "no such file or folder"),
    "a class folder without images": (
        lambda tree: [file.unlink() for file in (tree / "photos/cup").iterdir()],
        "photos/cup: this class folder holds no images",
    ),
    "two spellings": (
        lambda tree: write_tree(tree, ["Duck"], 1, 1),
        "the class folders 'Duck' and 'duck' both mean the class",
    ),
    "no sketches": (lambda tree: shutil.rmtree(tree / "sketches"), "no sketches of own folders found"),
    "an archive in a folder": (
        lambda tree: (shutil.rmtree(tree / "photos"), (tree / "photos.zip").write_bytes(b"")),
        "found archives (photos.zip), which must be named themselves",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_sources_are_one_clear_line(mine, tmp_path, prepare, what):
    damage, message = BAD[what]
    damage(mine)
    code, _, err = prepare("folders", mine, "--output", str(tmp_path / "out"))
    assert code == 2 and message in err
    assert not list((tmp_path / "out").glob("[!.]*"))


@pytest.mark.parametrize(
    "options, message",
    [
        (["--unseen", "cups"], "--unseen cups: no such class with photos and sketches (is it the folder 'cup'? rename it)"),
        (["--unseen", "6"], "--unseen 6: give class names, a whole number below 6"),
        (["--unseen", "apple", "bell", "cup", "duck", "eye", "fish"], "--unseen: names every class"),
        (["--split", "../elsewhere"], "--split ../elsewhere: give a plain name"),
        (["--unseen", "1.5"], "--unseen 1.5: give class names, a whole number below 6, or a share below 1"),
        (["--unseen", "inf"], "--unseen inf: give class names"),
        (["--split", "photos"], "--split photos: give a plain name"),
        (["--split", "zeroshot2"], "--split zeroshot2: is the name of a published split"),
        (["--held_out", "0"], "--held_out/--held-out: must be a whole number from 1"),
        (["--side", "-1"], "--side: must be a whole number from 0"),
    ],
)
def test_bad_options_are_one_clear_line(mine, tmp_path, prepare, options, message):
    code, _, err = prepare("folders", mine, *options, "--output", str(tmp_path / "out"))
    assert code == 2 and message in err


def test_a_published_split_needs_all_its_classes(tmp_path, prepare):
    write_published(tmp_path, QUICKDRAW, "zeroshot", photos=1, sketches=1)
    (tmp_path / "QuickDraw/images/eiffel tower").rename(tmp_path / "QuickDraw/images/eifel")
    code, _, err = prepare("quickdraw", tmp_path, "--output", str(tmp_path / "out"))
    assert code == 2
    assert "no photos of 1 classes of zeroshot: eiffel tower" in err
    code, _, err = prepare("quickdraw", tmp_path, "--split", "zeroshot9", "--output", str(tmp_path / "out"))
    assert code == 2 and "--split zeroshot9: not published for QuickDraw Ext (zeroshot)" in err
    code, _, err = prepare("quickdraw", tmp_path, "--unseen", "cup", "--output", str(tmp_path / "out"))
    assert code == 2 and "zeroshot is a published split" in err


def test_own_folders_do_not_hide_behind_another_dataset(mine, tmp_path, prepare):
    (tmp_path / "dataset/Sketchy").mkdir(parents=True)
    code, _, err = prepare("folders", mine, "--output", str(tmp_path / "dataset"))
    assert code == 2 and "holds Sketchy/, which scripts would take" in err


def test_an_unwritable_target_is_named_before_any_work(mine, tmp_path, prepare):
    (tmp_path / "file").write_bytes(picture(1))
    code, _, err = prepare("folders", mine, "--output", str(tmp_path / "file"))
    assert code == 2 and str(tmp_path / "file") in err


def test_unseen_classes_stay_unseen_until_others_are_named(mine, tmp_path, prepare):
    options = ["--output", str(tmp_path / "out")]
    assert prepare("folders", mine, "--unseen", "cup", *options)[0] == 0
    write_tree(mine, ["goat"], 4, 6)
    code, out, err = prepare("folders", mine, "--force", "--seed", 8, *options)
    assert code == 0 and "unseen classes as in" in out, err
    split = Split(CUSTOM, tmp_path / "out", "zeroshot")
    assert (split.class_names("zero"), "goat" in split.class_names("train")) == (["cup"], True)
    assert json.loads((split.folder / "prepared.json").read_text())["unseen"] == ["cup"]


def test_an_output_within_the_source_is_not_taken_for_a_source(mine, tmp_path, prepare):
    for _ in range(2):
        code, _, err = prepare("folders", mine, "--output", str(mine))
        assert code == 0, err
    shutil.rmtree(mine / "Own/photos/fish")  # as a run that is cut short leaves it
    assert prepare("folders", mine, "--output", str(mine))[0] == 0
    assert prepare("folders", mine, "--output", str(tmp_path / "elsewhere"))[0] == 0
    assert len(Split(CUSTOM, tmp_path / "elsewhere", "zeroshot").photos("zero")) == 4
    # its own place alone is a source, too
    code, out, err = prepare("folders", mine / "Own", "--output", str(mine))
    assert code == 0 and "0 linked or copied" in out, err


@pytest.mark.slow
def test_a_raw_dataset_within_its_own_output(tmp_path, prepare):
    root, classes = tmp_path / "TUBerlin", [name for names in published_classes(TUBERLIN, "zeroshot") for name in names]
    write_tree(root, classes, 1, 2, "ImageResized", "png", side=0)
    options = ["--output", str(tmp_path), "--side", 0]
    assert prepare("tuberlin", root, *options)[0] == 0
    shutil.rmtree(root / "png_ready/knife")
    shutil.rmtree(root / "zeroshot")
    code, _, err = prepare("tuberlin", root, *options)
    assert code == 0, err
    assert len(Split(TUBERLIN, tmp_path, "zeroshot").sketches("zero")) == 60


@pytest.mark.slow
def test_lists_that_name_the_extension_where_it_lies_fit(tmp_path, prepare):
    folder = "256x256/EXTEND_image_sketchy_ready"
    write_published(tmp_path / "got", SKETCHY, "zeroshot1", photos=1)
    root, classes = tmp_path / "got/Sketchy", published_classes(SKETCHY, "zeroshot1")
    write_tree(root, [*classes[0], *classes[1]], 1, 0, folder, "unused", side=0)
    assert prepare("sketchy", root, "--output", str(tmp_path / "made"), "--held_out", 1, "--seed", 3)[0] == 0
    made = tmp_path / "made/Sketchy/zeroshot1"
    assert f"{folder}/cup/cup_0.jpg 0" in (made / "all_photo_filelist_zero.txt").read_text().splitlines()
    shutil.copytree(made, root / "zeroshot1")
    put(tmp_path / "got/Another/zeroshot1/cname_cid.txt", b"nothing to do with it 0\n")
    code, out, err = prepare("sketchy", tmp_path / "got", "--output", str(tmp_path / "out"))
    assert code == 0 and "stay as they are" in out, err


def test_files_that_are_no_images_by_their_names_are_counted(mine, tmp_path, prepare):
    (mine / "photos/cup/phone.HEIC").write_bytes(b"ftypheic")
    (mine / "photos/cup/from_the_web.jfif").write_bytes(picture(4, kind="JPEG"))
    code, out, _ = prepare("folders", mine, "--output", str(tmp_path / "out"))
    assert code == 0 and "left out: 1 files ending in .heic" in out
    assert (tmp_path / "out/Own/photos/cup/from_the_web.jfif").exists()


@pytest.mark.slow
def test_several_threads_do_what_one_does(mine, tmp_path, prepare):
    Image.new("RGB", (900, 600), "red").save(mine / "photos/cup/large.jpg")
    for workers in (1, 3):
        options = ["--side", 32, "--copy", "--num_workers", workers, "--output", str(tmp_path / str(workers))]
        code, out, err = prepare("folders", mine, *options)
        assert code == 0 and "61 linked or copied, 61 of them shrunk" in out, err
    one, three = (tmp_path / str(workers) / "Own" for workers in (1, 3))
    files = [file.relative_to(one) for file in one.rglob("*.*") if file.is_file() and file.name != "prepared.json"]
    assert len(files) > 61
    assert all((one / file).read_bytes() == (three / file).read_bytes() for file in files if not file.name.startswith("."))


def test_unreadable_images_are_named_by_a_run_that_goes_on(mine, tmp_path, prepare, prepare_cut_short):
    """By an interrupted one's successor, by a later one that places nothing, and until they can be read."""
    out = tmp_path / "out"
    for folder in ("photos/apple", "photos/cup", "sketches/fish"):
        (mine / folder / "broken.png").write_bytes(b"no image")
    prepare_cut_short(40, mine, out)
    found = [out / "Own" / folder / "broken.png" for folder in ("photos/apple", "photos/cup", "sketches/fish")]
    assert [file.exists() for file in found] == [True, True, False]
    for _ in range(2):
        code, said, err = prepare("folders", mine, "--output", str(out))
        assert code == 0 and "3 of 63 images cannot be read" in said, err
        named = json.loads((out / "Own/zeroshot/prepared.json").read_text())["could_not_be_read"]
        places = [line.partition(": ")[0] for line in named]
        assert places == ["photos/apple/broken.png", "photos/cup/broken.png", "sketches/fish/broken.png"]
    (mine / "photos/cup/broken.png").unlink()
    (mine / "photos/cup/broken.png").write_bytes(picture(9))
    assert "2 of 63 images cannot be read" in prepare("folders", mine, "--output", str(out), "--force")[1]


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_dataset(tmp_path, prepare):
    source = write_tree(tmp_path / "mine", ["cup", "bell"], photos=60, sketches=30, side=200)
    options = ["--side", 32, "--copy", "--output"]
    command = ["prepare_dataset.py", "folders", "--source", source, "--num_workers", 2, *options, tmp_path / "out"]
    command = [sys.executable, *map(str, command)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        while process.poll() is None and len(list((tmp_path / "out").rglob("*_*.*g"))) < 30:
            time.sleep(0.01)
        assert process.returncode is None, "it ended before it was killed"
        os.killpg(process.pid, signal.SIGKILL)
    assert not (tmp_path / "out/Own/zeroshot").exists()
    for name in ("out", "whole"):
        assert prepare("folders", source, *options, str(tmp_path / name))[0] == 0
    files = [file.relative_to(tmp_path / "whole") for file in (tmp_path / "whole").rglob("*.*") if file.is_file()]
    assert len(files) > 180 and not list((tmp_path / "out").rglob("*.placing"))
    for file in files:
        if not file.name.startswith("."):
            assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def no_room(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/the/source")


FULL = {
    "copying": ("shutil.copyfile", "out/Own/photos/apple/apple_0.jpg"),
    "the journal": ("tempfile.NamedTemporaryFile", "out/Own"),
    "the lists": ("tempfile.mkdtemp", "out/Own"),
}


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_is_named_by_the_place_that_is_full(mine, tmp_path, prepare, monkeypatch, what):
    function, place = FULL[what]
    options = ["--copy", "--output", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(function, no_room)
        code, _, err = prepare("folders", mine, *options)
    assert code == 2 and err.startswith(f"error: {tmp_path / place}: the disk is full (No space left on device); free some space")
    assert "--output" in err and str(mine) not in err
    code, _, err = prepare("folders", mine, *options)
    assert code == 0, err


def test_a_disk_that_is_full_while_unpacking_is_named(mine, tmp_path, prepare, monkeypatch):
    archive = packed_tree(mine, "tar")
    monkeypatch.setattr("shutil.copyfileobj", no_room)
    code, _, err = prepare("folders", archive, "--output", str(tmp_path / "out"))
    assert code == 2 and err.startswith(f"error: {tmp_path}/out/Own/.unpacked/packed.tar.") and ": the disk is full" in err
    assert not (tmp_path / "out/Own/.unpacked").exists()
