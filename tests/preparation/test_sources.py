"""Archives, whole, damaged and hostile."""

import dataclasses
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from datasets.catalog import CUSTOM
from preparation.copying import CopyOptions, place, require_space
from preparation.layouts import recognise
from preparation.sources import Archive, open_source
from tests.helpers.trees import picture, write_tree
from utils.errors import InputError


def packed(tree: Path, kind: str) -> Path:
    """The tree in an archive of this kind."""
    path = tree.with_name(f"packed.{kind}")
    files = sorted(file for file in tree.rglob("*") if file.is_file())
    if kind == "7z":
        with pytest.importorskip("py7zr").SevenZipFile(path, "w") as archive:
            archive.writeall(tree, "mine")
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, Path("mine", file.relative_to(tree)))
    else:
        with tarfile.open(path, {"tar": "w", "tgz": "w:gz", "tar.xz": "w:xz", "tar.bz2": "w:bz2"}[kind]) as archive:
            archive.add(tree, "mine")
    return path


def claim(archive: Archive, name: str, size: int) -> None:
    """Have the archive claim that a member has so many bytes."""
    archive.members[name] = dataclasses.replace(archive.members[name], size=size)


def refusal(function, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz", "tar.xz", "tar.bz2", "7z"])
def test_every_archive_gives_the_files_that_are_in_it(mine, tmp_path, kind):
    layout = recognise(CUSTOM, [open_source(packed(mine, kind))])
    (tmp_path / "out").mkdir()
    placed = place(layout.images, CopyOptions(tmp_path / "out", side=0, copies=False, workers=1))
    assert placed.images == 60
    for file in (path for path in mine.rglob("*") if path.is_file()):
        assert (tmp_path / "out" / file.relative_to(mine)).read_bytes() == file.read_bytes()
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz", "tar.xz", "7z"])
def test_an_archive_cut_short_is_named_and_nothing_is_written(mine, tmp_path, kind):
    path = packed(mine, kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    message = refusal(open_source, path)
    assert message.startswith(f"{path}: ") and "download it again" in message


def test_a_damaged_member_is_named_and_not_written(mine, tmp_path):
    path = packed(mine, "zip")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("mine/photos/cup/cup_1.jpg")
    start = info.header_offset + 30 + len(info.filename) + 40
    content[start : start + 20] = bytes(20)
    path.write_bytes(bytes(content))
    (tmp_path / "out").mkdir()
    layout = recognise(CUSTOM, [open_source(path)])
    message = refusal(place, layout.images, CopyOptions(tmp_path / "out", side=0, copies=False, workers=1))
    assert message.startswith(f"{path}: its member 'mine/photos/cup/cup_1.jpg' is damaged")
    assert not (tmp_path / "out/photos/cup/cup_1.jpg").exists()
    assert not list((tmp_path / "out").rglob(".*"))


CLIMBING = ["../photos/cup/a.jpg", "/photos/cup/a.jpg", "photos/../../a.jpg", "C:/photos/a.jpg", "..\\photos\\cup\\a.jpg"]


@pytest.mark.parametrize("name", CLIMBING)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_climbs_out_condemns_the_archive(tmp_path, kind, name):
    path, content = tmp_path / f"hostile.{kind}", picture(1)
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), content)
    else:
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    message = refusal(open_source, path)
    assert "climbs out of the folder" in message and message.startswith(f"{path}: its member")


def test_links_and_devices_of_a_tar_file_are_left_out(tmp_path):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"photos/cup/{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("photos/cup/real.jpg")
        archive.addfile(info, io.BytesIO())
    assert open_source(path).names == ["photos/cup/real.jpg"]


def test_other_files_than_archives_are_told_apart(tmp_path):
    for content, wrong in [
        (b"<!DOCTYPE html><html>Quota exceeded</html>", "is a web page, not an archive"),
        (b"Rar!\x1a\x07\x00" + bytes(600), "is neither a folder nor a zip, tar or 7z archive"),
        (b"", "is empty"),
        (b"PK\x03\x04" + bytes(600), "is a zip file cut short"),
        (b"\x1f\x8b" + bytes(600), "download it again"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "download it again"),
    ]:
        (tmp_path / "download").write_bytes(content)
        assert wrong in refusal(open_source, tmp_path / "download")
    assert "no such file or folder" in refusal(open_source, tmp_path / "nothing")


