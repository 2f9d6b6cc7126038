"""The figures of a test do not depend on the engine that embeds."""

import json

import pytest

from models.openvino_engine import openvino_version
from tests.helpers.exporting import WIDTH, write_student
from tests.helpers.scripts import SMALL, TEST

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not openvino_version(), reason="needs OpenVINO")]


def figures(content):
    """{path: number} of a results file."""
    if isinstance(content, dict):
        pairs = ((f"{key}/{inner}", value) for key, part in content.items() for inner, value in figures(part).items())
        return {path: value for path, value in pairs if not path.startswith("seconds")}
    return {"": content} if isinstance(content, (int, float)) else {}


@pytest.mark.parametrize("fitted_to", ["queries", "gallery", "train"])
def test_figures_are_equal_with_and_without_an_engine(fitted_to, shared_dataset, tmp_path, run_script, monkeypatch):
    checkpoint, found = write_student(tmp_path / "model_best.pth.tar", "cse_resnet50", side=32), {}
    monkeypatch.setattr("models.engines.LEAST_PIXELS", 0)
    for engine in ("OpenVINO", "PyTorch"):
        results = tmp_path / f"{engine}.json"
        data = ["--data_root", shared_dataset, "--checkpoint", checkpoint, "--num_hashing", WIDTH, "--no_cache", "--no_report"]
        code, out, err = run_script(TEST, *SMALL, *data, "--itq_fit", fitted_to, "--results", results)
        assert code == 0, err
        assert out.count("embedding by") == 2 and f"embedding by {engine} " in out
        found[engine] = figures(json.loads(results.read_text()))
        monkeypatch.setattr("models.engines.openvino_version", lambda: None)
    assert len(found["PyTorch"]) >= 50
    assert found["OpenVINO"] == pytest.approx(found["PyTorch"], abs=1e-6)
    assert not (tmp_path / "engine").exists()
