"""Whole runs of small timm trunks with random weights: train, kill, resume, test, export, index and query."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.scripts import ROOT, TEST, TRAIN, same
from tests.helpers.tinted_dataset import write_tinted_dataset
from training.step import TrainingStep
from utils.checkpoints import read_checkpoint

pytestmark = pytest.mark.slow
KINDS = ["timm/test_vit", "timm/test_convnext", "timm/test_resnet"]
WORDS = ["--device", "cpu", "--image_size", 32, "--num_workers", 0, "--amp", "off"]
NO_VIEWS = ["--contrastive_lambda", 0, "--memory_lambda", 0.02]
RATES = ["--lr", 2e-3, "--lr_decay", 0.05]
SCHEDULE = ["--pretrained_weights", "none", "--batch_size", 12, "--validation_batches", 2, *NO_VIEWS, *RATES]
EPOCHS, STEPS = 12, 4


def checkpoint_in(folder: Path) -> Path:
    (found,) = folder.glob("*/checkpoint.pth.tar")
    return found


def train(dataset: Path, folder: Path, arch: str, *options: object) -> list[str]:
    words = [TRAIN, *WORDS, *SCHEDULE, "--arch", arch, "--steps_per_epoch", STEPS, "--epochs", EPOCHS, *options]
    return [str(word) for word in [*words, "--data_root", dataset, "-s", folder]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_tinted_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module", params=KINDS)
def trained(request, dataset, tmp_path_factory):
    """(arch, folder) of a run without interruption."""
    folder, before = tmp_path_factory.mktemp("trained"), sys.argv
    sys.argv = train(dataset, folder, request.param)
    try:
        runpy.run_path(TRAIN, run_name="__main__")
    finally:
        sys.argv = before
    return request.param, folder


class PulledPlug(BaseException):
    """An interruption that the program does not handle."""


def test_a_killed_run_resumes_bit_for_bit(trained, dataset, tmp_path, run_script, monkeypatch):
    arch, uninterrupted = trained
    original, taken = TrainingStep.__call__, []

    def step(*arguments):
        if len(taken) == STEPS + 3:
            raise PulledPlug
        taken.append(None)
        return original(*arguments)

    words = train(dataset, tmp_path, arch)
    with monkeypatch.context() as patch, pytest.raises(PulledPlug):
        patch.setattr(TrainingStep, "__call__", step)
        run_script(*words, "--save_minutes", 1e-9)
    code, out, err = run_script(*words, "--resume")
    assert code == 0, err
    assert "resuming after 1 epochs and 3 steps" in out and "differs" not in out
    found, expected = (read_checkpoint(checkpoint_in(folder)) for folder in (tmp_path, uninterrupted))
    assert same(found["state_dict"], expected["state_dict"]) and found["trunk"] == expected["trunk"]


def test_training_finds_more_photos_of_unseen_classes(trained, dataset, tmp_path, run_script):
    arch, folder = trained
    untrained = tmp_path / "untrained"
    code, _, err = run_script(*train(dataset, untrained, arch, "--epochs", 0))
    assert code == 0, err

    def score(checkpoint: Path, *options: object) -> float:
        results = tmp_path / "results.json"
        words = [*WORDS, "--data_root", dataset, "--no_report", "--no_cache", "--results", results]
        code, _, err = run_script(TEST, *words, "--checkpoint", checkpoint, *options)
        assert code == 0, err
        return json.loads(results.read_text())["real"]["map_all"]

    before, after = score(checkpoint_in(untrained), "--pretrained"), score(checkpoint_in(folder), "--arch", arch)
    assert after > before + 0.05


def test_it_is_exported_indexed_and_searched(trained, dataset, tmp_path, run_script):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("faiss")
    _, folder = trained
    checkpoint = checkpoint_in(folder)
    code, _, err = run_script("export.py", "--checkpoint", checkpoint, "-o", tmp_path / "net.onnx")
    assert code == 0 and (tmp_path / "net.onnx").exists(), err
    images, index = dataset / "Sketchy", tmp_path / "index"
    code, out, err = run_script(
        "search.py", "index", images / "photo/star", "--checkpoint", checkpoint, "-o", index, "--num_workers", 0
    )
    assert code == 0 and "12 in the index" in out, err
    photo = images / "photo/star/3.jpg"
    code, out, err = run_script("search.py", "query", photo, "--photo", "--index", index, "--json", "--all", "-k", 3)
    assert code == 0, err
    assert re.search(r"3\.jpg", out) and json.loads(out)


@pytest.mark.parametrize("arch", ["timm/test_vit", "timm/test_efficientnet"])  # the latter: BatchNorm with an activation in it
def test_two_processes_train_what_one_process_trains(arch, dataset, tmp_path, run_script):
    """To what a few steps of float32 leave of it."""
    few = ["--epochs", 1, "--steps_per_epoch", 2, "--lr", 1e-5]
    code, _, err = run_script(*train(dataset, tmp_path / "one", arch, *few))
    assert code == 0, err
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ended = subprocess.run(
        [*launcher, *train(dataset, tmp_path / "two", arch, *map(str, few))], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    one, two = (read_checkpoint(checkpoint_in(tmp_path / name)) for name in ("one", "two"))
    for key, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][key], value, rtol=1e-3, atol=1e-4, msg=key)
    before = {key: value["exp_avg"] for key, value in one["optimizer"]["state"].items()}
    for key, value in two["optimizer"]["state"].items():  # the mean gradient of these steps
        distance = (value["exp_avg"] - before[key]).norm() / (before[key].norm() + 1e-6)
        assert distance < 1e-2, key
    np.testing.assert_array_equal(sorted(before), sorted(two["optimizer"]["state"]))
