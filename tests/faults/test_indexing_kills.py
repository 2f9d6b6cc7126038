"""An index whose processes are killed at random times, and which the same command continues, ends as one process makes it.

KILLS=100 pytest -s tests/faults/test_indexing_kills.py     # as in `make faults`; the default is two kills
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.indexes import assert_same_index, write_shard
from tests.helpers.network import write_checkpoint
from tests.helpers.photos import write_photos
from tests.helpers.scripts import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes of torchrun in /proc"),
]
KILLS, SEED = int(os.environ.get("KILLS", "2")), int(os.environ.get("FAULTS_SEED", "0"))
LONGEST = 300  # seconds until a run counts as hanging
STAGES = {"start": 12.0, "embedding": 4.0, "merging": 0.2, "fitting": 1.0}  # seconds after each until a kill, at most
VICTIMS = ("torchrun", "rank 0", "a rank", "all")


class Attempt:
    """`torchrun … search.py index`."""

    def __init__(self, index: Path, ranks: int, restarts: int, words: list[str]):
        self.index, self.log = index, index.with_suffix(".log")
        launched = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
        launched += ["--max-restarts", str(restarts), "search.py", "index"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-u", *launched, *words, "-o", str(index)], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_for(self, stage: str, seconds: float) -> None:
        """Wait until it has been in a stage for so long, or ends."""
        deadline = time.monotonic() + LONGEST
        while self.process.poll() is None and not self._has_reached(stage):
            assert time.monotonic() < deadline, f"hangs before {stage}"
            time.sleep(0.002)
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)

    def _has_reached(self, stage: str) -> bool:
        patterns = {"embedding": "parts/*/*", "merging": "parts/*.closed"}
        return stage == "start" or (
            "embedded," in self.log.read_text() if stage == "fitting" else any(self.index.glob(patterns[stage]))
        )

    def kill(self, victim: str, chance: random.Random) -> None:
        torchrun = self.process.pid
        ranks = [int(pid) for pid in Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()]
        chosen = {"torchrun": [torchrun], "rank 0": ranks[:1], "a rank": chance.sample(ranks, min(1, len(ranks)))}
        for pid in chosen.get(victim) or [torchrun, *ranks]:
            os.kill(pid, signal.SIGKILL)

    def end(self) -> tuple[int, str]:
        """Exit code and output."""
        return self.process.wait(LONGEST), self.log.read_text()


def test_a_killed_index_is_continued_by_the_same_command(tmp_path, run_script):
    chance, kills, runs, killed = random.Random(SEED), 0, 0, Counter[str]()
    sources = [
        write_photos(tmp_path / "photos"),
        *(write_shard(tmp_path / f"{n}.tar", range(n, n + 40)) for n in (100, 200, 300)),
    ]
    (tmp_path / "photos" / "no image.jpg").write_bytes(b"no image")
    network = write_checkpoint(tmp_path / "network.pth.tar")
    words = [*map(str, sources), "--checkpoint", str(network), "--precision", "float32", "--batch_size", "4", "--codes"]
    assert run_script("search.py", "index", *words, "-o", tmp_path / "whole")[0] == 0
    while kills < KILLS or runs == 0:
        index, code = tmp_path / f"run {runs}", 1
        while code:
            attempt, victim = Attempt(index, chance.choice((2, 2, 4)), chance.choice((0, 0, 1)), words), ""
            if kills < KILLS:
                stage = chance.choice(list(STAGES))
                attempt.wait_for(stage, chance.uniform(0, STAGES[stage]))
                if attempt.process.poll() is None:
                    victim = chance.choice(VICTIMS)
                    attempt.kill(victim, chance)
                    kills += 1
                    killed[f"{victim} while {stage}"] += 1
            code, output = attempt.end()
            assert code == 0 or victim, output
            assert 'search.py", line' not in output, output  # a traceback
        assert_same_index(index, tmp_path / "whole")
        runs += 1
    print(f"\n{kills} kills ({dict(killed)}); {runs} runs ended, all with the same index")
