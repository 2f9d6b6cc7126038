"""Several processes compute what one does: losses, gradients, memory bank, BatchNorm statistics and weights."""

import functools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from tests.helpers.distributed_training import SETTINGS, trained
from tests.helpers.scripts import ROOT, RUN_NAME, SHORT, SMALL, TEST, TRAIN, same, weights_of
from training.checkpointing import resume
from training.config import TrainConfig
from utils.distributed import Distributed, init_distributed, shard_positions
from utils.errors import InputError


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def started(size: int, *words: object, **keywords) -> list[subprocess.Popen]:
    """`size` processes of one program, as torchrun would start them."""
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", *map(str, words)],
            cwd=ROOT,
            env={**os.environ, **places, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            **keywords,
        )
        for rank in range(size)
    ]


def run_distributed(size: int, setting: str, folder: Path) -> tuple[dict, list[str]]:
    """The outcome of the main process, and a digest of the outcome of each."""
    processes = started(size, "-m", "tests.helpers.distributed_training", setting, folder)
    assert [process.wait(timeout=600) for process in processes] == [0] * size
    digests = [path.read_text() for path in folder.glob("*.digest")]
    return torch.load(folder / "first.pt", weights_only=True), digests


@pytest.fixture(scope="module")
def alone():
    return functools.lru_cache(maxsize=1)(lambda setting: trained(Distributed(), setting))  # they are large


@pytest.mark.slow
@pytest.mark.parametrize("size, setting", [(2, "float64"), (2, "float32"), (4, "float32")])
def test_several_processes_learn_what_one_process_learns(size, setting, alone, tmp_path):
    expected, tolerance = alone(setting), SETTINGS[setting]["tolerance"]

    def assert_close(found, wanted, name):
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance, msg=lambda text: f"{name}: {text}")

    found, digests = run_distributed(size, setting, tmp_path)
    assert torch.equal(found["counts"], expected["counts"])
    for name in ("losses", "slots", "gradients"):
        assert_close(found[name], expected[name], name)
    assert found["weights"].keys() == expected["weights"].keys()
    for name, value in expected["weights"].items():
        assert_close(found["weights"][name], value, name)
    assert found["moved"] > 5 * tolerance  # else the weights would agree without any training
    assert len(digests) == size and len(set(digests)) == 1  # every process has the same bank and weights, to the last bit


@pytest.mark.slow
def test_the_synchronised_batchnorm_of_gpus_computes_what_one_process_computes():
    assert [process.wait(timeout=300) for process in started(2, "-m", "tests.helpers.fused_batchnorm")] == [0, 0]


