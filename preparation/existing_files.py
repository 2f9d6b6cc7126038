"""Which images are in their place already, and whether what is there is theirs."""

import contextlib
import filecmp
import os
import zlib
from pathlib import Path

from preparation.copying import CopyOptions
from preparation.layouts import Image
from preparation.sources import BUFFER, Folder, Source, Zip
from utils.errors import InputError


def missing(images: list[Image], manner: CopyOptions, known: dict[Source, int], force: bool) -> list[Image]:
    """Those of the images that are not in their place yet; with `force`, all but those that lie there themselves.

    `known`: sources that an earlier run began to place in the same manner, and since when. A file that is the image gives way to
    a copy or a shrunk one, where those are wanted. Raises InputError if any other file is in an image's place.
    """
    present = _present(manner.root, {image.target for image in images})
    return [image for image in images if image.target not in present or _is_wanted(image, manner, known.get(image.source), force)]


def _is_wanted(image: Image, manner: CopyOptions, since: int | None, force: bool) -> bool:
    """Whether to replace what has the image's name."""
    if force or _lies_there(image, manner.root):
        return not _lies_there(image, manner.root)
    target = manner.root / image.target
    is_itself = _is_itself(image, manner.root)
    if since is not None and (is_itself or _was_written(image, target, since)):
        return False
    if not is_itself and not _is_equal(image, target):
        raise InputError(
            f"{target}: is there already, and not the same as {image.source.path}/{image.name}; replace such files with --force, "
            "or choose another --output"
        )
    return manner.side_of(image) > 0 or (manner.copies and is_itself)


def _present(root: Path, targets: set[str]) -> set[str]:
    """Those targets that exist and are not empty, which a machine that lost its power may leave behind."""
    found = set()
    for folder in {target.rpartition("/")[0] for target in targets}:
        with contextlib.suppress(FileNotFoundError), os.scandir(root / folder) as entries:
            found |= {f"{folder}/{entry.name}" for entry in entries if entry.is_symlink() or entry.stat().st_size}
    return found & targets


def _was_written(image: Image, target: Path, since: int) -> bool:
    """Whether the target was put there since then, and its source has not changed after that."""
    if not target.is_file() or target.stat().st_mtime_ns < since:
        return False
    return not isinstance(image.source, Folder) or _changed(image) <= target.stat().st_mtime_ns


def _changed(image: Image) -> int:
    return image.source.file(image.name).stat().st_mtime_ns


def _lies_there(image: Image, root: Path) -> bool:
    """Whether the source's own file is the target: the dataset is prepared in its place."""
    if not isinstance(image.source, Folder):
        return False
    source, target = image.source.file(image.name), root / image.target
    return source.name == target.name and os.path.samefile(source.parent, target.parent)


def _is_itself(image: Image, root: Path) -> bool:
    """Whether the target is the source's own file, there or by another name."""
    with contextlib.suppress(FileNotFoundError):  # a link that leads nowhere
        return isinstance(image.source, Folder) and os.path.samefile(image.source.file(image.name), root / image.target)
    return False


def _is_equal(image: Image, target: Path) -> bool:
    source = image.source
    if not target.is_file():
        return False
    if isinstance(source, Folder):
        return filecmp.cmp(source.file(image.name), target, shallow=False)
    if isinstance(source, Zip) and target.stat().st_size == source.members[image.name].size:
        return _checksum(target) == source.members[image.name].checksum
    return False


def _checksum(path: Path) -> int:
    """CRC-32, as zip files have it."""
    checksum = 0
    with path.open("rb") as file:
        while content := file.read(BUFFER):
            checksum = zlib.crc32(content, checksum)
    return checksum
