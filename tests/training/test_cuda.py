"""What only a GPU can show; skipped where there is none."""

import pytest
import torch

from datasets.batches import Batch
from retrieval.hashing import itq_codes
from retrieval.ranking import top_k
from retrieval.scores import evaluate_ranking
from tests.helpers.learner import batch, learner
from training.step import take_step
from utils.phases import MeasuredPhases

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_a_training_step_never_waits_for_the_device():
    it = learner(device="cuda")
    optimizer = torch.optim.Adam(it.student.parameters(), fused=True)
    decoded = Batch(batch().images.contiguous(memory_format=torch.channels_last).pin_memory(), batch().labels)
    for step in range(4):
        if step == 2:  # the first steps choose algorithms and allocate
            torch.cuda.set_sync_debug_mode("error")
        try:
            losses = take_step(it, optimizer, decoded, sketches=2, epoch=0, step=step)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(losses).all()


def test_losses_agree_with_the_cpu():
    torch.backends.cudnn.allow_tf32 = False
    on_cpu, on_gpu = (learner(device=device).terms(batch(), sketches=2, epoch=0, step=1) for device in ("cpu", "cuda"))
    for name, expected, found in zip(on_cpu._fields, on_cpu, on_gpu, strict=True):
        assert found.item() == pytest.approx(expected.item(), rel=1e-3), name


def test_rankings_agree_with_the_cpu():
    generator = torch.Generator().manual_seed(0)
    query, gallery = torch.randn(50, 16, generator=generator), torch.randn(400, 16, generator=generator)
    labels = torch.randint(5, (50,), generator=generator), torch.randint(5, (400,), generator=generator)
    codes = itq_codes(query, gallery, 16)
    for distance, arrays in (("euclidean", (query, gallery)), ("hamming", codes)):
        expected = evaluate_ranking(distance, arrays[0], labels[0], arrays[1], labels[1]).summary()
        on_gpu = evaluate_ranking(distance, arrays[0].cuda(), labels[0].cuda(), arrays[1].cuda(), labels[1].cuda()).summary()
        assert on_gpu == pytest.approx(expected, abs=1e-9)
    assert (top_k(query, gallery, 10) == top_k(query.cuda(), gallery.cuda(), 10)).all()


def test_phases_are_measured_on_the_device():
    phase = MeasuredPhases(torch.device("cuda"))
    big = torch.randn(4096, 4096, device="cuda")
    with phase("product"):
        big @ big
    with phase("nothing"):
        pass
    taken = phase.milliseconds()
    assert taken["product"] > 5 * taken["nothing"]
