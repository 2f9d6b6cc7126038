"""Several processes make the index that one makes; what a process of an earlier run still does changes nothing."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from photo_search.folder_store import FolderStore
from photo_search.networks import Facts
from photo_search.parts import merge_parts, new_parts, opened_part
from photo_search.planning import Plan
from photo_search.ranks import Ranks, joined
from photo_search.store import PhotoFile, ShardState
from tests.helpers.indexes import assert_same_index, start_ranks, write_shard
from tests.helpers.scripts import ROOT
from tests.helpers.trees import picture
from utils.devices import choose_device
from utils.distributed import Distributed
from utils.errors import InputError

FACTS = Facts("index", {"network": "digest", "width": 4})


def index_by(size: int, *words: object) -> str:
    """What `size` processes print; they must succeed."""
    processes = start_ranks(*[list(words)] * size)
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * size, outputs
    assert not any(out for out, _ in outputs[1:])  # rank 0 alone prints
    return outputs[0][0]


@pytest.mark.slow
def test_several_processes_make_the_index_of_one(photos, network_file, tmp_path, search):
    (photos / "old" / "no image.jpg").write_bytes(b"no image")
    shards = [write_shard(tmp_path / f"{10 * n}.tar", range(10 * n, 10 * n + 5)) for n in (2, 3, 4)]
    one, many, network = tmp_path / "one", tmp_path / "many", ["--checkpoint", network_file]
    out = index_by(2, photos, *shards[:2], *network, "-o", many)
    assert "22 photos embedded, 0 gone; 22 in the index" in out and "in 2 processes" in out
    (photos / "old" / "1.png").unlink()
    (photos / "new" / "0.png").write_bytes(picture(99))
    out = index_by(4, photos, *shards, "-o", many)  # fewer photos and shards than processes
    assert "6 photos embedded, 1 gone; 26 in the index" in out and "1 photo cannot be read" in out
    assert search("index", photos, *shards, *network, "-o", one)[0] == 0
    assert_same_index(many, one)
    assert "0 photos embedded, 0 gone; 26 in the index" in search("index", "-o", many)[1]


@pytest.fixture
def store(tmp_path):
    store = FolderStore(tmp_path / "index", make=True)
    store.keep_facts(width=4, network="digest")
    return store


def add(store: FolderStore, *names: str) -> None:
    store.add([PhotoFile(name, 1, 2) for name in names], np.eye(4, dtype=np.float32)[: len(names)], {})


def names_in(store: FolderStore) -> list[str]:
    return sorted(photo.path for photo in store.photos_of(store.vectors()[0]).values())


def test_parts_of_an_interrupted_run_are_merged_once(store):
    add(store, "a", "b")
    for number, name in enumerate(("b", "c")):
        with opened_part(new_parts(store.folder), 0, FACTS) as part:
            add(part, name)
            part.add([], np.empty((0, 4)), {PhotoFile(f"s.tar/{number}", 1, 2, "s.tar", 512): "no image"})
            part.keep_shards({f"{number}.tar": ShardState(1, 2, is_done=True)})
    merge_parts(store)
    merge_parts(store)
    assert names_in(store) == ["a", "b", "c"] and not (store.folder / "parts").exists()
    assert sorted(store.shards()) == ["0.tar", "1.tar"]
    assert {photo.shard for photo in store.faults()} == {"s.tar"} and len(store.faults()) == 2


def test_a_process_of_an_earlier_run_cannot_add_to_a_part_that_is_being_merged(store, monkeypatch):
    """Else a shard might be marked as finished whose last photos came too late."""
    with opened_part(new_parts(store.folder), 1, FACTS) as part:
        add(part, "a")
        refused = []

        def added_meanwhile(*_) -> None:
            with pytest.raises(InputError) as error:
                add(part, "b")
            refused.append(error)

        monkeypatch.setattr(store, "keep_shards", added_meanwhile)
        merge_parts(store)
        added_meanwhile()  # nor when it is merged
    assert len(refused) == 2 and names_in(store) == ["a"]
    assert not (store.folder / "parts").exists()


def test_what_is_gone_from_a_shard_is_removed_when_parts_are_merged(store):
    photos = [PhotoFile(f"s.tar/{number}", 1, 2, "s.tar", 512) for number in range(3)]
    store.add(photos, np.eye(4, dtype=np.float32)[:3], {})
    with opened_part(new_parts(store.folder), 0, FACTS) as part:
        part.remove(photos[:1])
        part.add([], np.empty((0, 4)), {photos[1]: "no image"})
        part.remove([PhotoFile("never there", 1, 2)])
    merge_parts(store)
    assert names_in(store) == ["s.tar/2"] and store.faults() == {photos[1]: "no image"}


def test_a_part_that_is_merged_is_not_merged_again(store, monkeypatch):
    """It would undo later changes."""
    with opened_part(new_parts(store.folder), 0, FACTS) as part:
        add(part, "a")
    with monkeypatch.context() as patched, pytest.raises(InputError, match="cannot be deleted") as error:
        patched.setattr(Path, "unlink", mock.Mock(side_effect=PermissionError(13, "Permission denied")))
        merge_parts(store)
    assert "photos.sqlite: cannot be deleted (Permission denied); delete it" in str(error.value)


def test_parts_of_another_index_are_dropped_and_damaged_ones_named(store):
    with opened_part(new_parts(store.folder), 0, Facts("index", {"network": "another", "width": 8})) as part:
        part.add([PhotoFile("a", 1, 2)], np.ones((1, 8), np.float32), {})
    merge_parts(store)
    assert not len(store) and not (store.folder / "parts").exists()
    with opened_part(new_parts(store.folder), 0, FACTS) as part:
        add(part, "a")
    part.file.write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match=r"/0: cannot be read; delete this folder: its photos are then embedded again") as error:
        merge_parts(store)
    assert "\n" not in str(error.value)


def test_a_machine_that_does_not_see_the_index_is_named(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)  # a network file system may show it a little later
    message = "a machine does not see this folder of rank 0; give -o a folder that all machines share"
    with pytest.raises(InputError, match=message), opened_part(tmp_path / "parts", 1, FACTS):
        pass
    assert sum(waited) == 5 and not list(tmp_path.iterdir())


def test_a_machine_that_sees_no_photo_of_the_share_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(0))
    there, gone = PhotoFile(str(tmp_path / "a.png"), 1, 2), PhotoFile(str(tmp_path / "b.png"), 1, 2)
    Plan([gone, there], []).require_seen()  # one may have been deleted just now
    with pytest.raises(InputError, match="a machine does not see this photo of rank 0"):
        Plan([gone], []).require_seen()


WAITING = """
import subprocess, sys, time
from photo_search.ranks import Ranks, joined
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, __file__, "rank"]).wait()
with joined("cpu"):
    print("joined", flush=True)
    time.sleep(300)
