"""HEIC and AVIF images: read if a library for them is installed, otherwise refused with the command that installs it."""

import importlib.metadata
import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from datasets.bad_images import readable
from datasets.file_lists import FileList
from datasets.images import INSTALL, decode, is_read, opened_within
from tests.helpers.photos import asymmetric
from utils.errors import InputError

KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(not is_read(kind), reason=f"needs: {INSTALL[kind]}")) for kind in ("HEIC", "AVIF")
]
each_kind = pytest.mark.parametrize("kind", KINDS)
heic = pytest.mark.skipif(not is_read("HEIC"), reason=f"needs: {INSTALL['HEIC']}")


def content(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    lossless = {"quality": 100, "subsampling": "4:4:4"} if kind == "AVIF" else {"quality": -1, "chroma": 444}
    image.save(stream, "HEIF" if kind == "HEIC" else kind, **lossless, **options)
    return stream.getvalue()


def noise(side: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


@each_kind
def test_a_photo_is_read_whatever_its_name(tmp_path, kind):
    path = tmp_path / "photo.jpg"  # so do some programs export them
    path.write_bytes(content(asymmetric(60, 40), kind))
    expected = np.array(asymmetric(60, 40).resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode(path, 32) - expected).max() <= 6


@each_kind
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_turned_once(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    asymmetric(60, 40).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        upright = ImageOps.exif_transpose(image).resize((32, 32), Image.Resampling.BILINEAR)
    (tmp_path / "a.heic").write_bytes(content(asymmetric(60, 40), kind, exif=exif.tobytes()))
    assert np.abs(decode(tmp_path / "a.heic", 32) - np.array(upright).astype(int)).max() <= 6


@each_kind
def test_half_transparent_pixels_are_half_paper(tmp_path, kind):
    for mode in ("RGBA", "RGBa"):
        (tmp_path / "a").write_bytes(content(Image.new("RGBA", (64, 64), (200, 100, 50, 51)).convert(mode), kind))
        assert np.abs(decode(tmp_path / "a", 8)[4, 4] - np.array([244, 224, 214])).max() <= 3


@heic
def test_more_than_8_bits_a_channel_are_scaled(tmp_path):
    import pillow_heif

    for mode, channels in (("L;16", 1), ("RGB;16", 3)):
        values = np.full((64, 64, channels), 100 * 257, np.uint16)
        pillow_heif.from_bytes(mode, (64, 64), values.tobytes()).save(tmp_path / "a.heic", quality=-1)
        assert np.abs(decode(tmp_path / "a.heic", 8).astype(int) - 100).max() <= 1


@each_kind
def test_too_many_pixels_are_refused_before_they_are_decoded(kind):
    photo = io.BytesIO(content(noise(64), kind))
    assert opened_within(photo, 16, 64 * 64)[0].size == (16, 16)
    with pytest.raises(InputError, match="too large"):
        opened_within(photo, 16, 64 * 64 - 1)


@heic
def test_a_file_that_lies_about_its_size_is_refused(tmp_path):
    honest = content(noise(64), "HEIC")
    at = honest.index(b"ispe") + 8
    for side, message in ((32, "not a readable image"), (60_000, "too large")):
        (tmp_path / "a.heic").write_bytes(honest[:at] + struct.pack(">II", side, side) + honest[at + 8 :])
        with pytest.raises(InputError, match=message):
            decode(tmp_path / "a.heic", 8)


@each_kind
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path, capfd, kind, share):
    whole = content(noise(64), kind)
    (tmp_path / "cut.heic").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match="not a readable image"):
        decode(tmp_path / "cut.heic", 8)
    assert capfd.readouterr() == ("", "")


@heic
@pytest.mark.parametrize("workers", [0, 2])
def test_worker_processes_read_them(tmp_path, workers):
    for name in ("a.heic", "b.heic"):
        (tmp_path / name).write_bytes(content(asymmetric(40, 40), "HEIC"))
    photos = FileList(tmp_path / "list.txt", tmp_path, ["a.heic", "b.heic"], np.zeros(2, dtype=np.int64))
    good, messages = readable(photos, workers)
    assert good.paths == photos.paths and messages == []


def test_without_the_library_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(features, "modules", {})
    for kind, brand in (("HEIC", b"heic"), ("AVIF", b"avif")):
        path: Path = tmp_path / f"photo.{kind}"
        path.write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(4) + b"mif1" + brand + bytes(100))
        with pytest.raises(InputError) as error:
            decode(path, 8)
        why = "needs a library that is missing or too old"
        assert str(error.value).startswith(f"{path}: reading {kind} images {why}: {INSTALL[kind]}; or save it as")


@heic
def test_an_old_version_of_the_library_counts_as_missing(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(content(asymmetric(40, 40), "HEIC"))
    for version, is_new in {"0.22.0": False, "1.4.9": False, "1.5.0": True, "1.10rc1": True, "2.0": True}.items():
        monkeypatch.setattr(importlib.metadata, "version", lambda name, version=version: version)
        assert is_read("HEIC") == is_new, version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.4.9")
    with pytest.raises(InputError, match=r"missing or too old: pip install 'pillow-heif>=1\.5'"):
        decode(tmp_path / "a.heic", 8)
