"""What the processes of a training step send each other, counted beside worked out; and what that leaves of 8 and of 64 GPUs.

python benchmarks/communication.py                # two processes on this CPU, small images: the payload is that of any size
python benchmarks/communication.py --processes 4
python benchmarks/communication.py --predict_only --step_ms 50 100 200

Counted are real steps, epoch loop and all: every collective passes through a counter, gradients too, and PyTorch's profiler says
whether one escaped it. The prediction is a formula (see `links.py`) over links whose speed is assumed, not measured.
"""

import argparse
import collections
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks import links
from benchmarks.links import Links, Sent
from benchmarks.setting import RECIPE, Setting, machine, parser, setting
from training.build import optimizer
from training.state import Progress
from training.step import take_step
from training.trainer import train_one_epoch
from utils.distributed import Distributed, init_distributed
from utils.errors import report_errors
from utils.parser import positive_float, positive_int

KINDS = {  # by the function that asks for the collective; what is gathered is told by its shape
    "_allreduce_fut": links.GRADIENTS,
    "_statistics_of_all": links.BN_FORWARD,
    "backward": links.BN_BACKWARD,
    "any": links.STOP_FLAG,
}
TIMED_BATCH, SEEN_CLASSES = 96, 100  # what --step_ms is the time of; Sketchy's zeroshot1
PLANS = (8, 96), (8, 768), (64, 768), (64, 6144)  # GPUs and images of the whole batch


@contextlib.contextmanager
def counting(shapes: dict[tuple[int, ...], str]) -> Iterator[dict[tuple[str, str], list[int]]]:
    """Payloads in bytes of every all_reduce and all_gather within the block, by operation and kind."""
    seen = collections.defaultdict(list)
    reduce, gather = dist.all_reduce, dist.all_gather

    def kind(tensor: torch.Tensor) -> str:
        caller = sys._getframe(2).f_code.co_name
        return KINDS.get(caller) or shapes.get(tuple(tensor.shape[1:]), f"{caller} {tuple(tensor.shape)}")

    def all_reduce(tensor: torch.Tensor, *others, **keywords):
        seen["all_reduce", kind(tensor)].append(tensor.nbytes)
        return reduce(tensor, *others, **keywords)

    def all_gather(received: list[torch.Tensor], tensor: torch.Tensor, *others, **keywords):
        seen["all_gather", kind(tensor)].append(sum(part.nbytes for part in received))
        return gather(received, tensor, *others, **keywords)

    with mock.patch.object(dist, "all_reduce", all_reduce), mock.patch.object(dist, "all_gather", all_gather):
        yield seen


