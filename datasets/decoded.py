"""Training images decoded once for all epochs, and for all runs if on disk: `--cache disk`, `--cache ram`.

The pixels of all images lie one after the other in one file, which every worker process maps into its memory. On disk its
name follows from what the pixels depend on: the images (each one's path, size and time of change), their side, the code
and the library that decode. If any of these differs, another file is made. In RAM the file has no name and goes with the run.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.features
from torch.utils.data import Dataset

from datasets.image_files import Batch, ImageFiles, as_batch, require_readable
from datasets.loading import Loading
from utils.distributed import Distributed
from utils.errors import InputError
from utils.files import atomic_write, wait_for_lock
from utils.fingerprints import fingerprint
from utils.progress import progress_bar
from utils.ram import available_memory, format_bytes

CHUNK = 64  # images decoded at a time
CODE = ("datasets/images.py", "datasets/image_files.py", "datasets/decoded.py")
VERSIONS = {"pillow": PIL.__version__, "jpeg": PIL.features.version("jpg"), "zlib": PIL.features.version("zlib")}
MEMORY_SHARE = 0.8  # of what is free; the training needs the rest
ABANDONED_SECONDS = 180  # a run that decodes writes every few seconds


class DecodedImages(Dataset):
    """The same batches as `ImageFiles`, from a file of pixels: (n, side, side, 3) uint8 without a header."""

    def __init__(self, path: str | Path, labels: np.ndarray, side: int):
        self.path, self.labels, self.side = path, labels, side
        self.pixels = self._mapped()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, rows: list[int]) -> Batch:
        return as_batch(self.pixels[rows], self.labels[rows])

    def __getstate__(self) -> dict:
        """For a worker process that is not a fork: where the pixels are, not what they are."""
        return {name: value for name, value in vars(self).items() if name != "pixels"}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self.pixels = self._mapped()

    def _mapped(self) -> np.ndarray:
        return np.asarray(np.memmap(self.path, np.uint8, mode="r", shape=(len(self.labels), self.side, self.side, 3)))


@dataclass(frozen=True)
class Cache:
    """Where decoded images go: `place` is `disk` (files in `folder`) or `ram`; `workers` processes decode them."""

    place: str
    folder: Path
    workers: int

    def of(self, images: ImageFiles, distributed: Distributed | None = None) -> DecodedImages:
        """The same images, decoded; shows a bar while that takes. The processes of a team that share a machine share them.

        Raises InputError if an image is not readable or the pixels do not fit the disk or the memory.
        """
        distributed = distributed or Distributed()
        path = distributed.once_per_node(lambda: self._in_memory(images) if self.place == "ram" else self._on_disk(images))
        return DecodedImages(path, images.labels, images.side)

    def _on_disk(self, images: ImageFiles) -> Path:
        _remove_what_killed_runs_left(self.folder)
        path = self.folder / f"{images.lists[-1].source.stem}-{images.side}px-{_key(images)}.uint8"
        if not _is_whole(path, images):
            _require_folder(self.folder)
            with wait_for_lock(path.with_suffix(".lock"), f"waiting: another run is decoding into {path}"):
                if not _is_whole(path, images):
                    print(f"decoding {len(images)} images once into {path}", flush=True)
                    with atomic_write(path) as temporary, temporary.open("wb") as file:
                        _reserve(file, _size(images), path)
                        self._decode(images, file)
        print(f"decoded images: {path}, {format_bytes(_size(images))}{_others_beside(path)}")
        return path

    def _in_memory(self, images: ImageFiles) -> str:
        size, available = _size(images), available_memory()
        if not hasattr(os, "memfd_create"):
            raise InputError("--cache ram: needs Linux; use --cache disk or off")
        if available is not None and size > MEMORY_SHARE * available:
            raise InputError(
                f"--cache ram: {len(images)} images of {images.side} px take {format_bytes(size)}, and "
                f"{format_bytes(available)} of memory are free for them and the training; use --cache disk or off"
            )
        print(f"decoding {len(images)} images once into memory", flush=True)
        descriptor = os.memfd_create("decoded images")  # open as long as the run: its workers find it by number
        try:
            with open(descriptor, "wb", closefd=False) as file:
                self._decode(images, file)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                reason = f"{format_bytes(size)} do not fit the memory ({error.strerror})"
                raise InputError(f"--cache ram: {reason}; use --cache disk or off") from error
            raise
        print(f"decoded images: in memory, {format_bytes(size)}")
        return f"/proc/{os.getpid()}/fd/{descriptor}"

    def _decode(self, images: ImageFiles, file: BinaryIO) -> None:
        """Write the pixels of all images in their order."""
        loader = Loading(images, CHUNK, self.workers)
        with progress_bar(len(images), "decoding", "img") as bar:
            for batch in map(require_readable, loader):
                file.write(np.ascontiguousarray(batch.images.permute(0, 2, 3, 1).numpy()))
                bar.update(len(batch.images))
        file.flush()


def _size(images: ImageFiles) -> int:
    return len(images) * images.side * images.side * 3


def _is_whole(path: Path, images: ImageFiles) -> bool:
    try:
        return path.stat().st_size == _size(images)
    except OSError:
        return False


def _key(images: ImageFiles) -> str:
    return fingerprint(CODE, files=[files.fingerprint() for files in images.lists], versions=VERSIONS)


def _require_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"--cache_dir {folder}: nothing can be written there ({error.strerror}); choose another place, or --cache off"
        ) from error


def _reserve(file: BinaryIO, size: int, path: Path) -> None:
    """Claim the space at once, so that a disk that is too full is known before an hour of decoding."""
    free = shutil.disk_usage(path.parent).free
    try:
        if size > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with contextlib.suppress(AttributeError):  # not on every system
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # not on every file system
            return
        raise InputError(
            f"{path}: takes {format_bytes(size)}, and {format_bytes(free)} are free there ({error.strerror}); free space, choose "
            "another place with --cache_dir, or use --cache off"
        ) from error


def _remove_what_killed_runs_left(folder: Path) -> None:
    """Unfinished files that nobody has written to for a while; a run on another machine may be writing to the others."""
    for left in folder.glob(".*.uint8"):
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                left.unlink()


def _others_beside(path: Path) -> str:
    sizes = []
    for other in path.parent.glob("[!.]*.uint8"):
        with contextlib.suppress(FileNotFoundError):
            sizes += [other.stat().st_size] if other != path else []
    if not sizes:
        return ""
    files = "file" if len(sizes) == 1 else "files"
    return f" ({len(sizes)} other such {files} there, {format_bytes(sum(sizes))}: delete what you no longer need)"
