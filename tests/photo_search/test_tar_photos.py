"""Which photos a tar shard holds, and what is refused."""

import gzip
import io
import os
import tarfile

import pytest

from datasets.images import decode
from photo_search.tar_photos import LARGEST_PHOTO, read_member, scan
from tests.helpers.guard import guarded
from tests.helpers.trees import packed, picture, refusal

PNG = picture(1)
WHOLE = [("a.png", PNG), ("b.png", picture(2))]


def keys(path):
    return [photo.path.removeprefix(f"{path}/") for photo in scan(str(path), str(path)).photos]


def test_samples_are_those_of_webdataset(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    names = ["a.json", "a.png", "b.txt", "c.PNG", "c.jpg", "in/folder.v2/d.seg.png", "in/folder.v2/d.cls", "e.x.y.jpeg", "f"]
    names += ["__meta__.png", "__more__/g.png", ".hidden.png", "h é.png", "in/a.png"]
    path = packed(tmp_path / "shard.tar", [(name, f"{name}".encode()) for name in names])
    expected = {}
    for sample in webdataset.WebDataset(str(path), shardshuffle=False):
        images = [content for suffix, content in sample.items() if suffix.endswith(("png", "jpg", "jpeg"))]
        if images:
            expected[sample["__key__"]] = images[0]
    found = scan("shard", str(path)).photos
    assert len(expected) == 7
    assert {photo.path.removeprefix("shard/"): read_member(photo, str(path)).read() for photo in found} == expected


def member(name, kind=tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def with_members(path, *infos):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in WHOLE:
            archive.addfile(member(name, size=len(content)), io.BytesIO(content))
        for info in infos:  # headers without content
            archive.offset += archive.fileobj.write(info.tobuf(archive.format, archive.encoding, archive.errors))
    return path


def test_links_devices_and_hidden_files_are_no_photos(tmp_path):
    others = [member("l.png", tarfile.SYMTYPE, linkname="/etc/passwd"), member("h.png", tarfile.LNKTYPE, linkname="a.png")]
    others += [
        member(f"{kind.decode()}.png", kind) for kind in (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE)
    ]
    assert keys(with_members(tmp_path / "shard.tar", *others, member("._a.png"))) == ["a", "b"]


def test_a_folder_that_was_packed_as_dot(tmp_path):
    assert keys(packed(tmp_path / "shard.tar", [("./a.png", PNG), ("./in/./b.png", PNG)])) == ["a", "in/b"]


def without_end(path):
    return path.read_bytes()[: 2 * (512 + 512 * -(-len(PNG) // 512))]


def cuts(path):
    """Contents of the shard, cut short or damaged, and what is said of each."""
    content, boundary = path.read_bytes(), without_end(path)
    return [
        (b"", "empty"),
        (content[:300], "truncated"),
        (boundary[:-700], "unexpected end"),  # in the last member
        (boundary, "cut short"),
        (boundary[: len(boundary) // 2 + 100], "cut short"),  # in a header
        (boundary[: len(boundary) // 2] + b"?" * 512 + content[len(boundary) // 2 + 512 :], "damaged header"),
        (b"<html>" * 300, "not a whole tar file"),
        (gzip.compress(content), "is compressed; unpack it (gunzip)"),
    ]


@pytest.mark.parametrize("number", range(8))
def test_what_is_no_whole_tar_file_is_refused(tmp_path, number):
    path = packed(tmp_path / "shard.tar", WHOLE)
    content, wrong = cuts(path)[number]
    path.write_bytes(content)
    line = refusal(scan, "the shard", str(path))
    assert line.startswith("the shard: ") and wrong in line


NAMES = [
    "/etc/a.png",
    "../a.png",
    "in/../../a.png",
    "in//a.png",
    "a\nb.png",
    "a\0b.png",
    "\x1b[31m.png",
    "in/" + "a" * 2000 + ".png",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_no_photo_has_are_refused(tmp_path, name):
    path = with_members(tmp_path / "shard.tar", member("x.png", pax_headers={"path": name}))
    assert "has a name that no photo has" in refusal(scan, "the shard", str(path))


def test_the_reason_why_a_photo_cannot_be_read_is_the_same_each_time(tmp_path):
    path = packed(tmp_path / "shard.tar", [("a.png", b"no image")])
    (photo,) = scan("shard.tar", str(path)).photos
    line = refusal(decode, read_member(photo, str(path)), 32)
    assert line == "shard.tar/a: not a readable image (cannot identify image file 'shard.tar/a'); replace it, or leave it out"


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    for names in (["a.png", "b.png", "a.PNG"], ["a.png", "./a.png"]):
        path = packed(tmp_path / "shard.tar", [(name, PNG) for name in names])
        assert "is there twice" in refusal(scan, "the shard", str(path))


HOSTILE = {
    "sparse": ({"pax_headers": {"GNU.sparse.map": "0,1", "GNU.sparse.size": "9" * 12}}, "is sparse"),
    "beyond the end": ({"size": 1 << 40}, "unexpected end"),
    "leading back": ({"pax_headers": {"size": "-4096"}}, "wrong size"),
    "a huge header": ({"pax_headers": {"comment": "x" * 500_000}}, "claims 488 KiB"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_refused_soon(tmp_path, case):
    fields, wrong = HOSTILE[case]
    path = with_members(tmp_path / "shard.tar", member("c.png"), member("d.png", **fields), member("e.png"))
    with guarded():
        assert wrong in refusal(scan, "the shard", str(path))


def test_headers_that_follow_headers_without_end_are_refused(tmp_path):
    header = member("x", tarfile.GNUTYPE_LONGNAME, size=2).tobuf() + b"a".ljust(512, b"\0")
    path = tmp_path / "shard.tar"
    path.write_bytes(header * 5000)
    with guarded():
        assert "not a whole tar file" in refusal(scan, "the shard", str(path))


def test_a_photo_is_read_from_the_file_that_was_scanned(tmp_path):
    path = packed(tmp_path / "shard.tar", WHOLE)
    first, last = scan(str(path), str(path)).photos
    assert read_member(first, str(path)).read() == PNG
    assert "lies beyond the end" in refusal(read_member, last._replace(offset=10**6), str(path))
    for wrong in ({"size": -1}, {"size": LARGEST_PHOTO + 1}, {"offset": -1}):
        assert "too large" in refusal(read_member, last._replace(**wrong), str(path))
    os.utime(path, ns=(1, 1))
    with pytest.raises(OSError, match="changed"):
        read_member(first, str(path))
