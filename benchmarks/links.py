"""What one training step of several processes sends, worked out from shapes, and what that takes over given links."""

import math
from typing import NamedTuple

import torch
from torch import nn

from models.cse_resnet import FEATURE_DIM
from models.dsn import Student
from utils.distributed import shard_positions

GRADIENTS, BN_FORWARD, BN_BACKWARD, STOP_FLAG = "gradients", "BatchNorm forward", "BatchNorm backward", "stop flag"
BN_BUFFERS = "BatchNorm buffers"
CLASS_LOGITS, TEACHER_LOGITS = "class logits", "teacher-space, teacher logits"
CONTRAST, POOLED = "contrast features", "pooled features"
BUCKETS = 2**20, 25 * 2**20  # DistributedDataParallel's first bucket and the others hold at least so many bytes
STATISTIC_BYTES = 8  # BatchNorm's are sent as float64
BACKWARD_SHARE = 2 / 3  # of a step: as much again for the inputs as for the weights, and either as long as the forward pass


class Sent(NamedTuple):
    """Collectives of one kind in a step, and their payload: the tensors' bytes, in an all_gather those of all processes."""

    operation: str  # all_reduce, all_gather or broadcast
    collectives: int
    payload: int  # bytes

    def moved(self, processes: int) -> float:
        """Bytes that go out of each process of a ring."""
        share = (processes - 1) / processes
        return self.payload * {"all_reduce": 2 * share, "all_gather": share, "broadcast": 1.0}[self.operation]


class Links(NamedTuple):
    """Between the processes of a ring; a stop flag goes over the hosts, not from GPU to GPU."""

    bandwidth: float  # bytes a second out of each process
    latency: float  # seconds, of one collective whatever its payload
    flag_latency: float

    def seconds(self, kind: str, sent: Sent, processes: int) -> float:
        """What a step spends on this kind."""
        latency = self.flag_latency if kind == STOP_FLAG else self.latency
        return sent.collectives * latency + sent.moved(processes) / self.bandwidth


def network(classes: int) -> Student:
    """The default student's shapes, without memory for weights."""
    with torch.device("meta"):
        return Student(64, classes)


def gathered_widths(student: Student) -> dict[tuple[int, ...], str]:
    """What an image sends so that every process has all of it, by its shape."""
    embedding, teacher = student.original_model.second_last_linear, student.original_model.last_linear
    return {
        (student.linear.out_features,): CLASS_LOGITS,
        (teacher.out_features,): TEACHER_LOGITS,
        (2, embedding.out_features): CONTRAST,
        (FEATURE_DIM,): POOLED,
    }


def from_shapes(student: Student, shares: tuple[int, int], processes: int) -> dict[str, Sent]:
    """All of a step's collectives. shares: sketches and photos of the whole batch."""
    gradients = [4 * parameter.numel() for parameter in student.parameters() if parameter.requires_grad]
    channels = [module.num_features for module in student.modules() if isinstance(module, nn.BatchNorm2d)]
    layers, images = (
        len(channels),
        len(shard_positions(shares, 0, processes)),
    )  # the first process has the largest share; others are padded
    sent = {
        GRADIENTS: Sent("all_reduce", _buckets(gradients), sum(gradients)),
        BN_FORWARD: Sent("all_gather", layers, processes * STATISTIC_BYTES * sum(2 * count + 1 for count in channels)),
        BN_BACKWARD: Sent("all_reduce", layers, STATISTIC_BYTES * sum(2 * count for count in channels)),
    }
    for shape, kind in gathered_widths(student).items():
        rows, times = (len(shard_positions(shares[1:], 0, processes)), 2) if kind == TEACHER_LOGITS else (images, 1)
        sent[kind] = Sent("all_gather", times, times * 4 * processes * rows * math.prod(shape))
    return sent | {STOP_FLAG: Sent("all_reduce", 1, 8)}


def _buckets(sizes: list[int]) -> int:
    """How many buckets the gradients fill, the last parameter's first."""
    count, held = 0, 0
    for size in reversed(sizes):
        held += size
        if held >= BUCKETS[min(count, 1)]:
            count, held = count + 1, 0
    return count + (held > 0)


def with_bf16_gradients(sent: dict[str, Sent]) -> dict[str, Sent]:
    """The same with gradients sent in half the bytes."""
    return sent | {GRADIENTS: sent[GRADIENTS]._replace(payload=sent[GRADIENTS].payload // 2)}


def with_local_batchnorm(sent: dict[str, Sent], student: Student) -> dict[str, Sent]:
    """The same with `--batchnorm local`: the first process's running statistics are broadcast, once for each of two types."""
    buffers = sum(buffer.nbytes for buffer in student.buffers())
    rest = {kind: what for kind, what in sent.items() if kind not in (BN_FORWARD, BN_BACKWARD)}
    return rest | {BN_BUFFERS: Sent("broadcast", 2, buffers)}


def efficiency(compute: float, sent: dict[str, Sent], processes: int, links: Links) -> tuple[float, float]:
    """The share of a step in which a process computes, `compute` being those seconds.

    First with every collective waited for, then with gradients sent during the backward pass, where only the rest is waited for.
    """
    taken = {kind: links.seconds(kind, what, processes) for kind, what in sent.items()}
    gradients = taken.pop(GRADIENTS)
    waited = compute + sum(taken.values())
    return compute / (waited + gradients), compute / (waited + max(0.0, gradients - BACKWARD_SHARE * compute))
