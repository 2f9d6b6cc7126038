"""Images that are odd, damaged or made to harm: each is read right, or refused by name."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageOps

from datasets.images import decode
from tests.helpers.photos import asymmetric
from utils.errors import InputError


def png(bits: int, colour: int, rows: bytes, size: tuple[int, int], *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file out of its parts; `rows` are the pixels, each row behind its filter byte."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0))
    rest = b"".join(chunk(*each) for each in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + rest + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def refusal(path) -> str:
    """The message, once it is sure that nothing was said besides."""
    with warnings.catch_warnings(record=True) as said, pytest.raises(InputError, match=str(path)) as error:
        warnings.simplefilter("always")
        decode(path, 8)
    assert not said
    return str(error.value)


@pytest.mark.parametrize("size", [(10000, 10000), (20000, 20000), (60000, 60000)])
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, size, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(8, 0, b"", size))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    message = refusal(path)
    assert f"{size[0] * size[1]} pixels" in message
    assert "make the image smaller" in message


def test_a_text_block_that_unpacks_to_much_is_refused(tmp_path):
    path = tmp_path / "bomb.png"
    text = (b"zTXt", b"note\0\0" + zlib.compress(bytes(200_000_000)))
    path.write_bytes(png(8, 0, b"\0\0", (1, 1), text))
    assert "not a readable image" in refusal(path)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_grey_of_16_bits_is_scaled(tmp_path, suffix):
    values = np.array([[0, 100, 257, 32768], [40000, 60000, 65000, 65535]], dtype=np.uint16).repeat(2, axis=0)
    path = tmp_path / f"a.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 4 4 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    expected = np.rint(values / 257.0)
    assert (decode(path, 4) == expected[:, :, None]).all()


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_grey_tiff_of_16_bits_is_scaled_whatever_its_byte_order(tmp_path, byte_order):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(byte_order, np.array([[0, 65535], [257 * 9, 257 * 200]], dtype=np.uint16)))
    assert decode(path, 2)[:, :, 0].tolist() == [[0, 255], [9, 200]]


def tiff(byte_order: str, values: np.ndarray, bits: int = 16, black_is_zero: int = 1) -> bytes:
    """One uncompressed strip of grey."""
    pixels = values.astype(f"{byte_order}u{bits // 8}").tobytes()
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, black_is_zero), (273, 8), (277, 1), (278, height)]
    entries = [struct.pack(byte_order + "HHII", tag, 4, 1, value) for tag, value in [*tags, (279, len(pixels))]]
    start = (b"II*\0" if byte_order == "<" else b"MM\0*") + struct.pack(byte_order + "I", 8 + len(pixels))
    return start + pixels + struct.pack(byte_order + "H", len(entries)) + b"".join(entries) + bytes(4)


def test_grey_tiff_whose_white_is_unknown_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff("<", np.zeros((2, 2)), bits=32))
    assert "no known white" in refusal(path)
    path.write_bytes(tiff("<", np.zeros((2, 2)), black_is_zero=0))
    assert "no known white" in refusal(path)


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_of_16_bits_is_scaled(tmp_path, channels):
    values = np.array([[0, 128 * 257, 65535, 65535][:channels]], dtype=">u2")
    path = tmp_path / "a.png"
    path.write_bytes(png(16, {3: 2, 4: 6}[channels], b"\0" + values.tobytes(), (1, 1)))
    assert decode(path, 1).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("mode", ["F", "I"])
def test_values_without_a_known_range_are_refused(tmp_path, mode):
    Image.new(mode, (4, 4), 1).save(tmp_path / "a.tif")
    assert "no known white" in refusal(tmp_path / "a.tif")


def test_a_transparent_colour_in_other_than_8_bits_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png(16, 2, bytes(7), (1, 1), (b"tRNS", bytes(6))))
    assert "transparent colour" in refusal(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(png(4, 0, bytes(2), (1, 1), (b"tRNS", bytes(2))))
    assert "transparent colour" in refusal(tmp_path / "a.png")


def test_a_transparent_colour_shows_paper(tmp_path):
    rows = b"\0" + bytes([10, 20, 30, 40, 50, 60])
    (tmp_path / "a.png").write_bytes(png(8, 2, rows, (2, 1), (b"tRNS", struct.pack(">HHH", 10, 20, 30))))
    assert decode(tmp_path / "a.png", 2)[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_a_palette_with_transparency_shows_paper(tmp_path):
    rows, palette = b"\0\0\1\2", bytes([9, 8, 7, 100, 0, 0, 0, 200, 0])
    content = png(8, 3, rows, (3, 1), (b"PLTE", palette), (b"tRNS", bytes([0, 255])))
    (tmp_path / "a.png").write_bytes(content)
    assert decode(tmp_path / "a.png", 3)[0].tolist() == [[255, 255, 255], [100, 0, 0], [0, 200, 0]]


def test_half_transparent_grey_is_half_paper(tmp_path):
    Image.new("LA", (4, 4), (100, 51)).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", 4).tolist() == np.full((4, 4, 3), 224).tolist()  # 100 · 0.2 + 255 · 0.8


def test_a_printers_jpeg_keeps_its_colours(tmp_path):
    """Adobe's CMYK is stored inverted."""
    photo = asymmetric(64, 48)
    photo.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()
    expected = np.array(photo.resize((16, 16), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode(tmp_path / "a.jpg", 16) - expected).max() < 16


@pytest.mark.parametrize(
    ("suffix", "size"), [("jpg", (60, 40)), ("png", (60, 40)), ("tif", (60, 40)), ("webp", (60, 40)), ("jpg", (1601, 1203))]
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_shown_upright(tmp_path, suffix, size, orientation):
    """The last one is large enough to be decoded at a fraction of its size."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    asymmetric(*size).save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        expected = np.array(image.resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode(path, 32).astype(int) - expected).max() <= (8 if size[0] > 1000 else 1)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_damaged_exif_block_does_not_matter(tmp_path, recwarn, suffix):
    photo = asymmetric(40, 40)
    for block in (
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(30),
    ):
        photo.save(tmp_path / f"a.{suffix}", exif=block)
        photo.save(tmp_path / f"plain.{suffix}")
        assert (decode(tmp_path / f"a.{suffix}", 40) == decode(tmp_path / f"plain.{suffix}", 40)).all()
    assert not len(recwarn)


def test_the_content_counts_and_not_the_suffix(tmp_path):
    asymmetric(16, 16).save(tmp_path / "drawing.png")
    (tmp_path / "drawing.png").rename(tmp_path / "drawing.jpg")
    assert (decode(tmp_path / "drawing.jpg", 16) == np.array(asymmetric(16, 16))).all()
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>")
    assert "not a readable image" in refusal(tmp_path / "page.jpg")


def test_no_program_is_called_for_a_drawing_in_postscript(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    asymmetric(16, 16).save(path, "EPS")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("called"))
    assert "not a readable image" in refusal(path)


@pytest.mark.parametrize("kind", ["ICO", "ICNS", "TGA", "PCX", "SGI", "JPEG2000", "PDF", "DDS"])
def test_kinds_that_are_no_photos_are_refused(tmp_path, kind):
    asymmetric(64, 64).save(tmp_path / "a.jpg", kind)
    assert "not a readable image" in refusal(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_the_first_frame_of_a_moving_picture_is_taken(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    keep = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **keep)
    assert decode(tmp_path / f"a.{suffix}", 8)[3, 3].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.9])
def test_a_truncated_file_is_refused_whatever_its_kind(tmp_path, kind, share):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(stream, kind)
    path = tmp_path / "cut"
    path.write_bytes(stream.getvalue()[: int(share * len(stream.getvalue()))])
    assert "not a readable image" in refusal(path)


def test_what_the_published_datasets_hold_is_read_to_the_last_bit(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8)
    for name, image in {"rgb": Image.fromarray(pixels), "grey": Image.fromarray(pixels[:, :, 0])}.items():
        for suffix in ("jpg", "png"):
            path = tmp_path / f"{name}.{suffix}"
            image.save(path)
            with Image.open(path) as whole:
                expected = np.array(whole.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
            assert (decode(path, 32) == expected).all()