def test_a_locked_archive_is_to_be_unpacked_by_hand(tmp_path):
    path = tmp_path / "locked.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photos/cup/a.jpg", b"secret")
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # bit 0 of the flags in both headers
        content[content.index(signature) + offset] |= 1
    path.write_bytes(bytes(content))
    assert "is encrypted" in refusal(open_source, path)


def test_what_does_not_fit_on_the_disk_is_not_begun(mine, tmp_path, monkeypatch):
    archive = open_source(packed(mine, "zip"))
    images = recognise(CUSTOM, [archive]).images
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    assert "0 MB are free" in refusal(require_space, images, tmp_path)
    claim(archive, archive.names[0], 1 << 40)
    assert "claims 1,048,576 MiB" in refusal(require_space, images, tmp_path)


def test_a_folder_is_walked_once_whatever_links_are_in_it(tmp_path):
    write_tree(tmp_path / "mine", ["cup"], 1, 1)
    (tmp_path / "mine/photos/again").symlink_to(tmp_path / "mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/linked_0.jpg").write_bytes(picture(3))
    (tmp_path / "mine/photos/linked").symlink_to(tmp_path / "elsewhere")
    names = open_source(tmp_path / "mine").names
    assert names == ["photos/cup/cup_0.jpg", "photos/linked/linked_0.jpg", "sketches/cup/cup_0.png"]
    (tmp_path / "mine/photos/cup/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert "photos/cup/gone.jpg: a link that leads to no file" in refusal(open_source, tmp_path / "mine")


def test_names_that_no_list_can_hold_are_left_out(mine):
    for name in ("new\nline.jpg", "tab\t.jpg"):
        (mine / "photos/cup" / name).write_bytes(picture(2))
    layout = recognise(CUSTOM, [open_source(mine)])
    assert len(layout.images) == 60 and sum(layout.left_out.values()) == 2


def test_a_tar_cut_within_a_header_is_not_whole(mine):
    path = packed(mine, "tar")
    with tarfile.open(path) as archive:
        offsets = [info.offset for info in archive if info.isreg()]
    whole = path.read_bytes()
    for cut in (offsets[20], offsets[20] + 100):
        path.write_bytes(whole[:cut])
        assert "unexpected end of data" in refusal(open_source, path)


def test_names_are_read_as_they_are_called_in_the_archive(tmp_path):
    path = tmp_path / "windows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(("photos\\cup\\a.jpg", "./sketches/cup/b.png")):
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, picture(number))
        link = zipfile.ZipInfo("photos/cup/link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    (tmp_path / "out").mkdir()
    layout = recognise(CUSTOM, [open_source(path)])
    assert place(layout.images, CopyOptions(tmp_path / "out", side=0, copies=False, workers=1)).images == 2
    assert (tmp_path / "out/photos/cup/a.jpg").read_bytes() == picture(0)


@pytest.mark.parametrize("kind", ["zip", "tgz", "7z"])
def test_files_that_are_read_at_once(mine, kind):
    archive = open_source(packed(mine, kind))
    names = ["mine/photos/cup/cup_0.jpg", "mine/sketches/bell/bell_1.png"]
    expected = {name: (mine.parent / name).read_bytes() for name in names}
    assert archive.read(names, largest=1 << 20) == expected
    claim(archive, names[0], 1 << 40)  # as a bomb does
    assert list(archive.read(names, largest=1 << 20)) == names[1:]


def test_links_to_one_folder_by_several_names_all_count(tmp_path):
    write_tree(tmp_path / "mine/raw", ["cup"], 1, 1)
    for kind in ("photos", "sketches"):
        (tmp_path / "mine" / kind).mkdir()
        (tmp_path / "mine" / kind / "cup").symlink_to(tmp_path / "mine/raw" / kind / "cup")
    names = open_source(tmp_path / "mine").names
    assert {"photos/cup/cup_0.jpg", "raw/photos/cup/cup_0.jpg"} <= set(names)