def measured(it: Setting) -> tuple[dict[str, Sent], dict[str, float]]:
    """What each kind sends in a step, and how many collectives a step the profiler saw, by their names."""
    learner, batches = it.learner(), it.batches(num_workers=0)
    learner.forward.register_comm_hook(None, allreduce_hook)  # what happens without a hook, by a way that can be counted
    adam, steps = optimizer(learner.student, it.options), it.options.steps_per_epoch
    batch = it.batch_at_hand()
    for _ in range(2):  # buckets are rearranged after the first step, and the new order is told in the second
        take_step(learner, adam, batch, batches.shares[0], 0, 0)
    with counting(links.gathered_widths(learner.student)) as seen, profile(activities=[ProfilerActivity.CPU]) as profiler:
        train_one_epoch(learner, adam, batches, Progress(), steps, after_step=lambda _: it.distributed.any(False))
    found = {kind: Sent(name, len(sizes) // steps, sum(sizes) // steps) for (name, kind), sizes in seen.items()}
    witnessed = {event.key: event.count / steps for event in profiler.key_averages() if event.key.startswith("c10d::")}
    return found, witnessed


def compare(options: argparse.Namespace, distributed: Distributed) -> None:
    """Measure in this process, one of the team, and print the table if it leads."""
    with distributed.only_main_prints(), setting(options, distributed) as it:
        found, witnessed = measured(it)
        shares = it.batches().shares
        expected = links.from_shapes(links.network(it.split.seen_classes), shares, distributed.world_size)
        print(
            f"{distributed.world_size} processes, {options.steps} steps of {shares[0]} sketches and {shares[1]} photos "
            f"of {options.image_size} px, {it.split.seen_classes} classes; {machine(it.device, options.amp)}"
        )
        print(f"{'a step':32}{'':12}{'collectives':>12}{'predicted':>12}{'bytes':>14}{'predicted':>14}")
        for kind in expected | found:
            is_, should_be = (values.get(kind, Sent("none", 0, 0)) for values in (found, expected))
            name = (is_ if kind in found else should_be).operation
            print(f"{kind:32}{name:12}{is_.collectives:>12}{should_be.collectives:>12}{is_.payload:>14,}{should_be.payload:>14,}")
        sums = [sum(values) for values in zip(*(what[1:] for what in found.values()), strict=True)]
        wanted = [sum(values) for values in zip(*(what[1:] for what in expected.values()), strict=True)]
        print(f"{'all':44}{sums[0]:>12}{wanted[0]:>12}{sums[1]:>14,}{wanted[1]:>14,}")
        print("PyTorch's profiler saw " + ", ".join(f"{count:g} {name}" for name, count in sorted(witnessed.items())))


def predict(options: argparse.Namespace) -> None:
    """Print what `PLANS` would spend on sending, and how much of the GPUs' time that leaves."""
    student, speed = links.network(SEEN_CLASSES), {}
    speed[8] = Links(options.machine_bandwidth * 1e9, options.machine_latency / 1e6, options.flag_latency / 1e6)
    speed[64] = Links(options.network_bandwidth * 1e9, options.network_latency / 1e6, options.flag_latency / 1e6)
    print("assumed, not measured:")
    for gpus, where in ((8, "of one machine"), (64, "on 8 machines")):
        each = speed[gpus]
        print(
            f"  {gpus} GPUs {where}: {each.bandwidth / 1e9:g} GB/s along the ring, {each.latency * 1e6:g} µs a collective, "
            f"{each.flag_latency * 1e6:g} µs a stop flag"
        )
    plans = {}
    for gpus, images in PLANS:
        sketches = images // (1 + RECIPE.photos_per_sketch)
        shares = sketches, sketches * RECIPE.photos_per_sketch
        plans[gpus, images] = links.from_shapes(student, shares, gpus)
    print(f"(64 GPUs and a batch of 96 are refused, for that has {96 // (1 + RECIPE.photos_per_sketch)} sketches)")
    print(f"{'GPUs':>4}{'batch':>7}{'each':>6}   ms a step: {'gradients':>10}{'BatchNorm':>11}{'gathers':>9}{'stop flag':>11}")
    for (gpus, images), sent in plans.items():
        taken = {kind: 1e3 * speed[gpus].seconds(kind, what, gpus) for kind, what in sent.items()}
        gradients, flag = taken.pop(links.GRADIENTS), taken.pop(links.STOP_FLAG)
        statistics = taken.pop(links.BN_FORWARD) + taken.pop(links.BN_BACKWARD)
        row = f"{gradients:>10.2f}{statistics:>11.2f}{sum(taken.values()):>9.2f}{flag:>11.2f}"
        print(f"{gpus:>4}{images:>7}{images // gpus:>6}{'':15}{row}")
    print(f"efficiency, gradients waited for – sent during the backward pass; if {TIMED_BATCH} images take one GPU")
    print(f"{'GPUs':>4}{'batch':>7}{'each':>6}   {'':18}" + "".join(f"{f'{time:g} ms':>13}" for time in options.step_ms))
    for (gpus, images), sent in plans.items():
        variants = {
            "as it is": sent,
            "bf16 gradients": links.with_bf16_gradients(sent),
            "--batchnorm local": links.with_local_batchnorm(sent, student),
        }
        for name, variant in variants.items():
            cells = ""
            for time in options.step_ms:
                shares = links.efficiency(time / 1e3 * images / gpus / TIMED_BATCH, variant, gpus, speed[gpus])
                cells += f"{' – '.join(f'{100 * share:.0f}' for share in shares) + ' %':>13}"
            print(f"{gpus:>4}{images:>7}{images // gpus:>6}   {name:18}{cells}")


def main() -> None:
    arguments = parser(__doc__.splitlines()[0], steps=2)
    arguments.set_defaults(device="cpu", image_size=32, threads=1)
    arguments.add_argument("--processes", type=positive_int, default=2)
    arguments.add_argument("--predict_only", action="store_true", help="start no processes")
    arguments.add_argument("--step_ms", type=positive_float, nargs="+", default=[50, 100, 200], help="of 96 images on one GPU")
    arguments.add_argument("--machine_bandwidth", type=positive_float, default=200, help="GB/s from GPU to GPU of one machine")
    arguments.add_argument("--machine_latency", type=positive_float, default=30, help="µs of a collective among 8 GPUs")
    arguments.add_argument(
        "--network_bandwidth", type=positive_float, default=40, help="GB/s from machine to machine (400 Gb/s are 50)"
    )
    arguments.add_argument("--network_latency", type=positive_float, default=100, help="µs of a collective among 64 GPUs")
    arguments.add_argument("--flag_latency", type=positive_float, default=300, help="µs of the stop flag, from host to host")
    options = arguments.parse_args()
    if "WORLD_SIZE" in os.environ:
        with init_distributed("cpu") as distributed:
            compare(options, distributed)
        return
    if not options.predict_only:
        launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(options.processes)]
        status = subprocess.run([*launched, __file__, *sys.argv[1:]]).returncode
        if status:
            sys.exit(status)
        print()
    predict(options)


if __name__ == "__main__":
    with report_errors():
        main()
