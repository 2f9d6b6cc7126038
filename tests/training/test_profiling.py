import gzip
import json
from types import SimpleNamespace

from tests.helpers.steps import batch, training_step
from training.profiling import profile_steps

PARTS = {"views", "student forward", "teacher forward", "losses", "memory", "backward", "optimizer"}


class Batches(SimpleNamespace):
    def __len__(self):
        return self.count

    def of_epoch(self, epoch):
        return iter([batch()] * self.count)


def test_a_profile_names_the_parts_of_a_step_and_leaves_a_trace(tmp_path):
    table = profile_steps(training_step(), Batches(count=4), 0, tmp_path)
    assert "Self CPU" in table and "student forward" in table
    trace = json.loads(gzip.decompress((tmp_path / "profile.json.gz").read_bytes()))
    named = [event["name"] for event in trace["traceEvents"] if event.get("name") in PARTS]
    assert set(named) == PARTS
    assert named.count("views") == 1  # three steps warm up, the fourth is measured
