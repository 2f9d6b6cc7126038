"""Checkpoint files in the released form: read as data, never run as code; written whole or not at all.

A file is a dict with `epoch` (the next one to train), `arch`, `state_dict` (every key behind `module.`, as DataParallel left it),
`best_acc1` and `optimizer`.
"""

import io
import mmap
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from utils.errors import InputError
from utils.files import atomic_write, why_no_file
from utils.unpickling import NumberType, scalar

PREFIX = "module."
WRITE_ERRORS = ("PytorchStreamWriter", "inline_container", "unexpected pos")  # in messages of torch.save, of a full disk too
# Besides tensors and containers, old files hold a NumPy number (`best_acc1`); nothing here can run code.
ALLOWED: list[Any] = [
    # NumPy renamed its `core` to `_core` in version 2
    (scalar, "numpy.core.multiarray.scalar"),
    (scalar, "numpy._core.multiarray.scalar"),
    (NumberType, "numpy.dtype"),
]
UNBOUNDED = ("builtins bytearray", "__builtin__ bytearray")  # PyTorch allows it; a few bytes can request all memory
REFUSED_GLOBAL = re.compile(r"GLOBAL (\S{1,100})")  # the refused name in PyTorch's long message
ZIP_START = b"PK\x03\x04"
PICKLES_OF_OLD_FILES = 5  # before 2020: magic number, version, system, content, names of the arrays that follow
MAX_EPOCH = 1 << 31
LARGEST_HEADER = 1 << 24  # bytes that name the tensors of a safetensors file; every model of timm needs less


def read_checkpoint(path: Path, option: str = "the checkpoint") -> dict[str, Any]:
    """Load a checkpoint; keys of `state_dict` come without `module.`, and `epoch`, if present, as an int ≥ 0.

    Raises InputError if the file is missing, damaged or truncated, holds other than plain tensors, or needs code to be run.
    """
    content = _load(path, option)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise InputError(f"{path}: no `state_dict` in it; give {option} a checkpoint.pth.tar or model_best.pth.tar")
    _require_printable_keys(content["state_dict"], path)
    content["state_dict"] = without_prefix(content["state_dict"], PREFIX)
    if "epoch" in content:
        content["epoch"] = _epoch(content["epoch"], path)
    return content


def read_tensors(path: Path, option: str = "the checkpoint") -> dict[str, torch.Tensor]:
    """Load a plain state dict from `.pth`, `.pth.tar` (under `state_dict` or `model`) or `.safetensors`; errors as above."""
    is_safetensors = path.suffix == ".safetensors" and path.is_file()
    content = _load_safetensors(path) if is_safetensors else _load(path, option)
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{path}: holds no state dict; give {option} a file of weights")
    _require_printable_keys(content, path)
    return {key: value.detach() for key, value in content.items() if isinstance(value, torch.Tensor)}


def write_checkpoint(
    path: Path,
    *,
    epoch: int,
    arch: str,
    state: dict,
    best: float,
    optimizer: dict | None,
    previous: Path | None = None,
    **extra: Any,
) -> None:
    """Write the released form; `state` without prefix, `epoch` the next one to train, `extra` tensors and containers.

    An existing file is kept as `previous`. Raises InputError if the disk is full; both files are then unchanged.
    """
    content = {
        "epoch": epoch,
        "arch": arch,
        "state_dict": {PREFIX + key: value for key, value in state.items()},
        "best_acc1": torch.tensor(best, dtype=torch.float64),  # float32 would let an equal value look better after --resume
        "optimizer": optimizer,
        **extra,
    }
    with atomic_write(path, previous) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:
            if not any(sign in str(error) for sign in WRITE_ERRORS):
                raise
            raise InputError(
                f"{path}: cannot be written whole; what was saved before stays, so free space and go on with --resume"
            ) from error


