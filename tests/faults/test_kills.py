"""A training run that is killed at random times and resumed ends with exactly the weights of an uninterrupted run.

KILLS=100 pytest -s tests/faults/test_kills.py     # as in `make faults`; the default is one kill
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.helpers.scripts import ROOT, RUN_NAME, TRAIN, same

pytestmark = pytest.mark.slow
KILLS, SEED = int(os.environ.get("KILLS", "1")), int(os.environ.get("FAULTS_SEED", "0"))
WORDS = [
    *("--device", "cpu", "--image_size", "32", "--batch_size", "6", "--num_workers", "1", "--amp", "off"),
    *("--pretrained_weights", "none", "--steps_per_epoch", "4", "--validation_batches", "2", "--epochs", "2"),
    *("--save_minutes", "1e-9"),  # a checkpoint after every step
]
LONGEST = 300  # seconds until a run counts as hanging


class Attempt:
    """A process of the train script, in a separate process group."""

    def __init__(self, data: Path, folder: Path):
        self.folder = folder
        words = [sys.executable, "-u", TRAIN, *WORDS, "--data_root", str(data), "-s", str(folder), "--resume"]
        self.log = (folder.parent / f"{folder.name}.log").open("w+")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def wait_until_ready(self) -> None:
        """Wait until it prints that training starts, or ends."""
        deadline = time.monotonic() + LONGEST
        while self.process.poll() is None and not re.search("steps (an|per) epoch", self.output()):
            assert time.monotonic() < deadline, "hangs before training starts"
            time.sleep(0.02)

    def end(self, seconds: float, whole_group: bool) -> int:
        """Kill it after `seconds` unless it ends before; returns the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            (os.killpg if whole_group else os.kill)(self.process.pid, signal.SIGKILL)
            return self.process.wait()

    def output(self) -> str:
        return Path(self.log.name).read_text()[-2000:]


def state(folder: Path) -> dict:
    """Weights and optimizer moments of the last and the best checkpoint, by name."""
    flat = {}
    for name in ("checkpoint.pth.tar", "model_best.pth.tar"):
        content = torch.load(folder / RUN_NAME / name, weights_only=True)
        flat |= {f"{name} {key}": value for key, value in content["state_dict"].items()}
        for number, moments in content["optimizer"]["state"].items():
            flat |= {f"{name} {number} {key}": value for key, value in moments.items()}
    return flat


def test_a_killed_run_ends_like_an_uninterrupted_one(shared_dataset, tmp_path):
    uninterrupted = Attempt(shared_dataset, tmp_path / "whole")
    uninterrupted.wait_until_ready()
    started = time.monotonic()
    assert uninterrupted.end(LONGEST, True) == 0, uninterrupted.output()
    training = time.monotonic() - started
    expected = state(tmp_path / "whole")

    chance = random.Random(SEED)
    kills = in_saving = runs = 0
    while kills < KILLS or runs == 0:
        folder = tmp_path / f"run {runs}"
        while True:
            attempt = Attempt(shared_dataset, folder)
            if kills >= KILLS:
                code = attempt.end(LONGEST, True)
            elif chance.random() < 0.1:  # before training starts
                code = attempt.end(chance.uniform(0, 4), True)
            else:
                attempt.wait_until_ready()
                code = attempt.end(chance.uniform(0, 0.7 * training), chance.random() < 0.5)
            if code == 0:
                break
            assert code == -signal.SIGKILL, attempt.output()  # any other code: it could not resume
            kills += 1
            in_saving += any((folder / RUN_NAME).glob(".*.tar"))
        assert same(state(folder), expected)
        assert not list((folder / RUN_NAME).glob(".*.tar"))
        for path in (folder / RUN_NAME).glob("*.tar"):
            path.unlink()  # a gigabyte
        runs += 1
    print(f"\n{kills} kills, {in_saving} of them while a checkpoint was written; {runs} runs ended, all with the same weights")


def test_ctrl_c_in_a_terminal_saves_a_checkpoint(shared_dataset, tmp_path):
    """A terminal sends the signal to the whole process group, so to the workers too."""
    attempt = Attempt(shared_dataset, tmp_path / "run")
    attempt.wait_until_ready()
    time.sleep(1)
    os.killpg(attempt.process.pid, signal.SIGINT)
    assert attempt.process.wait(LONGEST) == 75, attempt.output()
    assert "--resume" in attempt.output() and "Traceback" not in attempt.output()
