"""BatchNorm over several processes; what they compute together is tested in tests/training/test_distributed.py."""

import copy

import pytest
import timm
import torch
import torch.distributed as dist
from torch import nn

from models.batchnorm import SynchronisedBatchNorm, synchronise_batchnorm


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    monkeypatch.setattr(dist, "all_gather", lambda received, sent: received[0].copy_(sent))
    monkeypatch.setattr(dist, "all_reduce", lambda sums: None)


def network_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "BatchNorm1d":
        return nn.Sequential(nn.Conv2d(3, 8, 5), nn.Flatten(2), nn.BatchNorm1d(8), nn.Flatten(), nn.BatchNorm1d(8 * 28 * 28))
    return timm.create_model(kind, num_classes=0)


@pytest.mark.parametrize("kind", ["test_efficientnet", "test_byobnet", "BatchNorm1d"])  # BatchNorm followed by an activation
def test_one_process_computes_what_the_networks_own_layers_compute(kind):
    plain = network_of(kind)
    synchronised = synchronise_batchnorm(copy.deepcopy(plain))
    assert synchronised.state_dict().keys() == plain.state_dict().keys()
    assert not [m for m in synchronised.modules() if type(m) in (nn.BatchNorm1d, nn.BatchNorm2d, timm.layers.BatchNormAct2d)]
    assert any(isinstance(layer, SynchronisedBatchNorm) for layer in synchronised.modules())
    images = torch.randn(4, 3, 32, 32)
    for network in (plain, synchronised):
        network.train()(images).square().mean().backward()
    for (key, wanted), found in zip(plain.named_parameters(), synchronised.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-3, atol=1e-4, msg=key)
    for (key, wanted), found in zip(plain.named_buffers(), synchronised.buffers(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5, msg=key)
    with torch.no_grad():
        torch.testing.assert_close(synchronised.eval()(images), plain.eval()(images), rtol=1e-3, atol=1e-4)
