"""Data-parallel training in several processes started by `torchrun`; without torchrun the world size is 1.

Every rank sees its share of each batch, gathers the features of all ranks, and evaluates the same loss on the whole batch.
"""

import contextlib
import datetime
import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from utils.errors import InputError
from utils.text import one_line

TIMEOUT = datetime.timedelta(days=1)  # ranks may wait while one decodes images; a rank that ends is noticed at once
GPU_TIMEOUT = datetime.timedelta(minutes=30)  # within a step, or until the slowest rank starts one
# in gloo's errors when another rank, or its machine, has gone
LOST_RANK = ("by peer", "Broken pipe", "Connection refused", "Connection timed out", "No route to host")


@dataclass(frozen=True)
class Distributed:
    """This process's rank; `local_rank` and `local_world_size` count the processes of one machine.

    object_group: a gloo group for small objects and flags; None: the default group.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    object_group: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which prints and writes files."""
        return self.rank == 0

    @contextlib.contextmanager
    def only_main_prints(self) -> Iterator[None]:
        """Discard standard output within the block on all ranks but 0."""
        if self.is_main:
            yield
            return
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield

    def own_positions(self, *parts: int) -> list[int]:
        """Positions of this rank's shard of a batch that consists of `parts` (so many sketches, then so many photos)."""
        return shard_positions(parts, self.rank, self.world_size)

    def gather(self, rows: torch.Tensor, *parts: int) -> torch.Tensor:
        """Gather the rows (n, …) of a batch of `parts`, in its order, from the shards of all ranks.

        Differentiable for a loss that every rank computes from the same gathered rows and whose parameter gradients are then
        averaged over the ranks, as DistributedDataParallel does. The backward pass needs no communication.
        """
        if self.world_size == 1:
            return rows
        counts = [len(shard_positions(parts, rank, self.world_size)) for rank in range(self.world_size)]
        return _AllGather.apply(rows, counts, self.rank).index_select(0, _batch_order(parts, self.world_size, rows.device))

    def any(self, flag: bool) -> bool:
        """Whether the flag is true on any rank (all_reduce with MAX)."""
        if self.world_size == 1:
            return flag
        flags = torch.tensor([int(flag)])
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self.object_group)
        return bool(flags.item())

    def barrier(self) -> None:
        """Wait until all ranks have called this."""
        self.any(False)

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite the tensors of all ranks with those of rank 0."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def all_gather_objects(self, thing: Any) -> list[Any]:
        """Each rank's object, in rank order; objects must be small and picklable."""
        if self.world_size == 1:
            return [thing]
        received: list[Any] = [None] * self.world_size
        dist.all_gather_object(received, thing, group=self.object_group)
        return received

    def scatter_objects(self, things: Sequence[Any]) -> Any:
        """Of rank 0's `world_size` picklable objects, this rank's; what other ranks pass is ignored."""
        if self.world_size == 1:
            return things[0]
        received: list[Any] = [None]
        dist.scatter_object_list(received, list(things) if self.is_main else None, src=0, group=self.object_group)
        return received[0]


@functools.lru_cache
def shard_positions(parts: tuple[int, ...], rank: int, world_size: int) -> list[int]:
    """Positions of a rank's shard of each of the consecutive `parts` of a batch; shards differ in length by at most 1."""
    positions = np.split(np.arange(sum(parts)), np.cumsum(parts)[:-1])
    return [position for part in positions for position in np.array_split(part, world_size)[rank].tolist()]


@functools.lru_cache
def _batch_order(parts: tuple[int, ...], world_size: int, device: torch.device) -> torch.Tensor:
    """For each position of the batch, its row among the shards of all ranks in rank order."""
    positions = [position for rank in range(world_size) for position in shard_positions(parts, rank, world_size)]
    return torch.tensor(positions).argsort().to(device, non_blocking=True)


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, counts: list[int], rank: int) -> torch.Tensor:
        ctx.start, ctx.count, ctx.world_size = sum(counts[:rank]), counts[rank], len(counts)
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))  # all_gather needs the same shape on all ranks
        padded[: len(rows)] = rows
        received = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(received, padded)
        return torch.cat([part[:count] for part, count in zip(received, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradient[ctx.start : ctx.start + ctx.count] * ctx.world_size, None, None


@contextlib.contextmanager
def init_distributed(device: str) -> Iterator[Distributed]:
    """Join the processes that torchrun's environment variables describe, over NCCL on GPUs and gloo on CPUs.

    Raises InputError if the environment is incomplete, the ranks do not find each other, there are fewer GPUs than local ranks,
    or another rank ends within the block.
    """
    world_size = _environment_int("WORLD_SIZE", "1")
    if world_size == 1:
        yield Distributed()
        return
    rank = _environment_int("RANK")
    local_rank, local_world_size = _environment_int("LOCAL_RANK", "0"), _environment_int("LOCAL_WORLD_SIZE", "1")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        use_own_gpu(device, local_rank)
    try:
        timeout = GPU_TIMEOUT if on_gpu else TIMEOUT
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timeout, **_place_after_restart(rank, world_size))
        object_group = dist.new_group(backend="gloo", timeout=TIMEOUT) if on_gpu else None
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"WORLD_SIZE is {world_size}, but the processes cannot join ({one_line(error)}); start them with torchrun"
        ) from error
    try:
        yield Distributed(rank, world_size, local_rank, local_world_size, object_group)
    except RuntimeError as error:
        if isinstance(error, dist.DistBackendError) or any(sign in str(error) for sign in LOST_RANK):
            raise InputError("another process of this run has ended, and this one with it; see its error message") from error
        raise
    dist.destroy_process_group()  # not after an error: it would wait for collectives that other ranks never start


def _place_after_restart(rank: int, world_size: int) -> dict[str, Any]:
    """Keeps processes that torchrun has started again from the addresses of those before them, which are in the same store.

    Only on one machine: torchruns of several machines count restarts differently.
    """
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if restarts == "0" or os.environ.get("GROUP_WORLD_SIZE") != "1":
        return {}
    store, _, _ = next(dist.rendezvous("env://", timeout=datetime.timedelta(minutes=5)))
    return {"store": dist.PrefixStore(f"restart {restarts}", store), "rank": rank, "world_size": world_size}


def _environment_int(name: str, default: str = "") -> int:
    text = os.environ.get(name, default)
    if not text.isdecimal():
        raise InputError(f"the environment's {name} is {text!r}, not a number; start several processes with torchrun")
    return int(text)


def use_own_gpu(device: str, local_rank: int) -> None:
    """Make the GPU with the number of the local rank the current one. Raises InputError if there is none."""
    count = torch.cuda.device_count()
    if ":" in device:
        raise InputError(f"--device {device}: each of several processes uses its own GPU; leave the number out")
    if local_rank >= count:
        raise InputError(f"local rank {local_rank} has no GPU, because there are {count}; use --nproc_per_node {count}")
    torch.cuda.set_device(local_rank)
