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

PATIENCE = datetime.timedelta(days=1)  # with a process that decodes while the others wait; that one is gone is noticed anyway
PATIENCE_OF_GPUS = datetime.timedelta(minutes=30)  # in a step, or with the slowest to begin one
LOST = ("by peer", "Broken pipe", "Connection refused")  # how gloo's errors speak of a process that is gone


@dataclass(frozen=True)
class Team:
    """This process's place among `size` processes; `local` is its number on its machine, which `here` of them share.

    `messages` is the group for small things that the device need not know of; None is the group for everything.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    here: int = 1
    messages: dist.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    @contextlib.contextmanager
    def only_the_first_prints(self) -> Iterator[None]:
        """What the others would print is what the first one prints."""
        if self.leads:
            yield
            return
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield

    def share(self, count: int) -> slice:
        """This process's part of `count` things; parts are as even as can be and follow each other in the order of ranks."""
        return part(count, self.rank, self.size)

    def shares(self, count: int) -> list[int]:
        """How many of `count` things each process has."""
        return [len(range(count)[part(count, rank, self.size)]) for rank in range(self.size)]

    def own(self, *parts: int) -> list[int]:
        """Positions of this process's share of a batch that is made of so many sketches, so many photos, one after the other."""
        return dealt(parts, self.rank, self.size)

    def gathered(self, rows: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """The rows (n, …) of all processes, in the order of ranks; `counts` says how many each has.

        The gradient is that of a loss which every process computes from the same gathered rows, and whose parameters' gradients
        are then averaged over the processes, as DistributedDataParallel does: no further communication is needed.
        """
        return rows if self.size == 1 else _Gathered.apply(rows, counts, self.rank)

    def gatherer(self, *parts: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function own rows → all rows of a batch made of `parts`, in the batch's order (see `own`, `gathered`)."""
        if self.size == 1:
            return lambda rows: rows
        counts = [len(dealt(parts, rank, self.size)) for rank in range(self.size)]
        return lambda rows: self.gathered(rows, counts).index_select(0, _places(parts, self.size, rows.device))

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process; none goes on before all have said so."""
        if self.size == 1:
            return flag
        flags = torch.tensor([int(flag)])
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self.messages)
        return bool(flags.item())

    def wait(self) -> None:
        """Until all processes are here."""
        self.any(False)

    def follow_first(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give them, in all processes, the values they have in the first."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def all_told(self, thing: Any) -> list[Any]:
        """What each process said, in the order of ranks; small things that can be pickled."""
        if self.size == 1:
            return [thing]
        said: list[Any] = [None] * self.size
        dist.all_gather_object(said, thing, group=self.messages)
        return said

    def once_here(self, make: Callable[[], Any]) -> Any:
        """What the first process of this machine makes, which must be small; the others wait for it."""
        return self.all_told(make() if self.local == 0 else None)[self.rank - self.local]


def part(count: int, rank: int, size: int) -> slice:
    """The `rank`-th of `size` parts of `count` things, the first ones longer by one where it does not come out even."""
    least, more = divmod(count, size)
    start = rank * least + min(rank, more)
    return slice(start, start + least + (rank < more))


@functools.lru_cache
def dealt(parts: tuple[int, ...], rank: int, size: int) -> list[int]:
    """Positions in a batch made of `parts`, one after the other, of the `rank`-th process's share of each part."""
    starts = [sum(parts[:number]) for number in range(len(parts))]
    shares = [range(start, start + count)[part(count, rank, size)] for start, count in zip(starts, parts, strict=True)]
    return [position for share in shares for position in share]


@functools.lru_cache
def _places(parts: tuple[int, ...], size: int, device: torch.device) -> torch.Tensor:
    """Where among the rows of all ranks, one rank after the other, those of each position of the batch are."""
    positions = [position for rank in range(size) for position in dealt(parts, rank, size)]
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
def joined(device: str) -> Iterator[Team]:
    """The team that torchrun's environment describes, over NCCL on GPUs and gloo on CPUs; a team of one without torchrun.

    Raises InputError if the environment is incomplete, the processes do not find each other, there is no GPU for each, or, in
    the block, one of the others ends.
    """
    size = _number("WORLD_SIZE", "1")
    if size == 1:
        yield Team()
        return
    rank, local, here = _number("RANK"), _number("LOCAL_RANK", "0"), _number("LOCAL_WORLD_SIZE", "1")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        _take_gpu(device, local)
    try:
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE_OF_GPUS if on_gpu else PATIENCE)
        messages = dist.new_group(backend="gloo", timeout=PATIENCE) if on_gpu else None
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"WORLD_SIZE is {size}, but the processes cannot join ({one_line(error)}); start them with torchrun"
        ) from error
    try:
        yield Team(rank, size, local, here, messages)
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
