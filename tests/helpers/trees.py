"""Folders and archives of images for tests of the preparation."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.catalog import CUSTOM, Dataset, published_classes
from preparation.archives import open_source
from preparation.config import FileOptions
from preparation.copying import copy_images
from preparation.layouts import Layout, recognise
from utils.errors import InputError


def picture(number: int, side: int = 40, kind: str = "PNG") -> bytes:
    """An image file of random colours; another number, other colours."""
    pixels = np.random.default_rng(number).integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(np.kron(pixels, np.ones((4, 4, 1), np.uint8))).save(content, kind)
    return content.getvalue()


def write_tree(
    root: Path,
    classes: list[str],
    photos: int,
    sketches: int,
    photo_folder: str = "photos",
    sketch_folder: str = "sketches",
    side: int = 40,
) -> Path:
    """`<root>/<kind>/<class>/<class>_<n>` with images that all differ; of `side` 0 with empty files."""
    number = 0
    for folder, count, suffix, kind in ((photo_folder, photos, "jpg", "JPEG"), (sketch_folder, sketches, "png", "PNG")):
        for name in classes:
            for n in range(count):
                (root / folder / name).mkdir(parents=True, exist_ok=True)
                number += 1
                content = picture(number, side, kind) if side else b""
                (root / folder / name / f"{name}_{n}.{suffix}").write_bytes(content)
    return root


def write_published(
    root: Path, dataset: Dataset, split: str, photos: int = 2, sketches: int = 6
) -> dict[str, set[tuple[str, int]]]:
    """Empty files named as in a published split; what its lists say: {`photo`/`sketch` + `train`/`zero`: (path, class id)}."""
    lists = {}
    for part, classes in zip(("train", "zero"), published_classes(dataset, split), strict=True):
        for kind, folder, count in (("photo", dataset.photo_folder, photos), ("sketch", dataset.sketch_folder, sketches)):
            base = root / dataset.folder
            write_tree(base, classes, *((count, 0) if kind == "photo" else (0, count)), folder, folder, side=0)
            suffix = "jpg" if kind == "photo" else "png"
            lists[f"{kind} {part}"] = {
                (f"{folder}/{name}/{name}_{n}.{suffix}", label) for label, name in enumerate(classes) for n in range(count)
            }
    return lists


def listed(folder: Path, *names: str) -> set[tuple[str, int]]:
    """What these lists of a split say, as a set; none may say anything twice."""
    lines = [line for name in names for line in (folder / name).read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len(set(lines))
    return {(path, int(label)) for path, _, label in (line.rpartition(" ") for line in lines)}


def put(path: Path, content: bytes) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def packed(path: Path, members: list[tuple[str, bytes]]) -> Path:
    """An archive of these (name, content), of the kind that its suffix says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    elif path.suffix == ".7z":
        with pytest.importorskip("py7zr").SevenZipFile(path, "w") as archive:
            for name, content in members:
                archive.writestr(content, name)
    else:
        with tarfile.open(path, {".tar": "w", ".tgz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}[path.suffix]) as archive:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def packed_tree(tree: Path, kind: str) -> Path:
    """The files of a folder, with its name before theirs, in an archive of this kind beside it."""
    files = sorted(file for file in tree.rglob("*") if file.is_file())
    members = [(str(file.relative_to(tree.parent)), file.read_bytes()) for file in files]
    return packed(tree.with_name(f"packed.{kind}"), members)


def refusal(function: Callable[..., object], *arguments: object) -> str:
    """The one line of the InputError that a call raises."""
    with pytest.raises(InputError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def copied(folder: Path, source: Path) -> Layout:
    """Put the images of a source of your own classes into a new folder."""
    folder.mkdir()
    layout = recognise(CUSTOM, [open_source(source)])
    copy_images(layout.images, folder, FileOptions(side=0, num_workers=1))
    return layout
