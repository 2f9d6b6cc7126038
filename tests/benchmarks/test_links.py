"""What a step sends and what that costs, against figures worked out by hand."""

import pytest
from torch import nn

from benchmarks.links import (
    BN_BACKWARD,
    BN_FORWARD,
    CLASS_LOGITS,
    CONTRAST,
    GRADIENTS,
    POOLED,
    STOP_FLAG,
    TEACHER_LOGITS,
    Links,
    Sent,
    efficiency,
    from_shapes,
    network,
    with_bf16_gradients,
    with_local_batchnorm,
)
from models.dsn import Student

CLASSES = 48


@pytest.fixture(scope="module")
def sent():
    return from_shapes(network(CLASSES), (5, 7), 2)  # shares of 3 + 4 and 2 + 3


def test_gradients_are_those_of_the_network(sent):
    student = Student(64, CLASSES)
    assert sent[GRADIENTS].payload == 4 * sum(parameter.numel() for parameter in student.parameters())
    student.freeze_trunk()
    frozen = from_shapes(student, (5, 7), 2)
    heads = 2048 * 64 + 64 + 64 * 1000 + 1000 + 64 * CLASSES + CLASSES
    assert frozen[GRADIENTS] == Sent("all_reduce", 1, 4 * heads)


def test_statistics_are_those_of_every_batchnorm(sent):
    widths = [64, *3 * [64, 64, 256], *4 * [128, 128, 512], *6 * [256, 256, 1024], *3 * [512, 512, 2048], 256, 512, 1024, 2048]
    assert sorted(widths) == sorted(m.num_features for m in Student(64, CLASSES).modules() if isinstance(m, nn.BatchNorm2d))
    assert sent[BN_FORWARD] == Sent("all_gather", 53, 2 * 8 * (2 * sum(widths) + 53))
    assert sent[BN_BACKWARD] == Sent("all_reduce", 53, 8 * 2 * sum(widths))


def test_gathered_rows_are_padded_to_the_largest_share(sent):
    assert sent[CLASS_LOGITS] == Sent("all_gather", 1, 2 * 7 * CLASSES * 4)
    assert sent[TEACHER_LOGITS] == Sent("all_gather", 2, 2 * 2 * 4 * 1000 * 4)
    assert sent[CONTRAST] == Sent("all_gather", 1, 2 * 7 * 2 * 64 * 4)
    assert sent[POOLED] == Sent("all_gather", 1, 2 * 7 * 2048 * 4)
    assert sent[STOP_FLAG] == Sent("all_reduce", 1, 8)


def test_a_ring_moves_what_it_must():
    assert Sent("all_reduce", 1, 800).moved(8) == 1400
    assert Sent("all_gather", 1, 800).moved(8) == 700


def test_efficiency_by_hand():
    """1 s of gradients (2 · 3/4 · 200 bytes at 375 a second, 0.2 s for two collectives), 0.5 s of gathers, 0.5 s for the flag."""
    sent = {
        GRADIENTS: Sent("all_reduce", 2, 200),
        POOLED: Sent("all_gather", 1, 200),
        STOP_FLAG: Sent("all_reduce", 1, 0),
    }
    links = Links(bandwidth=375, latency=0.1, flag_latency=0.5)
    assert efficiency(3.0, sent, 4, links) == pytest.approx((3 / 5, 3 / 4))  # 2 s of the 3 are the backward pass
    assert efficiency(0.9, sent, 4, links) == pytest.approx((0.9 / 2.9, 0.9 / 2.3))  # 0.4 s of gradients come after it


def test_variants_send_less(sent):
    assert with_bf16_gradients(sent)[GRADIENTS].payload * 2 == sent[GRADIENTS].payload
    local = with_local_batchnorm(sent, network(CLASSES))
    assert BN_FORWARD not in local and BN_BACKWARD not in local
    assert sum(what.collectives for what in sent.values()) - sum(what.collectives for what in local.values()) == 104