def torchrun(*words: object) -> str:
    """What two processes of an entry script print; they must succeed."""
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *map(str, words)]
    ended = subprocess.run(launched, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


@pytest.fixture(scope="module")
def trained_by_two(shared_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    out = torchrun(TRAIN, *SMALL, *SHORT, "--epochs", 1, "--data_root", shared_dataset, "-s", folder)
    assert out.count("in 2 processes") == 1 and out.count("epoch 1/1") == 1  # the first process prints
    return folder


def assert_nearly(ours: dict, theirs: dict) -> None:
    """Equal to what an epoch of float32 leaves of it; the exact comparison is above."""
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if value.is_floating_point():
            assert (ours[name] - value).norm() <= 0.02 * value.norm() + 1e-3, name


@pytest.mark.slow
def test_torchrun_trains_what_one_process_trains(trained_by_two, shared_dataset, tmp_path, run_script):
    code, _, err = run_script(TRAIN, *SMALL, *SHORT, "--epochs", 1, "--data_root", shared_dataset, "-s", tmp_path)
    assert code == 0, err
    assert_nearly(weights_of(trained_by_two), weights_of(tmp_path))
    assert not list((trained_by_two / RUN_NAME).glob(".*.tar"))


@pytest.mark.slow
def test_torchrun_tests_what_one_process_tests(trained_by_two, shared_dataset, tmp_path, run_script):
    """Features come from the same network on the same images, in batches of other sizes; then from the cache."""
    tested = [TEST, *SMALL, "--data_root", shared_dataset, "--resume_dir", trained_by_two, "--no_report"]
    code, _, err = run_script(*tested, "--no_cache", "--results", tmp_path / "one.json")
    assert code == 0, err
    torchrun(*tested, "--results", tmp_path / "two.json")
    code, out, err = run_script(*tested, "--results", tmp_path / "cached.json")
    assert code == 0 and out.count("features from") == 2, err
    one, two, cached = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two", "cached"))
    for ranking in ("real", "hash"):
        assert two[ranking] == pytest.approx(one[ranking], abs=1e-3)
        assert cached[ranking] == two[ranking]


LOST = (  # the machine: the process that trains, before its second step, and its torchrun
    "import os, runpy, signal, sys\n"
    "from training.step import TrainingStep\n"
    "original = TrainingStep.__call__\n"
    "def step(*arguments):\n"
    "    if arguments[-1] == 2:\n"
    "        os.kill(os.getppid(), signal.SIGKILL)\n"
    "        os.kill(os.getpid(), signal.SIGKILL)\n"
    "    return original(*arguments)\n"
    "TrainingStep.__call__ = step\n"
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')\n"
)


def machine(port: str, nodes: str, *words: object, is_host: int = 0) -> subprocess.Popen:
    """A torchrun with one process; the host holds the rendezvous."""
    limits = "join_timeout=200,last_call_timeout=4,keep_alive_interval=1,keep_alive_max_attempt=4"  # seconds, and how often
    meeting = ["--rdzv_backend", "c10d", "--rdzv_endpoint", f"127.0.0.1:{port}", "--rdzv_conf", f"{limits},is_host={is_host}"]
    launched = [sys.executable, "-m", "torch.distributed.run", "--nnodes", nodes, "--max_restarts", "3", *meeting]
    words = [*launched, "--local_addr", "127.0.0.1", "--no_python", sys.executable, "-W", "ignore", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", ["2", "1:2"])
def test_a_lost_machine_comes_back_or_the_other_goes_on_alone(nodes, trained_by_two, shared_dataset, tmp_path):
    """With the machine back, the weights are bit for bit those of a run that lost none."""
    port, saving = free_port(), ["--save_minutes", 1e-9, "--resume"]
    words = [TRAIN, *SMALL, *SHORT, *saving, "--epochs", 1, "--data_root", shared_dataset, "-s", tmp_path]
    lost = machine(port, nodes, "-c", LOST, *words)
    agents = [machine(port, nodes, *words, is_host=1)]
    assert lost.wait(timeout=300) == -signal.SIGKILL, lost.stdout.read()[-3000:]
    if nodes == "2":
        agents.append(machine(port, nodes, *words))
    out = "".join(agent.communicate(timeout=300)[0] for agent in agents)
    assert [agent.returncode for agent in agents] == [0] * len(agents), out[-3000:]
    assert "resuming after 0 epochs and 1 steps" in out
    ours, theirs = weights_of(tmp_path), weights_of(trained_by_two)
    assert_nearly(ours, theirs)
    assert nodes == "1:2" or same(ours, theirs)


@pytest.mark.slow
def test_a_mistake_is_one_message_and_ends_all_processes(shared_dataset, tmp_path):
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", TRAIN, *SMALL]
    ended = subprocess.run([*launched, "--data_root", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode != 0
    errors = {line for line in ended.stderr.splitlines() if line.startswith("error: ")}  # on a busy machine each may come twice
    assert len(errors) == 1 and f"{tmp_path / 'Sketchy/zeroshot1'}: no such folder" in errors.pop()


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_others_in_one_line(shared_dataset, tmp_path):
    words = [TRAIN, *SMALL, *SHORT, "--epochs", 900, "--data_root", shared_dataset, "-s", tmp_path]
    first, second = started(2, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "epoch 1/900" not in (line := first.stdout.readline()):
        assert line, first.stderr.read()
    second.kill()
    _, err = first.communicate(timeout=300)
    second.communicate()
    assert first.returncode == 2
    assert "error: another process of this run has ended" in err and "Traceback" not in err


@pytest.mark.slow
def test_several_processes_stop_together_and_one_process_resumes(shared_dataset, tmp_path, run_script):
    """One process gets the signal; all stop once the main process has saved."""
    words = [TRAIN, *SMALL, *SHORT, "--data_root", shared_dataset, "-s", tmp_path]
    first, second = started(2, *words, "--epochs", 900, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "epoch 1/900" not in (line := first.stdout.readline()):
        assert line, first.stderr.read()
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=300) == 75
    epochs = torch.load(tmp_path / RUN_NAME / "checkpoint.pth.tar", weights_only=True)["epoch"]  # whole by now
    _, err = first.communicate()
    assert first.returncode == 75 and "stopped by another process, saved after" in err
    code, out, err = run_script(*words, "--epochs", epochs + 1, "--resume")
    assert code == 0, err
    assert f"resuming after {epochs} epochs" in out


@pytest.mark.parametrize(
    "environment, device, said",
    [
        ({"WORLD_SIZE": "two"}, "cpu", "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "2"}, "cpu", "RANK is ''"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "cpu", "cannot join"),
    ],
)
def test_half_an_environment_is_named(monkeypatch, environment, device, said):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=said) as error, init_distributed(device):
        pass
    assert "\n" not in str(error.value)


def test_what_the_library_says_of_processes_that_cannot_join_is_one_line(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(dist, "init_process_group", mock.Mock(side_effect=RuntimeError("no store\n  at all")))
    with pytest.raises(InputError, match=r"cannot join \(no store at all\); start them with torchrun"), init_distributed("cpu"):
        pass


def test_a_machine_without_power_is_reported_in_one_line(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(dist, "init_process_group", mock.Mock())
    with pytest.raises(InputError, match="another process of this run has ended"), init_distributed("cpu"):
        raise RuntimeError("[pair.cc:547] Read error [10.0.0.2]:41714: Connection timed out")


def test_a_run_folder_that_only_one_machine_has_is_refused(tmp_path):
    """This machine has no checkpoint there, the other one has."""
    found = mock.Mock(all_gather_objects=lambda own: [own, (3, 0, 0.5)])
    with pytest.raises(InputError, match="different checkpoints there; put --savedir on a disk that they share"):
        resume(tmp_path, TrainConfig(), mock.Mock(distributed=found), mock.Mock())


@pytest.mark.parametrize("restarts, machines, name", [("0", "1", None), ("2", "1", "restart 2/place"), ("2", "2", None)])
def test_processes_that_are_started_again_do_not_read_the_places_of_those_before_them(monkeypatch, restarts, machines, name):
    environment = {"WORLD_SIZE": "2", "RANK": "0", "TORCHELASTIC_RESTART_COUNT": restarts, "GROUP_WORLD_SIZE": machines}
    for each, value in environment.items():
        monkeypatch.setenv(each, value)
    store = dist.HashStore()
    monkeypatch.setattr(dist, "rendezvous", lambda *_, **__: iter([(store, 0, 2)]))
    monkeypatch.setattr(dist, "init_process_group", joining := mock.Mock(side_effect=RuntimeError))
    with pytest.raises(InputError), init_distributed("cpu"):
        pass
    given = joining.call_args.kwargs.get("store")
    assert (given is None) == (name is None)
    if name:
        given.set("place", "here")
        assert store.check([name])


@pytest.mark.parametrize("count, size", [(0, 3), (2, 4), (9, 2), (9, 4), (8, 4)])
def test_parts_go_round_once_and_in_order(count, size):
    parts = [Distributed(rank, size).own_positions(count) for rank in range(size)]
    assert [position for share in parts for position in share] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_share_has_sketches_first_and_then_photos():
    assert [shard_positions((3, 4), rank, 2) for rank in range(2)] == [[0, 1, 3, 4], [2, 5, 6]]


COMPILED = (
    "import functools, runpy, sys, torch\n"
    "torch.compile = functools.partial(torch.compile, backend='aot_eager')\n"  # needs no C++ compiler
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')\n"
)


@pytest.mark.slow
def test_two_processes_train_compiled(shared_dataset, tmp_path):
    words = [TRAIN, *SMALL, *SHORT, "--epochs", 1, "--data_root", shared_dataset, "--arch", "timm/test_resnet"]
    weights = []
    for choice in ("on", "off"):
        folder = tmp_path / choice
        chosen = [*words, "-s", folder, "--compile", choice]
        first, second = started(2, "-c", COMPILED, *chosen, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        out, others = first.communicate(timeout=600)[0], second.communicate()[0]
        assert (first.returncode, second.returncode) == (0, 0), out[-3000:] + others[-3000:]
        assert ("compiled in" in out) == (choice == "on")
        (checkpoint,) = folder.glob("*/checkpoint.pth.tar")
        weights.append(torch.load(checkpoint, weights_only=True)["state_dict"])
    for name, value in weights[1].items():
        torch.testing.assert_close(weights[0][name], value, rtol=1e-2, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}")
