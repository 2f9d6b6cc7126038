"""Training steps in several processes, whose rate rank 0 writes into a file as JSON. `benchmarks/gpu.py` starts it by torchrun.

torchrun --nproc_per_node 2 benchmarks/processes.py FILE STEPS [options of the train script]

Each process holds its shard of one batch in memory, so that data loading is not part of the rate.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.evaluation import megabytes
from benchmarks.setting import RECIPE, Setting, seconds
from training.config import train_config
from utils.devices import finished
from utils.distributed import init_distributed
from utils.errors import InputError, report_errors
from utils.files import atomic_write

WARM_UP = 3  # steps in which libraries choose their algorithms


def started(it: Setting, processes: int, steps: int, *options: str) -> dict[str, float]:
    """`images_per_second` of all processes together, and `megabytes`, the peak memory of the first.

    Raises InputError if a process fails.
    """
    result = it.config.data.data_root / "rate.json"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    words = [str(result), str(steps), *it.arguments, *options]
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}  # torchrun sets it to 1, with a warning
    ended = subprocess.run([*torchrun, str(Path(__file__).resolve()), *words], env={**os.environ, **threads})
    if ended.returncode:
        raise InputError(f"{processes} processes failed (see above); mend that, or leave them out with --processes")
    return json.loads(result.read_text())


def main(file: str, steps: int, arguments: list[str]) -> None:
    with init_distributed(train_config(RECIPE, arguments).runtime.device) as distributed, distributed.only_main_prints():
        it = Setting.of(arguments, distributed)
        step, batch = it.step(), it.batch_at_hand()
        for number in range(WARM_UP):
            step(batch, 0, number)
        finished(it.device)
        distributed.barrier()
        taken = seconds(lambda: [step(batch, 0, WARM_UP + number) for number in range(steps)], it.device)
        if distributed.is_main:
            rate = {"images_per_second": steps * it.batch_size / taken, "megabytes": megabytes(it.device)[1]}
            with atomic_write(Path(file)) as temporary:
                temporary.write_text(json.dumps(rate))


if __name__ == "__main__":
    with report_errors():
        main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
