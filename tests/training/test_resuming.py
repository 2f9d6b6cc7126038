"""A run that is interrupted, in whatever way, resumes bit for bit; what it cannot resume from is named in one line."""

import contextlib
import dataclasses
import errno
import itertools
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import datasets.batches
import training.build
import training.train
from tests.helpers.scripts import RUN_NAME, SMALL, TRAIN, same, weights_of
from training.step import TrainingStep
from utils.errors import InputError
from utils.files import exclusive_lock

ROOT = Path(__file__).resolve().parents[2]
STEPS = 3
SHORT = ["--pretrained_weights", "none", "--steps_per_epoch", STEPS, "--validation_batches", 2, "--epochs", 2]

pytestmark = pytest.mark.slow
# what is patched in this process reaches its workers
patches_workers = pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="needs workers that are forked")


class PulledPlug(BaseException):
    """An interruption that the program does not handle."""


@pytest.fixture(scope="module")
def words(shared_dataset):
    return [TRAIN, *SMALL, *SHORT, "--data_root", shared_dataset, "-s"]


@pytest.fixture(scope="module")
def uninterrupted(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    before, sys.argv = sys.argv, [str(word) for word in [*words, folder]]
    try:
        runpy.run_path(TRAIN, run_name="__main__")
    finally:
        sys.argv = before
    return folder


@pytest.fixture
def after_steps(monkeypatch):
    """after_steps(n, act): while the block runs, `act` is called after the n-th step."""

    @contextlib.contextmanager
    def patched(count, act):
        original, taken = TrainingStep.__call__, []

        def step(*arguments):
            losses = original(*arguments)
            taken.append(losses)
            if len(taken) == count:
                act()
            return losses

        with monkeypatch.context() as patch:
            patch.setattr(TrainingStep, "__call__", step)
            yield

    return patched


def pull_plug():
    raise PulledPlug


def assert_ends_like(folder, uninterrupted):
    for name in ("checkpoint.pth.tar", "model_best.pth.tar"):
        assert same(weights_of(folder, name), weights_of(uninterrupted, name))
    ended, expected = (torch.load(it / RUN_NAME / "checkpoint.pth.tar", weights_only=True) for it in (folder, uninterrupted))
    assert ended["best_acc1"] == expected["best_acc1"]
    assert "progress" not in ended
    for number, moments in expected["optimizer"]["state"].items():
        assert all(torch.equal(value, ended["optimizer"]["state"][number][name]) for name, value in moments.items())


@pytest.mark.parametrize("steps", [5])
def test_a_plug_pulled_within_an_epoch(words, uninterrupted, tmp_path, run_script, after_steps, steps):
    """The state of the step before is on the disk."""
    with after_steps(steps, pull_plug), pytest.raises(PulledPlug):
        run_script(*words, tmp_path, "--save_minutes", 1e-9)
    code, out, err = run_script(*words, tmp_path, "--resume")
    assert code == 0, err
    assert "resuming after 1 epochs and 1 steps" in out
    assert "differs" not in out
    assert_ends_like(tmp_path, uninterrupted)


@pytest.mark.parametrize("steps, number", [(STEPS, signal.SIGTERM)])
def test_a_signal_saves_and_asks_to_be_queued_again(words, uninterrupted, tmp_path, run_script, after_steps, steps, number):
    with after_steps(steps, lambda: os.kill(os.getpid(), number)):
        code, _, err = run_script(*words, tmp_path)
    assert code == 75
    assert f"stopped by {number.name}, saved after 0 epochs and {steps} steps; go on with --resume" in err
    assert "Traceback" not in err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    code, out, err = run_script(*words, tmp_path, "-r")
    assert code == 0, err
    assert f"resuming after 0 epochs and {steps} steps" in out
    assert_ends_like(tmp_path, uninterrupted)


def test_a_signal_while_validating(words, uninterrupted, tmp_path, run_script, monkeypatch):
    def interrupted(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(training.build, "hash_scores", interrupted)
        assert run_script(*words, tmp_path)[0] == 75
    code, out, _ = run_script(*words, tmp_path, "-r")
    assert (code, f"resuming after 0 epochs and {STEPS} steps" in out) == (0, True)
    assert_ends_like(tmp_path, uninterrupted)


def test_a_signal_before_anything_is_trained(words, tmp_path, run_script, monkeypatch):
    monkeypatch.setattr(training.train, "Split", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    code, _, err = run_script(*words, tmp_path)
    assert (code, err.strip()) == (75, "stopped by SIGTERM, with nothing new to save")


@patches_workers
def test_a_signal_while_waiting_for_images(words, uninterrupted, tmp_path, run_script, monkeypatch, after_steps):
    """As with a drive that hangs: the steps so far are saved."""
    original, main, decoded, has_stepped = datasets.batches.decode, os.getpid(), itertools.count(1), tmp_path / "stepped"

    def hangs(*words):
        if os.getpid() != main and next(decoded) > 12:  # two batches
            while not has_stepped.exists():
                time.sleep(0.01)
            os.kill(main, signal.SIGTERM)
            time.sleep(1000)
        return original(*words)

    with monkeypatch.context() as patch, after_steps(1, has_stepped.touch):
        patch.setattr(datasets.batches, "decode", hangs)
        code, _, err = run_script(*words, tmp_path, "--num_workers", 1)
    assert code == 75
    assert multiprocessing.active_children() == []  # the stuck ones would keep the program from ending
    assert "stopped by SIGTERM, saved after 0 epochs and" in err
    code, out, err = run_script(*words, tmp_path, "--resume")
    assert code == 0, err
    assert "resuming after 0 epochs and" in out
    assert_ends_like(tmp_path, uninterrupted)


def test_a_step_that_does_not_end_is_not_waited_for(words, tmp_path):
    """As if it were in one long call into PyTorch, which no signal handler interrupts: the last checkpoint counts."""
    code = (
        "import os, runpy, signal, sys, time\n"
        "import utils.signals\n"
        "from training.step import TrainingStep\n"
        "utils.signals.GRACE_SECONDS = 0.1\n"
        "original = TrainingStep.__call__\n"
        "def step(*arguments):\n"
        "    losses = original(*arguments)\n"
        "    if arguments[-1] == 2:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(1000)\n"
        "    return losses\n"
        "TrainingStep.__call__ = step\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    words = [sys.executable, "-c", code, *map(str, words), str(tmp_path), "--save_minutes", "1e-9", "--num_workers", "1"]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 75
    assert "the work under way did not end within" in run.stderr and "Traceback" not in run.stderr
    assert torch.load(tmp_path / RUN_NAME / "checkpoint.pth.tar", weights_only=True)["progress"]["steps"] == 1


@patches_workers
def test_a_worker_that_dies_ends_the_run_with_its_reason(words, tmp_path, run_script, monkeypatch):
    main = os.getpid()
    dies = lambda *_: os._exit(3) if os.getpid() != main else None  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(datasets.batches, "decode", dies)
        code, _, err = run_script(*words, tmp_path, "--num_workers", 1)
    assert code == 2
    assert "error: a worker process that decodes images has ended (exited unexpectedly with exit code 3)" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(words, uninterrupted, tmp_path, run_script, damage):
    shutil.copytree(uninterrupted / RUN_NAME, tmp_path / RUN_NAME)
    newest = tmp_path / RUN_NAME / "checkpoint.pth.tar"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content) if damage == "flipped" else newest.unlink()
    code, out, err = run_script(*words, tmp_path, "--resume")
    assert code == 0, err
    assert f"note: {newest}: " in out and "checkpoint.previous.pth.tar" in out
    assert "resuming after 1 epochs" in out
    assert (tmp_path / RUN_NAME / "checkpoint.damaged.pth.tar").exists() == (damage != "gone")
    assert_ends_like(tmp_path, uninterrupted)


def test_without_a_whole_checkpoint_nothing_is_touched(words, uninterrupted, tmp_path, run_script):
    folder = tmp_path / RUN_NAME
    shutil.copytree(uninterrupted / RUN_NAME, folder)
    for name in ("checkpoint.pth.tar", "checkpoint.previous.pth.tar"):
        (folder / name).write_bytes(b"")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("[!.]*")}
    code, _, err = run_script(*words, tmp_path, "--resume", "--epochs", 3)
    assert code == 2 and "checkpoint.previous.pth.tar: damaged" in err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("[!.]*")} == before
    code, _, err = run_script(*words, tmp_path / "nowhere", "--resume", "--evaluate")
    assert code == 2 and "no such file" in err


@pytest.mark.parametrize("fault", ["while writing", "while writing it out"])
def test_a_full_disk_keeps_what_was_saved_last(words, uninterrupted, tmp_path, run_script, monkeypatch, fault):
    shutil.copytree(uninterrupted / RUN_NAME, tmp_path / RUN_NAME)
    newest = tmp_path / RUN_NAME / "checkpoint.pth.tar"
    before = newest.read_bytes()

    def half_written(content, path):
        path.write_bytes(b"PK")
        raise RuntimeError("PytorchStreamWriter failed writing file data/7: file write failed")

    def full(descriptor):
        if os.fstat(descriptor).st_size > 1e6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(*((torch, "save", half_written) if fault == "while writing" else (os, "fsync", full)))
        code, _, err = run_script(*words, tmp_path, "--epochs", 3, "--resume")
    assert code == 2
    assert ".pth.tar: cannot be written" in err and "free space" in err
    assert newest.read_bytes() == before
    assert not list(newest.parent.glob(".*.tar"))


def test_a_loss_that_is_not_finite_leaves_the_state_it_happened_in(words, tmp_path, run_script, monkeypatch):
    """The weights are those the step began with, though the losses are read five steps later."""
    weights = {}
    original = TrainingStep.__call__

    def poisoned(step, batch, epoch, number):
        if (epoch, number) == (0, 2):
            weights.update({name: value.clone() for name, value in step.student.named_parameters()})
            step.weights = dataclasses.replace(step.weights, classification=float("nan"))
        return original(step, batch, epoch, number)

    monkeypatch.setattr(TrainingStep, "__call__", poisoned)
    code, _, err = run_script(*words, tmp_path, "--steps_per_epoch", 5)
    assert code == 2
    assert "epoch 1, step 2: the total loss is not finite" in err
    record = json.loads((tmp_path / RUN_NAME / "not_finite.json").read_text())
    assert (record["epoch"], record["step"], len(record["files"])) == (1, 2, 6)
    assert all("/sketch/" in file for file in record["files"][:2]) and all("/photo/" in file for file in record["files"][2:])
    kept = weights_of(tmp_path, "not_finite.pth.tar")
    assert all(torch.equal(kept[name], value) for name, value in weights.items())
    assert not (tmp_path / RUN_NAME / "checkpoint.pth.tar").exists()


def test_two_runs_do_not_write_into_one_folder(words, tmp_path, run_script):
    (tmp_path / RUN_NAME).mkdir()
    holding = "import fcntl, sys; f = open(sys.argv[1], 'wb'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    lock = str(tmp_path / RUN_NAME / ".lock")
    with subprocess.Popen([sys.executable, "-c", holding, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        code, _, err = run_script(*words, tmp_path)
        other.kill()
    assert code == 2 and "another run is writing there" in err


def test_an_epoch_of_other_batches_is_refused(words, tmp_path, run_script, after_steps):
    with after_steps(3, pull_plug), pytest.raises(PulledPlug):
        run_script(*words, tmp_path, "--save_minutes", 1e-9)
    for change in (["--steps_per_epoch", 1], ["--seed", 7], ["--batch_size", 9]):
        code, _, err = run_script(*words, tmp_path, "--resume", *change)
        assert code == 2 and "was saved within an epoch of other batches" in err


def test_an_earlier_runs_state_is_not_taken_for_that_of_a_run_killed_early(
    words, uninterrupted, tmp_path, run_script, after_steps
):
    shutil.copytree(uninterrupted / RUN_NAME, tmp_path / RUN_NAME)
    with after_steps(1, pull_plug), pytest.raises(PulledPlug):
        run_script(*words, tmp_path, "--epochs", 1, "--seed", 9)
    assert same(weights_of(tmp_path), weights_of(uninterrupted))  # nothing was moved yet
    code, out, err = run_script(*words, tmp_path, "--epochs", 1, "--seed", 9, "--resume")
    assert code == 0, err
    assert "starting a new run" in out
    assert same(weights_of(tmp_path, "previous_1/checkpoint.pth.tar"), weights_of(uninterrupted))
    assert not same(weights_of(tmp_path), weights_of(uninterrupted))


def test_weights_that_are_not_finite_stop_the_run(words, tmp_path, run_script, after_steps, monkeypatch):
    steps = []
    original = training.build.TrainingStep
    monkeypatch.setattr(training.build, "TrainingStep", lambda **parts: steps.append(original(**parts)) or steps[-1])
    with after_steps(STEPS, lambda: steps[0].student.linear.weight.data.fill_(float("inf"))):
        code, _, err = run_script(*words, tmp_path)
    assert code == 2
    assert f"epoch 1, step {STEPS}: the weights are not finite" in err
    assert [path.name for path in tmp_path.glob("*/*.pth.tar")] == ["not_finite.pth.tar"]


def test_a_lock_that_cannot_be_opened_is_not_taken_for_a_run(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(InputError, match=r"\.lock: cannot be opened"), exclusive_lock(tmp_path / ".lock", "another run"):
        pass


def test_bad_images_are_skipped_counted_and_listed(words, tiny_dataset, tmp_path, run_script):
    photos = tiny_dataset / "Sketchy/photo"
    (photos / "mug/0.jpg").write_bytes(b"")
    (photos / "star/1.jpg").unlink()
    here = [*words, tmp_path, "--data_root", tiny_dataset, "--epochs", 1]
    code, out, err = run_script(*here, "--skip_bad_images")
    assert code == 0, err
    assert "all_photo_filelist_train.txt: 1 of 36 images cannot be read and are skipped" in out
    assert "mug/0.jpg: not a readable image" in (tmp_path / RUN_NAME / "skipped_images.txt").read_text()
    results = tmp_path / "tested/results.json"
    tested = ["test_cse_resnet_sketchy_zeroshot.py", *SMALL, "--data_root", tiny_dataset, "--resume_dir", tmp_path]
    code, _, err = run_script(*tested, "--results", results, "--skip_bad_images", "--no_report", "--no_cache")
    assert code == 0, err
    figures = json.loads(results.read_text())
    assert (figures["gallery"], figures["skipped_images"]) == (23, 1)
    assert (results.parent / "results_skipped_images.txt").read_text().count("\n") == 1


def test_running_out_of_memory_says_what_to_turn(words, tmp_path, run_script, monkeypatch):
    def too_much(*_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried ...")

    monkeypatch.setattr(TrainingStep, "__call__", too_much)
    code, _, err = run_script(*words, tmp_path)
    assert code == 2 and "out of memory on the CPU; lower --batch_size" in err
