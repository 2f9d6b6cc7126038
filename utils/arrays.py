"""Read `.npz` files from untrusted sources: no code in them is run, and headers are checked before memory is reserved."""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from utils.errors import InputError
from utils.files import why_no_file


def read_npz(
    path: Path,
    required: Sequence[str],
    optional: str = "",
    advice: str = "write the file again",
    largest: int | None = None,
) -> dict[str, np.ndarray]:
    """Load the `required` arrays, and those whose names match the pattern `optional`, as {name: array}.

    largest: bytes that all arrays together may unpack to; None: no limit but memory. `advice` ends each error message. Raises
    InputError if the file is missing or damaged, lacks a required array, holds objects, or declares more than it has or may have.
    """
    if not path.is_file():
        raise InputError(f"{path}: {why_no_file(path)}; {advice}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if largest is not None and sum(info.file_size for info in archive.infolist()) > largest:
                raise InputError(f"{path}: declares more than {largest >> 20} MiB; {advice}")
            missing = [name for name in required if name not in members]
            if missing:
                raise InputError(f"{path}: has no array `{missing[0]}`; {advice}")
            wanted = [*required, *(name for name in members if re.fullmatch(optional, name))]
            return {name: _read(path, archive, members[name], advice) for name in wanted}
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: does not fit into memory; {advice}") from error
    except Exception as error:  # a damaged archive can fail anywhere in unzipping and in reading a header
        raise InputError(f"{path}: damaged, or not a .npz file of plain arrays; {advice}") from error


def _read(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, advice: str) -> np.ndarray:
    name = info.filename.removesuffix(".npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others unpack without a bound
        raise InputError(f"{path}: `{name}` is packed in a way NumPy does not pack; {advice}")
    with archive.open(info) as member:
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, _, dtype = readers[npy.read_magic(member)](member)
        held = info.file_size - member.tell()
    if dtype.hasobject or dtype.fields or not dtype.itemsize:
        raise InputError(f"{path}: `{name}` holds {dtype}, not plain numbers or text; {advice}"[:400])
    # NumPy reserves what a header declares before it reads, so that must be what there is
    if min(shape, default=0) < 0 or int(np.prod(shape, dtype=object)) * dtype.itemsize != held:
        raise InputError(f"{path}: `{name}` declares shape {str(shape)[:60]}, and has {held} bytes for it; {advice}")
    with archive.open(info) as member:
        return npy.read_array(member, allow_pickle=False)
