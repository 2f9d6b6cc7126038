"""Archives and folders that are made to do harm, or that merely look odd."""

import bz2
import gzip
import io
import lzma
import os
import signal
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import preparation.sources
from datasets.catalog import CUSTOM
from datasets.file_lists import Split
from preparation.copying import CopyOptions, place
from preparation.layouts import recognise
from preparation.sources import Archive, open_source
from tests.helpers.trees import picture, write_tree
from utils.errors import InputError

PACK = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
SOME_MEMORY = 16 << 20  # bytes; buffers are far smaller, and the members far larger


def refusal(function, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def placed_below(folder: Path, source: Path, copies: bool = False):
    folder.mkdir()
    layout = recognise(CUSTOM, [open_source(source)])
    return layout, place(layout.images, CopyOptions(folder, side=0, copies=copies, workers=1))


@pytest.fixture
def no_hang():
    """What spins without end fails, instead of holding everything up."""

    def give_up(*_):
        raise RuntimeError("still not done")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def header(size: int, form: int = tarfile.GNU_FORMAT, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Of a member that claims `size` bytes, as tarfile writes it."""
    info = tarfile.TarInfo("photos/cup/a.jpg")
    info.size, info.type = size, kind
    return info.tobuf(form)


CLAIMS = {
    "GNU size": header(1 << 36),
    "PAX size": header(1 << 36, tarfile.PAX_FORMAT),
    "PAX header": header(1 << 36, kind=tarfile.XHDTYPE),
    "PAX global header": header(1 << 26, kind=tarfile.XGLTYPE),
    "GNU long name": header(1 << 26, kind=tarfile.GNUTYPE_LONGNAME),
    "directory": header(1 << 36, kind=tarfile.DIRTYPE),
    "octal size": header((1 << 33) - 1),
}


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("claim", CLAIMS)
def test_a_tar_that_claims_more_than_it_has_is_refused_at_once(tmp_path, no_hang, claim, pack):
    path = put(tmp_path / f"hostile.{pack}", PACK[pack](CLAIMS[claim] + bytes(2048)))
    message = refusal(open_source, path)
    assert message.startswith(f"{path}: damaged, or not downloaded whole")
    assert "claims " in message or "unexpected end of data" in message


def test_a_tar_that_unpacks_to_far_more_than_its_size_is_stopped_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation.sources, "BOMB_SIZE", 1 << 20)
    path = put(tmp_path / "bomb.tar.bz2", bz2.compress(header(1 << 24) + bytes((1 << 24) + 1024)))
    read = []
    original = preparation.sources._Ending._read
    monkeypatch.setattr(preparation.sources._Ending, "_read", lambda self, size: read.append(size) or original(self, size))
    assert "unpacks to more than 1 MiB" in refusal(open_source, path)
    assert sum(read) < 2 << 20


def packed(path: Path, members: list[tuple[str, bytes]]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    elif path.suffix == ".7z":
        with pytest.importorskip("py7zr").SevenZipFile(path, "w") as archive:
            for name, content in members:
                archive.writestr(content, name)
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


SKETCH = ("sketches/cup/b.png", picture(2))


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_a_large_member_does_not_go_through_memory_whole(tmp_path, kind):
    path = packed(tmp_path / f"large.{kind}", [("photos/cup/a.jpg", bytes(48 << 20)), SKETCH])
    tracemalloc.start()
    try:
        placed_below(tmp_path / "out", path)
        assert tracemalloc.get_traced_memory()[1] < SOME_MEMORY
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out/photos/cup/a.jpg").stat().st_size == 48 << 20


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_member_larger_than_it_claims_is_stopped_at_its_claim(tmp_path):
    path = packed(tmp_path / "lies.zip", [("photos/cup/a.jpg", bytes(48 << 20)), SKETCH])
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 24  # the size in the directory
    assert struct.unpack_from("<I", content, at)[0] == 48 << 20
    struct.pack_into("<I", content, at, 1000)
    path.write_bytes(bytes(content))
    tracemalloc.start()
    try:
        assert "its member 'photos/cup/a.jpg' is damaged" in refusal(placed_below, tmp_path / "out", path)
        assert tracemalloc.get_traced_memory()[1] < SOME_MEMORY
    finally:
        tracemalloc.stop()
    assert not [file for file in (tmp_path / "out").rglob("*") if file.is_file()]


@pytest.mark.parametrize("kind", ["zip", "tgz", "7z"])
def test_a_member_larger_than_any_image_is_refused_before_anything_is_written(tmp_path, prepare, monkeypatch, kind):
    others = [(f"{folder}/bell/{n}.png", picture(n)) for n in range(2) for folder in ("photos", "sketches")]
    path = packed(tmp_path / f"large.{kind}", [("photos/cup/a.jpg", bytes(3 << 20)), SKETCH, *others])
    monkeypatch.setattr(preparation.sources, "LARGEST_IMAGE", 1 << 20)
    code, _, err = prepare("folders", path, "--unseen", "cup", "--output", str(tmp_path / "out"))
    assert code == 2 and "member 'photos/cup/a.jpg' claims 3 MiB, and no image of these datasets is larger than 1" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_unpacks_without_a_bound_is_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", method) as archive:
        archive.writestr("photos/cup/a.jpg", bytes(1 << 20))
    message = refusal(open_source, tmp_path / "bomb.zip")
    assert "its member 'photos/cup/a.jpg' is packed by" in message and "unpack it yourself" in message


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", "tgz", "7z"])
def test_of_members_of_one_name_the_last_is_taken_and_that_is_said(tmp_path, kind):
    twice = [("photos/cup/a.jpg", picture(number)) for number in (3, 4, 5)]
    path = packed(tmp_path / f"twice.{kind}", [*twice, SKETCH, ("./sketches/cup/b.png", picture(6))])
    layout, placed = placed_below(tmp_path / "out", path)
    assert placed.images == 2
    assert (tmp_path / "out/photos/cup/a.jpg").read_bytes() == picture(5)
    assert (tmp_path / "out/sketches/cup/b.png").read_bytes() == picture(6)
    what = f"members of {path} that a later one of the same name replaces (the first: photos/cup/a.jpg)"
    assert layout.left_out == {what: 3}


@pytest.mark.parametrize("hides_names", [True, False])
def test_an_encrypted_7z_is_not_called_damaged(tmp_path, hides_names):
    py7zr = pytest.importorskip("py7zr")
    path = tmp_path / "locked.7z"
    with py7zr.SevenZipFile(path, "w", password="secret", header_encryption=hides_names) as archive:
        archive.writestr(picture(1), "photos/cup/a.jpg")
    assert refusal(open_source, path).startswith(f"{path}: is encrypted; unpack it with its password (7z x locked.7z)")


LONG = [f"{'x' * (length - 4)}.jpg" for length in (246, 247, 251, 255)]


def test_files_of_the_longest_names_are_taken(mine, tmp_path):
    for name in LONG:
        put(mine / "photos/cup" / name, picture(7))
    placed_below(tmp_path / "out", mine)
    assert {name for name in os.listdir(tmp_path / "out/photos/cup") if len(name) > 100} == set(LONG)


def test_names_that_no_disk_holds_are_left_out_with_the_reason(tmp_path):
    members = [("photos/cup/a.jpg", picture(1)), (f"photos/cup/{'x' * 300}.jpg", picture(1)), SKETCH]
    layout, placed = placed_below(tmp_path / "out", packed(tmp_path / "long.zip", members))
    assert placed.images == 2
    assert layout.left_out == {f"images in {tmp_path}/long.zip/photos whose path has a name of more than 255 bytes": 1}


ODD = {
    "narrow blank": "Screenshot 10.41\u202fPM.png",
    "ideographic blank": "写真\u3000一.png",
    "no-break blank": "a\u00a0b.png",
    "bidi marks": "\u200fא\u202e.png",
    "line separator": "a\u2028b.png",
    "at both ends": "\u3000x.\u00a0png",
}


def test_harmless_names_are_taken_and_read_back_from_the_lists(tmp_path, prepare):
    classes = ["\u3000cup\u00a0", "bell\u202f1", "duck\u2028pond"]
    write_tree(tmp_path / "mine", classes, 1, 2)
    for number, name in enumerate(ODD.values()):
        put(tmp_path / "mine/photos" / classes[1] / f"{name}.png", picture(number))
    code, out, err = prepare("folders", tmp_path / "mine", "--unseen", classes[0], "--output", str(tmp_path / "out"))
    assert code == 0 and "left out" not in out, err
    split = Split(CUSTOM, tmp_path / "out", "zeroshot")
    assert split.class_names("zero") == classes[:1] and set(split.class_names("train")) == set(classes[1:])
    paths = {path for files in (split.photos("train"), split.photos("zero")) for path in files.paths}  # they are all there
    assert {f"photos/{classes[1]}/{name}.png" for name in ODD.values()} <= paths and len(paths) == len(ODD) + 3


def test_names_left_out_are_counted_by_reason_and_their_class_is_not_called_empty(mine, tmp_path, prepare):
    write_tree(mine, ["bad\x07bell"], 2, 2)
    for name in ("new\nline.jpg", "tab\t.jpg", "next\u0085line.jpg", os.fsdecode(b"latin\xe9.jpg")):
        put(mine / "photos/cup" / name, picture(2))
    code, out, err = prepare("folders", mine, "--output", str(tmp_path / "out"))
    assert code == 0, err
    assert f"5 images in {mine}/photos whose path has control characters" in out
    assert f"2 images in {mine}/sketches whose path has control characters" in out
    assert f"1 images in {mine}/photos whose path has bytes that are not UTF-8" in out


def test_links_are_copied_and_none_is_linked_through(mine, tmp_path):
    secret = put(tmp_path / "private/secret.png", picture(8))
    (mine / "photos/cup/outside.png").symlink_to(secret)
    (mine / "photos/cup/device.png").symlink_to("/dev/zero")
    (mine / "photos/cup/inside.jpg").symlink_to(mine / "photos/bell/bell_0.jpg")
    (mine / "photos/friends").symlink_to(secret.parent)
    (mine / "sketches/friends").symlink_to(mine / "sketches/bell")
    layout, _ = placed_below(tmp_path / "out", mine)
    assert layout.left_out == {f"devices and other special files in {mine} (the first: photos/cup/device.png)": 1}
    taken = {
        "photos/cup/inside.jpg": mine / "photos/bell/bell_0.jpg",
        "photos/cup/outside.png": secret,
        "photos/friends/secret.png": secret,
    }
    for name, original in taken.items():
        target = tmp_path / "out" / name
        assert target.read_bytes() == original.read_bytes()
        assert not target.is_symlink() and not os.path.samefile(target, original)
    assert secret.stat().st_nlink == 1
    assert os.path.samefile(tmp_path / "out/photos/bell/bell_0.jpg", mine / "photos/bell/bell_0.jpg")


def test_a_source_that_is_itself_a_link_is_linked_from_like_any_other(mine, tmp_path):
    (tmp_path / "shortcut").symlink_to(mine)
    placed_below(tmp_path / "out", tmp_path / "shortcut")
    assert os.path.samefile(tmp_path / "out/photos/bell/bell_0.jpg", mine / "photos/bell/bell_0.jpg")


def test_no_terminal_is_driven_by_names(tmp_path, prepare, run_script):
    escape = "\x1b[31mred\u202e"
    source, out = write_tree(tmp_path / escape, ["cup", "bell", "du\u202eck", escape], 2, 4), tmp_path / f"out{escape}"
    put(source / "photos/cup" / f"{escape}.jpg", b"no image, and a name no list holds")
    put(source / "photos/bell" / f"{escape}.HEIC", b"no image by its name")
    put(source / "photos/bell/bad\u202e.jpg", b"no image")
    options = ["--unseen", "du\u202eck", "--output", str(out)]
    code, said, err = prepare("folders", source, *options, "--side", 32)
    assert code == 0 and "cannot be read" in said, err
    member = [("photos/cup/a.jpg", picture(1)), (f"photos/{escape}/a.jpg", picture(1)), SKETCH]
    refused = [
        prepare("folders", tmp_path / f"gone{escape}", *options),
        prepare("folders", packed(tmp_path / f"{escape}.zip", member), *options, "--force"),
        prepare("folders", packed(tmp_path / f"{escape}.tgz", member), *options, "--force"),
        prepare("folders", packed(tmp_path / "climbs.zip", [(f"../{escape}", b"")]), *options),
    ]
    assert [code for code, _, _ in refused] == [2] * 4
    again = prepare("folders", source, "--output", str(out), "--side", 32)
    assert again[0] == 0 and "unseen classes as before" in again[1], again[2]
    checked = run_script("check_dataset.py", "folders", "--data_root", out, "--num_workers", 0)
    told = [said, err, *(text for _, *texts in [*refused, again, checked] for text in texts)]
    told.append((out / "Own/zeroshot/check.txt").read_text())
    assert not [text for text in told if "\x1b" in text or "\u202e" in text]


def test_archives_count_links_and_devices_that_they_leave_out(tmp_path):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"photos/cup/{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    source = open_source(path)
    assert isinstance(source, Archive) and source.left_out == {f"links and devices in {path}": 2}


def test_random_damage_never_ends_in_a_traceback(mine, tmp_path):
    """A tar's bytes overwritten here and there: whole still, or one line."""
    generator = np.random.default_rng(0)
    whole = packed(tmp_path / "some.tgz", [(f"photos/cup/{n}.jpg", picture(n, side=8)) for n in range(5)]).read_bytes()
    plain = gzip.decompress(whole)
    for trial in range(60):
        content = bytearray(plain)
        for place_ in generator.integers(0, len(content), 6):
            content[place_] = generator.integers(0, 256)
        path = put(tmp_path / f"damaged_{trial}.tar", bytes(content))
        try:
            open_source(path)
        except InputError as error:
            assert "\n" not in str(error)
