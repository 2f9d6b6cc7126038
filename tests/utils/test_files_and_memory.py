"""Locks between processes, and how much memory a machine or its container leaves."""

import contextlib
import multiprocessing
import os
import time

import pytest
import torch

from utils.files import atomic_write, remove_unfinished, require_writable, wait_for_lock
from utils.ram import available_memory, format_bytes, peak_memory


@pytest.mark.parametrize("length", [200, 230, 255])
def test_files_of_the_longest_names_are_written_whole(tmp_path, length):
    path = tmp_path / f"{'x' * (length - 4)}.npz"
    require_writable(path, "--out", ".npz")
    for content in ("first", "second"):
        with atomic_write(path, tmp_path / f"{'y' * (length - 4)}.npz") as temporary:
            assert temporary.suffix == ".npz" and temporary.name != path.name
            temporary.write_text(content)
    assert path.read_text() == "second" and sorted(map(len, os.listdir(tmp_path))) == [length, length]


@pytest.mark.parametrize("length", [20, 255])
def test_what_killed_writers_left_is_removed(tmp_path, length):
    path = tmp_path / f"{'x' * (length - 4)}.npz"
    with contextlib.suppress(KeyError), atomic_write(path) as temporary:
        left = temporary.name
        raise KeyError
    (tmp_path / left).write_text("half")
    remove_unfinished(path)
    assert not os.listdir(tmp_path)


def test_a_lock_is_let_go_though_a_child_process_still_has_it_open(tmp_path, capsys):
    with wait_for_lock(tmp_path / "x.lock", "waiting") as is_held:
        assert is_held
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(5,))
        child.start()
    try:
        with wait_for_lock(tmp_path / "x.lock", "waiting"):
            assert capsys.readouterr().out == ""
    finally:
        child.kill()


def system(root, available: int, groups: str, limits: dict[str, dict[str, object]]):
    """A /proc and /sys of one's own; `limits`: group → file → content."""
    files = {"proc/meminfo": f"MemTotal: 99 kB\nMemAvailable: {available} kB\n", "proc/self/cgroup": groups}
    files |= {f"sys/fs/cgroup/{group}/{name}": value for group, found in limits.items() for name, value in found.items()}
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(str(content))
    return root


@pytest.mark.parametrize(
    "groups, limits, expected",
    [
        ("0::/\n", {}, 1_024_000),
        ("0::/\n", {"": {"memory.max": "max", "memory.current": 5, "memory.stat": "inactive_file 1"}}, 1_024_000),
        ("0::/\n", {"": {"memory.max": 900, "memory.current": 500, "memory.stat": "anon 1\ninactive_file 100"}}, 500),
        ("0::/job/step\n", {"job": {"memory.max": 800, "memory.current": 500, "memory.stat": "inactive_file 0"}}, 300),
        (
            "5:cpu:/a\n4:memory:/a\n",
            {"memory/a": {"memory.limit_in_bytes": 700, "memory.usage_in_bytes": 500, "memory.stat": "total_inactive_file 50"}},
            250,
        ),
    ],
)
def test_available_memory_is_the_least_of_the_systems_and_the_containers(tmp_path, groups, limits, expected):
    assert available_memory(system(tmp_path, 1000, groups, limits)) == expected


def test_unknown_memory_is_unknown(tmp_path):
    assert available_memory(tmp_path) is None


def test_memory_is_told_as_people_read_it():
    assert format_bytes(24_311_169_024) == "24.3 GB"
    assert format_bytes(23_021_280) == "23.0 MB"
    assert peak_memory(torch.device("cpu")).endswith(" in this process")
