"""A training run killed at random instants, again and again, ends with the very weights of one that nobody killed.

KILLS=100 pytest -s tests/faults/test_kills.py     # `make faults`; by default only one
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from tests.helpers.scripts import RUN_NAME, TRAIN, same

ROOT = Path(__file__).resolve().parents[2]
KILLS, SEED = int(os.environ.get("KILLS", "1")), int(os.environ.get("FAULTS_SEED", "0"))
WORDS = [
    *("--device", "cpu", "--image_size", "32", "--batch_size", "6", "--num_workers", "1", "--amp", "off"),
    *("--pretrained_weights", "none", "--steps_per_epoch", "4", "--validation_batches", "2", "--epochs", "2"),
    *("--save_minutes", "1e-9"),  # every step is saved
]
LONGEST = 300  # seconds; more is a hang


class Attempt:
    """One start of the train script, as a process group of its own."""

    def __init__(self, data: Path, folder: Path):
        self.folder = folder
        words = [sys.executable, "-u", TRAIN, *WORDS, "--data_root", str(data), "-s", str(folder), "--resume"]
        self.log = (folder.parent / f"{folder.name}.log").open("w+")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def wait_until_ready(self) -> None:
        """Until it says that it begins, or has ended."""
        deadline = time.monotonic() + LONGEST
        while self.process.poll() is None and "steps an epoch" not in Path(self.log.name).read_text():
            assert time.monotonic() < deadline, "hangs before it begins"
            time.sleep(0.02)

    def end(self, seconds: float, whole_group: bool) -> int:
        """Kill it after so many seconds, unless it has ended by then; its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            (os.killpg if whole_group else os.kill)(self.process.pid, signal.SIGKILL)
            return self.process.wait()

    def said(self) -> str:
        return Path(self.log.name).read_text()[-2000:]


def state(folder: Path) -> dict:
    """Weights and moments of the last and the best checkpoint, by name."""
    flat = {}
    for name in ("checkpoint.pth.tar", "model_best.pth.tar"):
        content = torch.load(folder / RUN_NAME / name, weights_only=True)
        flat |= {f"{name} {key}": value for key, value in content["state_dict"].items()}
        for number, moments in content["optimizer"]["state"].items():
            flat |= {f"{name} {number} {key}": value for key, value in moments.items()}
    return flat


def test_a_killed_run_ends_like_one_that_was_not(shared_dataset, tmp_path):
    whole = Attempt(shared_dataset, tmp_path / "whole")
    whole.wait_until_ready()
    began = time.monotonic()
    assert whole.end(LONGEST, True) == 0, whole.said()
    training = time.monotonic() - began
    expected = state(tmp_path / "whole")

    chance = random.Random(SEED)
    kills = in_saving = runs = 0
    while kills < KILLS or runs == 0:
        folder = tmp_path / f"run {runs}"
        while True:
            attempt = Attempt(shared_dataset, folder)
            if kills >= KILLS:
                code = attempt.end(LONGEST, True)
            elif chance.random() < 0.1:  # while it still reads
                code = attempt.end(chance.uniform(0, 4), True)
            else:
                attempt.wait_until_ready()
                code = attempt.end(chance.uniform(0, 0.7 * training), chance.random() < 0.5)
            if code == 0:
                break
            assert code == -signal.SIGKILL, attempt.said()  # else it could not go on
            kills += 1
            in_saving += any((folder / RUN_NAME).glob(".*.tar"))
        assert same(state(folder), expected)
        assert not list((folder / RUN_NAME).glob(".*.tar"))
        for path in (folder / RUN_NAME).glob("*.tar"):
            path.unlink()  # a gigabyte
        runs += 1
    print(f"\nkills: {kills}, of them while a checkpoint was being written: {in_saving}; runs that ended, all alike: {runs}")


def test_a_signal_to_the_whole_group_ends_it_in_order(shared_dataset, tmp_path):
    """As a terminal sends it: to the workers as well."""
    attempt = Attempt(shared_dataset, tmp_path / "run")
    attempt.wait_until_ready()
    time.sleep(1)
    os.killpg(attempt.process.pid, signal.SIGINT)
    assert attempt.process.wait(LONGEST) == 75, attempt.said()
    assert "go on with --resume" in attempt.said() and "Traceback" not in attempt.said()
