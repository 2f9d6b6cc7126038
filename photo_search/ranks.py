"""The processes of `torchrun … search.py index`, which share the photos. Without torchrun there is one, and no PyTorch."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from utils.cores import usable_cores
from utils.errors import InputError
from utils.workers import end_with_parent

if TYPE_CHECKING:
    from utils.distributed import Distributed

Result = TypeVar("Result")


@dataclass(frozen=True)
class Ranks:
    """This process's rank among `world_size`; `local_world_size` of them run on this machine."""

    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    distributed: "Distributed | None" = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def cores(self) -> int:
        """This rank's share of the machine's cores."""
        return max(1, usable_cores() // self.local_world_size)

    def gather(self, thing: Result) -> list[Result]:
        """What each rank passes, in rank order, on all ranks."""
        return self.distributed.all_gather_objects(thing) if self.distributed else [thing]

    def scatter(self, function: Callable[[], Sequence[Result]]) -> Result:
        """Each rank's item of the list that `function` returns on rank 0; an InputError that it raises there is raised on all."""
        if self.distributed is None:
            return function()[0]
        things: Sequence[Result] | list[InputError] = []
        if self.is_main:
            try:
                things = function()
            except InputError as error:
                things = [error] * self.world_size
        received = self.distributed.scatter_objects(things)
        if isinstance(received, InputError):
            raise received
        return received

    def from_main(self, function: Callable[[], Result]) -> Result:
        """What `function` returns on rank 0, on all ranks; an InputError that it raises there is raised on all."""
        return self.scatter(lambda: [function()] * self.world_size)

    def together(self, function: Callable[[], Result]) -> Result:
        """What `function` returns on this rank; an InputError that it raises on any rank is raised on all, with its machine."""
        if self.distributed is None:
            return function()
        fault, result = None, None
        try:
            result = function()
        except InputError as error:
            fault = error if self.is_main else InputError(f"{error} (rank {self.rank}, on {socket.gethostname()})")
        faults = [each for each in self.gather(fault) if each is not None]
        if faults:
            raise faults[0]
        return result  # type: ignore[return-value]


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started; rank 0 alone prints. Each of them computes on its own GPU, if there are GPUs.

    Raises InputError as `utils.distributed.init_distributed` does.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun; its processes would go on for hours, and hold the index
        end_with_parent()
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield Ranks()
        return
    import torch

    from utils.distributed import init_distributed, use_own_gpu

    with init_distributed("cpu") as distributed:  # over gloo: only small objects are exchanged
        if device != "cpu" and torch.cuda.is_available():
            use_own_gpu(device, distributed.local_rank)
        ranks = Ranks(distributed.rank, distributed.world_size, distributed.local_world_size, distributed)
        if os.environ.get("OMP_NUM_THREADS") == "1":  # torchrun's own default
            torch.set_num_threads(ranks.cores)
            os.environ["OMP_NUM_THREADS"] = str(ranks.cores)  # faiss reads it, once it is imported
        with distributed.only_main_prints():
            yield ranks
