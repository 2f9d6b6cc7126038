"""Threads and GPUs as NumPy code sees them, without PyTorch."""

import sys

import torch

from utils.cores import compute_threads, usable_cores
from utils.gpu_driver import has_gpu_driver


def test_threads_of_pytorch_or_of_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert compute_threads() == 5
    monkeypatch.delitem(sys.modules, "torch")
    assert compute_threads() == 3
    for text in ("", "0", "4,2", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert compute_threads() == usable_cores()


def test_no_gpu_without_a_driver():
    assert has_gpu_driver() or not torch.cuda.is_available()
