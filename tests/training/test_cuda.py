"""What only a GPU can show; skipped where there is none."""

import pytest
import torch

from datasets.batches import Batch
from retrieval.hashing import itq_codes
from retrieval.scores import evaluate_ranking
from tests.helpers.nearest import top_k
from tests.helpers.steps import batch, training_step

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_a_training_step_never_waits_for_the_device():
    it = training_step(device="cuda")
    decoded = Batch(batch().images.contiguous(memory_format=torch.channels_last).pin_memory(), batch().labels)
    for step in range(4):
        if step == 2:  # the first steps choose algorithms and allocate
            torch.cuda.set_sync_debug_mode("error")
        try:
            losses = it(decoded, epoch=0, number=step)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(losses).all()


def test_losses_agree_with_the_cpu():
    torch.backends.cudnn.allow_tf32 = False
    on_cpu, on_gpu = (training_step(device=device).losses(batch(), epoch=0, number=1) for device in ("cpu", "cuda"))
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
