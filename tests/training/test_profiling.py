import gzip
import json

import torch

from tests.helpers.learner import batch, learner
from training.profiling import phase_table, profile_steps
from training.step import take_step
from utils.phases import MeasuredPhases, Phases, waited_for

PARTS = ["waiting for data", "views", "student forward", "teacher forward", "losses", "memory", "backward", "optimizer"]


def test_a_profile_names_the_parts_of_a_step_and_leaves_a_trace(tmp_path):
    it = learner()
    optimizer = torch.optim.Adam(it.student.parameters())
    before, ran = it.phase, []

    def step(batch, number):
        ran.append(number)
        take_step(it, optimizer, batch, 2, 0, number)

    text = profile_steps(iter([batch()] * 4), 4, step, it, tmp_path)
    assert ran == [1, 2, 3, 4]  # three warm up, the fourth is measured
    assert [line[:24].strip() for line in text.splitlines()[1:9]] == PARTS
    assert "slowest operations" in text
    assert "images/s over 1 steps" in text
    assert it.phase is before
    trace = json.loads(gzip.decompress((tmp_path / "profile.json.gz").read_bytes()))
    assert {*PARTS} <= {event.get("name") for event in trace["traceEvents"]}


def test_phases_add_up_to_their_step():
    table = phase_table({"views": 10.0, "backward": 30.0}, 50.0, 2).splitlines()
    assert table[1].split() == ["views", "5.00", "20.0%"]
    assert table[3].split() == ["between", "the", "phases", "5.00", "20.0%"]
    assert table[4].split() == ["step", "25.00", "100.0%"]


def test_a_measured_phase_is_as_long_as_it_took():
    phase = MeasuredPhases(torch.device("cpu"))
    clock = iter([1.0, 1.5, 2.0, 2.25, 7.0, 8.0])
    phase._now = lambda: next(clock)
    for name in ("a", "b", "a"):
        with phase(name):
            pass
    assert phase.milliseconds() == {"a": 1500.0, "b": 250.0}


def test_waiting_passes_everything_on():
    assert list(waited_for(range(1, 4), Phases())) == [1, 2, 3]
