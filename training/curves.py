"""Loss and validation curves for TensorBoard."""

import contextlib
from pathlib import Path
from typing import Any

from utils.errors import InputError


class Curves(contextlib.ExitStack):
    """A context that writes scalars to `folder/curves`, created by the first `write`; does nothing without TensorBoard.

    Points that an interrupted run wrote for this and later epochs are hidden.
    """

    def __init__(self, folder: Path, enabled: bool = True):
        super().__init__()
        self.folder, self.enabled = folder / "curves", enabled
        self._writer: Any = None

    def write(self, epoch: int, values: dict[str, float]) -> None:
        """Add one point to each curve. Raises InputError if `folder/curves` is a file."""
        if self.enabled and self._writer is None:
            self._open(epoch)
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, epoch)
            self._writer.flush()

    def _open(self, epoch: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            print("no curves: pip install tensorboard")
            self.enabled = False
            return
        if self.folder.is_file():
            raise InputError(f"{self.folder}: is a file where the curves' folder should be; move it away")
        self._writer = self.enter_context(SummaryWriter(self.folder, purge_step=epoch))