"""


def test_a_process_ends_silently_when_torchrun_is_killed(tmp_path):
    (tmp_path / "waiting.py").write_text(WAITING)
    environment = {**os.environ, "TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "1", "PYTHONPATH": str(ROOT)}
    agent = subprocess.Popen(
        [sys.executable, tmp_path / "waiting.py"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert agent.stdout.readline() == "joined\n"
    agent.kill()
    assert agent.communicate(timeout=60)[0] == ""  # the pipe ends with the last process that holds it


def test_each_process_computes_on_its_own_gpu(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # with 1, torchrun's default, threads would be set
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen := mock.Mock())
    second = Distributed(1, 2, 1, 2)
    monkeypatch.setattr("utils.distributed.init_distributed", lambda device: contextlib.nullcontext(second))
    with joined("auto") as ranks:
        assert ranks.rank == 1 and choose_device("auto").type == "cuda" and choose_device("auto").index is None  # the current one
    chosen.assert_called_once_with(1)
    with pytest.raises(InputError, match="--device cuda:0: each of several processes uses its own GPU"), joined("cuda:0"):
        pass


def test_a_fault_of_one_machine_is_raised_on_all_with_its_name(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "second")
    others = mock.Mock(all_gather_objects=lambda thing: [None, thing])

    def fault() -> None:
        raise InputError("a.tar: no such file")

    with pytest.raises(InputError, match=r"a.tar: no such file \(rank 1, on second\)"):
        Ranks(1, 2, 1, others).together(fault)
    with pytest.raises(InputError, match=r"no such file$"):
        Ranks().together(fault)
