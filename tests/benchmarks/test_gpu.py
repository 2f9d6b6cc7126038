"""The benchmark of GPUs, on a CPU."""

import csv
import re

import pytest
import torch

from benchmarks import evaluation, processes

TINY = ["--image_size", "32", "--batch_size", "6", "--num_workers", "0", "--amp", "off", "--no_compile"]


def test_without_a_gpu_it_says_so(run_script, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, out, err = run_script("benchmarks/gpu.py")
    assert code == 2 and not out
    assert err.count("\n") == 1 and err.startswith("error: no GPU was found;")


@pytest.mark.slow
def test_every_row_is_measured_and_written(run_script, monkeypatch, tmp_path):
    monkeypatch.setattr(evaluation, "QUERIES", 40)
    monkeypatch.setattr(evaluation, "PHOTOS", 300)
    start, measured = processes.started, {}

    def started(it, count, steps, *_):
        """Each start takes many seconds, so the variants repeat the plain one."""
        if count not in measured:
            measured[count] = start(it, count, steps)
        return measured[count]

    monkeypatch.setattr(processes, "started", started)
    results = tmp_path / "gpu.csv"
    code, out, err = run_script(
        "benchmarks/gpu.py", "--device", "cpu", "--steps", 1, "--processes", 1, 2, "--results", results, *TINY
    )
    assert code == 0, err
    with results.open(newline="") as file:
        rows = {row["figure"]: row for row in csv.DictReader(file)}
    printed = re.findall(r"^\| (.*?) \|", out, re.M)[1:]  # without the heading
    assert list(rows) == printed
    for name, row in rows.items():
        assert float(row["value"]) > 0 and row["definition"] and row["data"] and row["machine"], name
    shares = [float(row["value"]) for name, row in rows.items() if name.startswith("share of")]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    for name in ("training, 2 processes", "training, 2 processes, batch of 12", "step, ours", "epoch", "ranking, hamming"):
        assert name in rows
