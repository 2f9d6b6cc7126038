"""BatchNorm over several processes; what they compute together is tested in tests/training/test_distributed.py."""

import copy

import pytest
import timm
import torch
import torch.distributed as dist
from torch import nn

from models.batchnorm import SynchronisedBatchNorm, synchronise_batchnorm

CHOSEN = {"cpu": SynchronisedBatchNorm, "cuda": nn.SyncBatchNorm}


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
@pytest.mark.parametrize("device", CHOSEN)
def test_one_process_computes_what_the_networks_own_layers_compute(device, kind):
    plain = network_of(kind)
    synchronised = synchronise_batchnorm(copy.deepcopy(plain), torch.device(device))
    assert synchronised.state_dict().keys() == plain.state_dict().keys()
    for before, after in zip(plain.modules(), synchronised.modules(), strict=True):
        is_batchnorm = isinstance(before, (nn.BatchNorm1d, nn.BatchNorm2d))
        assert isinstance(after, CHOSEN[device]) if is_batchnorm else type(after) is type(before)
    images = torch.randn(4, 3, 32, 32)
    for network in (plain, synchronised):
        network.train()(images).square().mean().backward()
    for (key, wanted), found in zip(plain.named_parameters(), synchronised.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-3, atol=1e-4, msg=key)
    for (key, wanted), found in zip(plain.named_buffers(), synchronised.buffers(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5, msg=key)
    with torch.no_grad():
        torch.testing.assert_close(synchronised.eval()(images), plain.eval()(images), rtol=1e-3, atol=1e-4)
