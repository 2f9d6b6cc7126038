"""Archives: whole, damaged, hostile or odd."""

import bz2
import dataclasses
import gzip
import io
import lzma
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import preparation.archives
import preparation.copying
from datasets.catalog import CUSTOM
from preparation.archives import Archive, open_source
from preparation.copying import require_space
from preparation.layouts import recognise
from tests.helpers.trees import copied, packed, packed_tree, picture, put, refusal
from utils.errors import InputError

COMPRESS = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
LARGE, SOME_MEMORY = 24 << 20, 8 << 20  # bytes; buffers are far smaller than the latter
SKETCH = ("sketches/cup/b.png", picture(2))


def claim(archive: Archive, name: str, size: int) -> None:
    """Have the archive claim that a member has so many bytes."""
    archive.members[name] = dataclasses.replace(archive.members[name], size=size)


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz", "tar.xz", "tar.bz2", "7z"])
def test_every_archive_holds_the_files_that_are_in_it(mine, tmp_path, kind):
    archive = open_source(packed_tree(mine, kind))
    layout = copied(tmp_path / "out", archive.path)
    assert len(layout.images) == 60
    for file in (path for path in mine.rglob("*") if path.is_file()):
        assert (tmp_path / "out" / file.relative_to(mine)).read_bytes() == file.read_bytes()
    assert not list((tmp_path / "out").glob(".*"))
    names = ["mine/photos/cup/cup_0.jpg", "mine/sketches/bell/bell_1.png"]
    expected = {name: (mine.parent / name).read_bytes() for name in names}
    assert archive.read(names, largest=1 << 20) == expected
    claim(archive, names[0], 1 << 40)
    assert list(archive.read(names, largest=1 << 20)) == names[1:]


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz", "tar.xz", "7z"])
def test_an_archive_cut_short_is_named(mine, kind):
    path = packed_tree(mine, kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    message = refusal(open_source, path)
    assert message.startswith(f"{path}: ") and "download it again" in message


def test_a_tar_cut_at_a_member_is_not_whole(mine):
    path = packed_tree(mine, "tar")
    with tarfile.open(path) as archive:
        offset = [info.offset for info in archive if info.isreg()][20]
    whole = path.read_bytes()
    for cut in (offset, offset + 100):
        path.write_bytes(whole[:cut])
        assert "unexpected end of data" in refusal(open_source, path)


def test_a_damaged_member_is_named_and_not_written(mine, tmp_path):
    path = packed_tree(mine, "zip")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("mine/photos/cup/cup_1.jpg")
    start = info.header_offset + 30 + len(info.filename) + 40
    content[start : start + 20] = bytes(20)
    path.write_bytes(bytes(content))
    message = refusal(copied, tmp_path / "out", path)
    assert message.startswith(f"{path}: its member 'mine/photos/cup/cup_1.jpg' is damaged")
    assert not (tmp_path / "out/photos/cup/cup_1.jpg").exists()
    assert not list((tmp_path / "out").rglob(".*"))


def test_other_files_than_archives_are_told_apart(tmp_path):
    for content, wrong in [
        (b"<!DOCTYPE html><html>Quota exceeded</html>", "is a web page, not an archive"),
        (b"Rar!\x1a\x07\x00" + bytes(600), "is neither a folder nor a zip, tar or 7z archive"),
        (b"", "is neither a folder nor a zip"),
        (b"PK\x03\x04" + bytes(600), "download it again"),
        (b"\x1f\x8b" + bytes(600), "download it again"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "download it again"),
    ]:
        assert wrong in refusal(open_source, put(tmp_path / "download", content))
    assert "no such file or folder" in refusal(open_source, tmp_path / "nothing")
    assert "is neither a folder nor an archive" in refusal(open_source, Path("/dev/null"))


def test_an_encrypted_zip_is_to_be_unpacked_by_hand(tmp_path):
    content = bytearray(packed(tmp_path / "locked.zip", [("photos/cup/a.jpg", b"secret")]).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # bit 0 of the flags in both headers
        content[content.index(signature) + offset] |= 1
    assert "is encrypted" in refusal(open_source, put(tmp_path / "locked.zip", bytes(content)))


@pytest.mark.parametrize("hides_names", [True, False])
def test_an_encrypted_7z_is_not_called_damaged(tmp_path, hides_names):
    py7zr = pytest.importorskip("py7zr")
    path = tmp_path / "locked.7z"
    with py7zr.SevenZipFile(path, "w", password="secret", header_encryption=hides_names) as archive:
        archive.writestr(picture(1), "photos/cup/a.jpg")
    assert refusal(open_source, path).startswith(f"{path}: is encrypted; unpack it with its password (7z x locked.7z)")


@pytest.mark.parametrize("name", ["../photos/cup/a.jpg", "/photos/cup/a.jpg", "photos/../../a.jpg", "C:/a.jpg", "..\\cup\\a.jpg"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_climbs_out_condemns_the_archive(tmp_path, kind, name):
    message = refusal(open_source, packed(tmp_path / f"hostile.{kind}", [(name, picture(1))]))
    assert "climbs out of the folder" in message and "its member" in message


def test_links_and_devices_of_a_tar_file_are_left_out(tmp_path):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"photos/cup/{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("photos/cup/real.jpg"), io.BytesIO())
    source = open_source(path)
    assert source.names == ["photos/cup/real.jpg"] and source.left_out == {f"links and devices in {path}": 4}


def test_names_and_links_of_a_zip_made_on_windows(tmp_path):
    path = tmp_path / "windows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(("photos\\cup\\a.jpg", "./sketches/cup/b.png")):
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, picture(number))
        link = zipfile.ZipInfo("photos/cup/link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert len(copied(tmp_path / "out", path).images) == 2
    assert (tmp_path / "out/photos/cup/a.jpg").read_bytes() == picture(0)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_of_members_of_one_name_the_last_is_taken(tmp_path, kind):
    twice = [("photos/cup/a.jpg", picture(number)) for number in (3, 4, 5)]
    path = packed(tmp_path / f"twice.{kind}", [*twice, SKETCH, ("./sketches/cup/b.png", picture(6))])
    layout = copied(tmp_path / "out", path)
    assert (tmp_path / "out/photos/cup/a.jpg").read_bytes() == picture(5)
    assert (tmp_path / "out/sketches/cup/b.png").read_bytes() == picture(6)
    what = f"members of {path} that a later one of the same name replaces (the first: photos/cup/a.jpg)"
    assert layout.left_out == {what: 3}


def test_a_7z_with_two_members_of_one_name_is_refused(tmp_path):
    path = packed(tmp_path / "twice.7z", [SKETCH, SKETCH])
    assert "several of its members have one name; unpack it yourself" in refusal(open_source, path)


def test_names_that_no_disk_holds_are_left_out_with_the_reason(tmp_path):
    members = [("photos/cup/a.jpg", picture(1)), (f"photos/cup/{'x' * 300}.jpg", picture(1)), SKETCH]
    layout = copied(tmp_path / "out", packed(tmp_path / "long.zip", members))
    assert len(layout.images) == 2
    assert layout.left_out == {f"images in {tmp_path}/long.zip/photos whose path has a name of more than 255 bytes": 1}


def header(size: int, form: int = tarfile.GNU_FORMAT, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The header of a member that claims `size` bytes."""
    info = tarfile.TarInfo("photos/cup/a.jpg")
    info.size, info.type = size, kind
    return info.tobuf(form)


CLAIMS = {
    "GNU size": header(1 << 36),
    "PAX size": header(1 << 36, tarfile.PAX_FORMAT),
    "PAX header": header(1 << 36, kind=tarfile.XHDTYPE),
    "PAX global header": header(1 << 26, kind=tarfile.XGLTYPE),
    "GNU long name": header(1 << 26, kind=tarfile.GNUTYPE_LONGNAME),
    "octal size": header((1 << 33) - 1),
    "negative size": header(-1),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_tar_that_claims_more_than_it_has_is_refused_at_once(tmp_path, claim):
    for kind, compress in COMPRESS.items():
        path = put(tmp_path / f"hostile.{kind}", compress(CLAIMS[claim] + bytes(2048)))
        message = refusal(open_source, path)
        assert message.startswith(f"{path}: damaged, or not downloaded whole")
        assert "claims " in message or "unexpected end of data" in message


def test_a_sparse_member_of_a_tar_writes_nothing(tmp_path):
    """72 kB of it could fill a disk. The image of the same name after it is the one that is taken."""
    hole = tarfile.TarInfo("photos/cup/a.jpg")
    hole.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 36)}
    whole = packed(tmp_path / "whole.tar", [("photos/cup/a.jpg", picture(1)), SKETCH]).read_bytes()
    path = put(tmp_path / "sparse.tar", hole.tobuf(tarfile.PAX_FORMAT) + whole)
    copied(tmp_path / "out", path)
    assert (tmp_path / "out/photos/cup/a.jpg").read_bytes() == picture(1)


def test_a_tar_that_unpacks_to_far_more_than_its_size_is_stopped_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation.archives, "BOMB_SIZE", 1 << 20)
    path = put(tmp_path / "bomb.tar.bz2", bz2.compress(header(1 << 26) + bytes((1 << 26) + 1024)))
    tracemalloc.start()
    try:
        assert "unpacks to more than 1 MiB" in refusal(open_source, path)
        assert tracemalloc.get_traced_memory()[1] < SOME_MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_a_large_member_does_not_go_through_memory_whole(tmp_path, kind):
    path = packed(tmp_path / f"large.{kind}", [("photos/cup/a.jpg", bytes(LARGE)), SKETCH])
    tracemalloc.start()
    try:
        copied(tmp_path / "out", path)
        assert tracemalloc.get_traced_memory()[1] < SOME_MEMORY
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out/photos/cup/a.jpg").stat().st_size == LARGE


def test_a_zip_member_larger_than_it_claims_is_stopped_at_its_claim(tmp_path):
    path = packed(tmp_path / "lies.zip", [("photos/cup/a.jpg", bytes(LARGE)), SKETCH])
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 24  # the size in the directory
    assert struct.unpack_from("<I", content, at)[0] == LARGE
    struct.pack_into("<I", content, at, 1000)
    path.write_bytes(bytes(content))
    tracemalloc.start()
    try:
        assert "its member 'photos/cup/a.jpg' is damaged" in refusal(copied, tmp_path / "out", path)
        assert tracemalloc.get_traced_memory()[1] < SOME_MEMORY
    finally:
        tracemalloc.stop()
    assert not [file for file in (tmp_path / "out").rglob("*") if file.is_file()]


@pytest.mark.parametrize("kind", ["zip", "tgz", "7z"])
def test_a_member_larger_than_any_image_is_refused_before_anything_is_written(tmp_path, prepare, monkeypatch, kind):
    others = [(f"{folder}/bell/{n}.png", picture(n)) for n in range(2) for folder in ("photos", "sketches")]
    path = packed(tmp_path / f"large.{kind}", [("photos/cup/a.jpg", bytes(3 << 20)), SKETCH, *others])
    monkeypatch.setattr(preparation.copying, "LARGEST_IMAGE", 1 << 20)
    code, _, err = prepare("folders", path, "--unseen", "cup", "--output", str(tmp_path / "out"))
    assert code == 2 and "member 'photos/cup/a.jpg' claims 3 MiB, and no image of these datasets is larger than 1" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_unpacks_without_a_limit_is_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", method) as archive:
        archive.writestr("photos/cup/a.jpg", bytes(1 << 20))
    message = refusal(open_source, tmp_path / "bomb.zip")
    assert "its member 'photos/cup/a.jpg' is packed by" in message and "unpack it yourself" in message


def test_what_does_not_fit_on_the_disk_is_not_begun(mine, tmp_path, monkeypatch):
    archive = open_source(packed_tree(mine, "zip"))
    images = recognise(CUSTOM, [archive]).images
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    assert "0 MB are free" in refusal(require_space, images, tmp_path)
    claim(archive, archive.names[0], 1 << 40)
    assert "claims 1,048,576 MiB" in refusal(require_space, images, tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(0, 8191), st.integers(0, 255), min_size=1, max_size=6))
def test_a_tar_with_any_bytes_overwritten_is_read_or_refused_in_one_line(tmp_path, damage):
    content = bytearray(gzip.decompress(packed(tmp_path / "some.tgz", [SKETCH] * 5).read_bytes()))
    for position, value in damage.items():
        content[position % len(content)] = value
    try:
        open_source(put(tmp_path / "damaged.tar", bytes(content)))
    except InputError as error:
        assert "\n" not in str(error)
