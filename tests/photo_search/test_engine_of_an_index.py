"""The converted network that an index keeps: searches need neither PyTorch nor the checkpoint."""

import json
import shutil
import subprocess
import sys

import pytest
from PIL import Image, ImageDraw

from models.openvino_engine import openvino_version
from tests.helpers.network import write_checkpoint
from tests.helpers.scripts import ROOT

pytest.importorskip("faiss")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not openvino_version(), reason="needs OpenVINO")]
UNWANTED = ("torch", "openvino_telemetry")
RUN = "import runpy, sys; sys.argv[:1] = []; runpy.run_path('search.py', run_name='__main__'); "
RUN += f"print([name for name in {UNWANTED} if sys.modules.get(name)])"


@pytest.fixture
def network_file(network_file, tmp_path):
    """A copy that a test may remove."""
    return shutil.copy(network_file, tmp_path / "copy.pth.tar")


@pytest.fixture
def index(photos, network_file, tmp_path, search):
    words = [photos, "--checkpoint", network_file, "-o", tmp_path / "index", "--num_workers", 0, "--precision", "float32"]
    code, out, err = search("index", *words)
    assert code == 0, err
    assert "12 photos embedded" in out and "photos/s by OpenVINO" in out and "float32)" in out
    return tmp_path / "index"


def similarities(out):
    return {hit["path"]: hit["similarity"] for hit in json.loads(out)[0]["results"]}


def test_a_query_imports_no_pytorch_and_no_telemetry_and_finds_what_pytorch_finds(index, network_file, tmp_path, search):
    drawing = Image.new("L", (64, 64), "white")
    ImageDraw.Draw(drawing).ellipse((10, 20, 50, 60), width=3)
    drawing.save(tmp_path / "drawing.png")
    words = ["query", tmp_path / "drawing.png", "--index", index, "--json", "--precision", "float32"]
    command = [sys.executable, "-c", RUN, "search.py", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    out, _, imported = done.stdout.rstrip().rpartition("\n")
    assert imported == "[]"
    _, by_checkpoint, _ = search(*words, "--checkpoint", network_file)
    shutil.rmtree(index / "engine")
    _, converted_again, _ = search(*words)
    assert (index / "engine/network.bin").is_file()
    for other in (by_checkpoint, converted_again):
        assert similarities(other) == pytest.approx(similarities(out), abs=1e-5)


def test_the_checkpoint_may_be_gone(index, network_file, photos, search):
    network_file.unlink()
    assert search("query", photos / "old/3.png", "--photo", "--index", index)[0] == 0
    shutil.copy(photos / "old/3.png", photos / "old/new.png")
    code, out, err = search("index", "-o", index, "--num_workers", 0)
    assert code == 0 and out.startswith("1 photo embedded"), err


def test_another_network_changes_nothing(index, photos, tmp_path, search):
    before = (index / "engine/network.bin").read_bytes()
    other = write_checkpoint(tmp_path / "other.pth.tar", seed=5)
    code, _, err = search("query", photos / "old/3.png", "--photo", "--index", index, "--checkpoint", other)
    assert code == 2 and "was made with another checkpoint" in err
    assert (index / "engine/network.bin").read_bytes() == before


def test_bf16_needs_a_cpu_that_has_it(index, photos, search, monkeypatch):
    monkeypatch.setattr("photo_search.network.has_bf16", lambda: False)
    code, _, err = search("query", photos / "old/3.png", "--photo", "--index", index, "--precision", "bf16")
    assert code == 2 and err == "error: --precision bf16: this CPU is not known to compute in bfloat16; use --precision auto"


def test_a_query_converts_nothing_that_cannot_be_kept(index, photos, search):
    shutil.rmtree(index / "engine")
    (index / "engine").write_text("mine")
    code, _, err = search("query", photos / "old/3.png", "--photo", "--index", index)
    assert code == 0 and err.startswith("searching by PyTorch")
    assert (index / "engine").read_text() == "mine"
