"""Files that exist where images belong: none is lost or taken for another."""

import os

import pytest

from datasets.catalog import CUSTOM
from preparation.archives import open_source
from preparation.config import FileOptions
from preparation.copying import copy_images, images_to_copy, note_sources
from preparation.layouts import recognise
from tests.helpers.trees import packed_tree, picture, write_tree
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
    """Copy as one preparation does; returns how many images were copied."""
    sources = [open_source(source)]
    options = FileOptions(side=side, copy=copies, force=force, num_workers=1)
    images = images_to_copy(recognise(CUSTOM, sources).images, out, sources, options)
    note_sources(sources, out, options)
    copy_images(images, out, options)
    return len(images)


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
        assert run(packed_tree(other, "zip"), out) == 8
    else:
        assert run(small, out, **change) == 8
    assert contents(small) == before
    assert not list(out.rglob(".*.placing"))


def test_a_broken_link_hides_no_other_file(small, out):
    (out / "photos/bell").mkdir(parents=True)
    (out / "photos/bell/bell_0.jpg").write_bytes(b"dear to me")
    (out / "photos/bell/bell_1.jpg").symlink_to("/nowhere")
    (out / "photos/bell/zz.jpg").symlink_to("/nowhere")
    with pytest.raises(InputError, match="already exists and differs"):
        run(small, out)
    (out / "photos/bell/bell_0.jpg").unlink()
    with pytest.raises(InputError, match=r"bell_1\.jpg: already exists"):
        run(small, out)


def test_other_options_replace_links_but_no_files(small, out):
    assert run(small, out) == 8
    assert run(small, out) == 0
    assert run(small, out, copies=True) == 8  # nothing is lost by that
    assert not any(os.path.samefile(small / file, out / file) for file in contents(small))
    assert run(small, out, copies=True) == 0
    assert run(small, out, copies=True, side=16) == 8  # nor by this
    with pytest.raises(InputError, match="--force"):
        run(small, out, copies=True, side=20)  # these may be another's
    assert run(small, out, copies=True, side=20, force=True) == 8


def test_files_replaced_by_force_belong_to_the_new_source(small, out, tmp_path):
    other = write_tree(tmp_path / "other", CLASSES, 2, 2, side=48)
    run(small, out, copies=True)
    run(other, out, copies=True, force=True)
    with pytest.raises(InputError, match="already exists"):
        run(small, out, copies=True)


def test_a_source_that_changed_is_named(small, out):
    run(small, out, copies=True)
    photo = small / "photos/bell/bell_0.jpg"
    photo.write_bytes(picture(99, kind="JPEG"))
    os.utime(photo, ns=(2**62, 2**62))
    with pytest.raises(InputError, match=r"bell_0\.jpg: already exists"):
        run(small, out, copies=True)