def without_prefix(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The same dict with `prefix` removed from the keys that have it."""
    return {key.removeprefix(prefix): value for key, value in state.items()}


def load_state(module: torch.nn.Module, state: dict[str, torch.Tensor], path: Path, optional: tuple[str, ...] = ()) -> list[str]:
    """Copy `state` into `module` and return the keys that the module lacks; keys that start with an `optional` may be missing.

    Raises InputError naming the first key that is missing, no tensor, of another shape, not floating point, or not finite.
    """
    for key, parameter in module.state_dict().items():
        # files from before PyTorch 0.4.1 lack num_batches_tracked, and nothing reads it
        if key not in state and (key.endswith("num_batches_tracked") or key.startswith(optional)):
            continue
        if not isinstance(state.get(key), torch.Tensor):
            raise InputError(f"{path}: `{key}` is missing or not a tensor; this is not a whole checkpoint of this network")
        is_same_counter = key.endswith("num_batches_tracked") and state[key].numel() == 1  # some files hold a vector
        if state[key].shape != parameter.shape and not is_same_counter:
            found, wanted = tuple(state[key].shape), tuple(parameter.shape)
            raise InputError(f"{path}: `{key}` is {found}, but the options ask for {wanted}")
        if parameter.is_floating_point():
            require_finite_floats(key, state[key], path)
    own = module.state_dict()
    module.load_state_dict({k: state[k].reshape(v.shape) if k in state else v for k, v in own.items()})
    return sorted(key for key in state if key not in own)


def require_finite_floats(key: str, value: torch.Tensor, path: Path | str) -> None:
    """Raise InputError naming the key unless all values are finite floating-point numbers."""
    if not value.is_floating_point():
        dtype = str(value.dtype).removeprefix("torch.")
        raise InputError(f"{path}: `{key}` is {dtype}, not floats; this is not a checkpoint of this network")
    if not torch.isfinite(value).all():
        raise InputError(f"{path}: `{key}` is not finite; the run that wrote it had failed, so take an earlier checkpoint")


def _load(path: Path, option: str) -> Any:
    """Load an object of tensors and containers that torch.save wrote, on the CPU.

    Raises InputError if the file is missing or truncated, fails its checksums (files from before 2020 have none), holds tensors
    that are not plain arrays, or needs code to be run.
    """
    if not path.is_file():
        raise InputError(f"{path}: {why_no_file(path)}; {option} needs a checkpoint file")
    try:
        with torch.serialization.safe_globals(ALLOWED), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _require_intact(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a damaged file can fail anywhere in unzipping, unpickling or rebuilding
        refused = REFUSED_GLOBAL.search(str(error))
        if refused:
            raise _more_than_weights(path, refused[1]) from error
        raise InputError(f"{path}: damaged or not a PyTorch file; fetch or save it again") from error
    _require_plain_tensors(content, path)
    return content


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            if int.from_bytes(file.read(8), "little") > LARGEST_HEADER:
                raise ValueError("header too long")
        tensors = load_file(path)
    except Exception as error:  # SafetensorError is not public, and truncation raises others
        raise InputError(f"{path}: damaged or not a safetensors file; fetch it again") from error
    _require_plain_tensors(tensors, path)
    return tensors


def _require_intact(path: Path) -> None:
    """Raise InputError if a record is compressed or fails its checksum, which PyTorch does not verify.

    Other damage raises what `zipfile` and `pickletools` raise.
    """
    with path.open("rb") as file:
        if file.read(len(ZIP_START)) != ZIP_START:
            # its reads are never longer than the file, whatever length a pickle claims
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for _ in range(PICKLES_OF_OLD_FILES):
                    _require_bounded(content, path)
            return
        with zipfile.ZipFile(file) as archive:
            _require_intact_records(archive, path)
            for name in archive.namelist():
                if name.endswith("/data.pkl"):
                    _require_bounded(io.BytesIO(archive.read(name)), path)


def _require_intact_records(archive: zipfile.ZipFile, path: Path) -> None:
    records = archive.infolist()
    are_stored = all(
        record.compress_type == zipfile.ZIP_STORED and record.compress_size == record.file_size for record in records
    )
    if not are_stored or len(set(archive.namelist())) < len(records):
        raise InputError(f"{path}: refused, because it has compressed records, or two of one name; save it again with torch.save")
    damaged = archive.testzip()
    if damaged:
        name = damaged.partition("/")[2]
        raise InputError(f"{path}: damaged: the checksum of {name} does not match its content; fetch or save it again")


def _require_bounded(file: Any, path: Path) -> None:
    """Read the instructions of one pickle from a binary file without executing them.

    Raises InputError if one requests memory by a number alone, ValueError if its argument is longer than the file.
    """
    for _, argument, _ in pickletools.genops(file):
        if argument in UNBOUNDED:
            raise _more_than_weights(path, argument.replace(" ", "."))


def _more_than_weights(path: Path, name: str) -> InputError:
    return InputError(f"{path}: refused, because its pickle names `{name}`, which no weights need; get a file of tensors only")


def _require_plain_tensors(content: Any, path: Path) -> None:
    """Raise InputError unless all tensors are dense CPU arrays of real numbers no larger than the file."""
    size = path.stat().st_size
    for key, value in _tensors(content):
        if not _is_plain(value, size):
            raise InputError(f"{path}: `{key}` is no dense array of real numbers that the file holds; fetch or save it again")


def _is_plain(value: torch.Tensor, file_size: int) -> bool:
    if type(value) not in (torch.Tensor, torch.nn.Parameter) or value.__dict__:
        return False
    if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.device.type != "cpu":
        return False
    room = value.untyped_storage().nbytes()
    return room <= file_size and value.numel() * value.element_size() <= room


def _tensors(content: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors in nested containers, each with the innermost key that leads to it; containers may contain themselves."""
    seen: set[int] = set()
    left: list[tuple[str, Any]] = [("content", content)]
    while left:
        name, value = left.pop()
        if isinstance(value, torch.Tensor):
            yield name, value
        elif isinstance(value, (dict, list, tuple, set)) and id(value) not in seen:
            seen.add(id(value))
            left += value.items() if isinstance(value, dict) else [(name, item) for item in value]


def _epoch(value: Any, path: Path) -> int:
    try:
        if int(value) == value and 0 <= value < MAX_EPOCH:
            return int(value)
    except (OverflowError, RuntimeError, TypeError, ValueError):
        pass  # NaN, infinity, not a number
    raise InputError(f"{path}: its `epoch` is no count of epochs; fetch or save it again")


def _require_printable_keys(state: dict, path: Path) -> None:
    if not all(isinstance(key, str) and key.isprintable() for key in state):
        raise InputError(f"{path}: its state dict has keys that are no names; this is not a checkpoint of this network")
