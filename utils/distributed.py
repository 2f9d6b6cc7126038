"""Processes that train one model together, started by `torchrun`; a lone process is a team of one.

Every process sees its share of each batch, gathers what the others computed, and evaluates the same loss on the whole batch.
"""

import contextlib
import datetime
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from utils.errors import InputError
from utils.text import one_line

TIMEOUT = datetime.timedelta(days=1)  # with a process that decodes while the others wait; that one is gone is noticed anyway
GPU_TIMEOUT = datetime.timedelta(minutes=30)  # in a step, or with the slowest to begin one
LOST = ("by peer", "Broken pipe", "Connection refused")  # how gloo's errors speak of a process that is gone


@dataclass(frozen=True)
class Distributed:
    """This process's place among `size` processes; `local` is its number on its machine, which `here` of them share.

    `messages` is the group for small things that the device need not know of; None is the group for everything.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    object_group: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    @contextlib.contextmanager
    def only_main_prints(self) -> Iterator[None]:
        """What the others would print is what the first one prints."""
        if self.is_main:
            yield
            return
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield

    def shard_slice(self, count: int) -> slice:
        """This process's part of `count` things; parts are as even as can be and follow each other in the order of ranks."""
        return shard(count, self.rank, self.world_size)

    def shard_sizes(self, count: int) -> list[int]:
        """How many of `count` things each process has."""
        return [len(range(count)[shard(count, rank, self.world_size)]) for rank in range(self.world_size)]

    def own_positions(self, *parts: int) -> list[int]:
        """Positions of this process's share of a batch that is made of so many sketches, so many photos, one after the other."""
        return shard_positions(parts, self.rank, self.world_size)

    def all_gather(self, rows: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """The rows (n, …) of all processes, in the order of ranks; `counts` says how many each has.

        The gradient is that of a loss which every process computes from the same gathered rows, and whose parameters' gradients
        are then averaged over the processes, as DistributedDataParallel does: no further communication is needed.
        """
        return rows if self.world_size == 1 else _Gathered.apply(rows, counts, self.rank)

    def batch_gatherer(self, *parts: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function own rows → all rows of a batch made of `parts`, in the batch's order (see `own_positions`, `all_gather`)."""
        if self.world_size == 1:
            return lambda rows: rows
        counts = [len(shard_positions(parts, rank, self.world_size)) for rank in range(self.world_size)]
        return lambda rows: self.all_gather(rows, counts).index_select(0, _places(parts, self.world_size, rows.device))

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process; none goes on before all have said so."""
        if self.world_size == 1:
            return flag
        flags = torch.tensor([int(flag)])
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self.object_group)
        return bool(flags.item())

    def barrier(self) -> None:
        """Until all processes are here."""
        self.any(False)

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give them, in all processes, the values they have in the first."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def all_gather_objects(self, thing: Any) -> list[Any]:
        """What each process said, in the order of ranks; small things that can be pickled."""
        if self.world_size == 1:
            return [thing]
        said: list[Any] = [None] * self.world_size
        dist.all_gather_object(said, thing, group=self.object_group)
        return said

    def once_per_node(self, make: Callable[[], Any]) -> Any:
        """What the first process of this machine makes, which must be small; the others wait for it."""
        return self.all_gather_objects(make() if self.local_rank == 0 else None)[self.rank - self.local_rank]


def shard(count: int, rank: int, size: int) -> slice:
    """The `rank`-th of `size` parts of `count` things, the first ones longer by one where it does not come out even."""
    least, more = divmod(count, size)
    start = rank * least + min(rank, more)
    return slice(start, start + least + (rank < more))


@functools.lru_cache
def shard_positions(parts: tuple[int, ...], rank: int, size: int) -> list[int]:
    """Positions in a batch made of `parts`, one after the other, of the `rank`-th process's share of each part."""
    starts = [sum(parts[:number]) for number in range(len(parts))]
    shares = [range(start, start + count)[shard(count, rank, size)] for start, count in zip(starts, parts, strict=True)]
    return [position for share in shares for position in share]


@functools.lru_cache
def _places(parts: tuple[int, ...], size: int, device: torch.device) -> torch.Tensor:
    """Where among the rows of all ranks, one rank after the other, those of each position of the batch are."""
    positions = [position for rank in range(size) for position in shard_positions(parts, rank, size)]
    return torch.tensor(positions).argsort().to(device)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: torch.Tensor, counts: list[int], rank: int) -> torch.Tensor:
        ctx.start, ctx.count, ctx.size = sum(counts[:rank]), counts[rank], len(counts)
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))  # collectives want one shape
        padded[: len(rows)] = rows
        received = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(received, padded)
        return torch.cat([part[:count] for part, count in zip(received, counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradient[ctx.start : ctx.start + ctx.count] * ctx.size, None, None


@contextlib.contextmanager
def init_distributed(device: str) -> Iterator[Distributed]:
    """The team that torchrun's environment describes, over NCCL on GPUs and gloo on CPUs; a team of one without torchrun.

    Raises InputError if the environment is incomplete, the processes do not find each other, there is no GPU for each, or, in
    the block, one of the others ends.
    """
    size = _number("WORLD_SIZE", "1")
    if size == 1:
        yield Distributed()
        return
    rank, local, here = _number("RANK"), _number("LOCAL_RANK", "0"), _number("LOCAL_WORLD_SIZE", "1")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        _take_gpu(device, local)
    try:
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=GPU_TIMEOUT if on_gpu else TIMEOUT)
        messages = dist.new_group(backend="gloo", timeout=TIMEOUT) if on_gpu else None
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"WORLD_SIZE is {size}, but the processes cannot join ({one_line(error)}); start them with torchrun"
        ) from error
    try:
        yield Distributed(rank, size, local, here, messages)
    except RuntimeError as error:
        if isinstance(error, dist.DistBackendError) or any(sign in str(error) for sign in LOST):
            raise InputError("another process of this run has ended, and this one with it; see what that one said") from error
        raise
    dist.destroy_process_group()  # not after an error: it would wait for what the others will never do


def _number(name: str, default: str = "") -> int:
    text = os.environ.get(name, default)
    if not text.isdecimal():
        raise InputError(f"the environment's {name} is {text!r}, not a number; start several processes with torchrun")
    return int(text)


def _take_gpu(device: str, local: int) -> None:
    count = torch.cuda.device_count()
    if ":" in device:
        raise InputError(f"--device {device}: of several processes each takes a GPU of its own; leave the number out")
    if local >= count:
        raise InputError(f"process {local} of this machine has no GPU, for there are {count}; use --nproc_per_node {count}")
    torch.cuda.set_device(local)
