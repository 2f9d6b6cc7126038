"""What lies in an image's place: nobody's file is lost, and nothing is taken for what it is not."""

import os
import zipfile

import pytest

from datasets.catalog import CUSTOM
from preparation.copying import CopyOptions, place
from preparation.existing_files import missing
from preparation.journal import known_sources, note_sources
from preparation.layouts import recognise
from preparation.sources import open_source
from preparation.split_folder import write_split
from tests.helpers.trees import picture, write_tree
from utils.errors import InputError
from utils.files import hidden_beside

CLASSES = ["apple", "bell"]


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def small(tmp_path):
    return write_tree(tmp_path / "small", CLASSES, 2, 2)


def run(source, out, force=False, side=0, copies=False):
    """One preparation's placing; how many images it put in place."""
    sources = [open_source(source)]
    manner = CopyOptions(out, side, copies, workers=1)
    images = missing(recognise(CUSTOM, sources).images, manner, known_sources(sources, manner), force)
    note_sources(sources, manner, force)
    return place(images, manner).images


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


@pytest.mark.parametrize("change", [{"copies": True}, {"side": 16}, {"force": True, "copies": True}, "zip"])
def test_what_a_killed_run_left_is_not_written_through(small, out, tmp_path, change):
    """A leftover name may be a hard link to the user's own file."""
    before = contents(small)
    for image in sorted((small / "photos").rglob("*.jpg")):
        (out / "photos" / image.parent.name).mkdir(parents=True, exist_ok=True)
        os.link(image, hidden_beside(out / "photos" / image.parent.name / image.name, "placing"))
    if change == "zip":
        other = write_tree(tmp_path / "other", CLASSES, 2, 2, side=48)
        with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
            for file in other.rglob("*.*"):
                archive.write(file, file.relative_to(other))
        assert run(tmp_path / "other.zip", out) == 8
    else:
        assert run(small, out, **change) == 8
    assert contents(small) == before
    assert not list(out.rglob(".*.placing"))


def test_a_link_that_leads_nowhere_hides_nothing(small, out):
    (out / "photos/bell").mkdir(parents=True)
    (out / "photos/bell/bell_0.jpg").write_bytes(b"dear to me")
    (out / "photos/bell/bell_1.jpg").symlink_to("/nowhere")
    (out / "photos/bell/zz.jpg").symlink_to("/nowhere")
    with pytest.raises(InputError, match="is there already, and not the same"):
        run(small, out)
    (out / "photos/bell/bell_0.jpg").unlink()
    with pytest.raises(InputError, match=r"bell_1\.jpg: is there already"):
        run(small, out)


def test_another_manner_replaces_links_and_asks_before_files(small, out):
    assert run(small, out) == 8
    assert run(small, out) == 0
    assert run(small, out, copies=True) == 8  # nothing is lost by that
    assert not any(os.path.samefile(small / file, out / file) for file in contents(small))
    assert run(small, out, copies=True) == 0
    assert run(small, out, copies=True, side=16) == 8  # nor by this
    with pytest.raises(InputError, match="--force"):
        run(small, out, copies=True, side=20)  # but these may be anyone's
    assert run(small, out, copies=True, side=20, force=True) == 8


def test_what_was_placed_by_force_is_not_taken_for_anothers(small, out, tmp_path):
    other = write_tree(tmp_path / "other", CLASSES, 2, 2, side=48)
    run(small, out, copies=True)
    run(other, out, copies=True, force=True)
    with pytest.raises(InputError, match="is there already"):
        run(small, out, copies=True)


def test_a_source_that_changed_is_told(small, out):
    run(small, out, copies=True)
    photo = small / "photos/bell/bell_0.jpg"
    photo.write_bytes(picture(99, kind="JPEG"))
    os.utime(photo, ns=(2**62, 2**62))
    with pytest.raises(InputError, match=r"bell_0\.jpg: is there already"):
        run(small, out, copies=True)


def test_masks_of_other_classes_do_not_stay(tmp_path):
    folder = tmp_path / "zeroshot"
    write_split(folder, {"cname_cid.txt": b"a 0\n", "cid_mask.npz": b"1", "cid_mask.pickle": b"2"})
    write_split(folder, {"cname_cid.txt": b"a 0\n"})
    assert (folder / "cid_mask.npz").exists()
    write_split(folder, {"cname_cid.txt": b"b 0\n"})
    assert sorted(path.name for path in folder.iterdir()) == ["cname_cid.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["zeroshot"]
