"""The curves of a run, for TensorBoard."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from utils.errors import InputError


@contextlib.contextmanager
def curves(folder: Path, first_epoch: int, wanted: bool = True) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A function (epoch, {name: value}) that writes scalars, or does nothing where TensorBoard is not installed or `wanted`.

    Points that a killed run left from `first_epoch` on are hidden, for they come again.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("no curves: pip install tensorboard")
        wanted = False
    if not wanted:
        yield lambda epoch, values: None
        return
    if (folder / "curves").is_file():
        raise InputError(f"{folder / 'curves'}: is a file where the curves' folder should be; move it away")
    with SummaryWriter(folder / "curves", purge_step=first_epoch) as writer:

        def write(epoch: int, values: dict[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, epoch)
            writer.flush()

        yield write
