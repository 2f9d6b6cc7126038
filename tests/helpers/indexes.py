"""Indexes that one process or several have made."""

import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np

from photo_search.folder_store import FolderStore
from tests.helpers.scripts import ROOT
from tests.helpers.trees import picture


def write_shard(path: Path, numbers: Iterable[int]) -> Path:
    with tarfile.open(path, "w") as archive:
        for number in numbers:
            member, content = tarfile.TarInfo(f"{number}.png"), picture(number)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    return path


def start_ranks(*commands: list[object]) -> list[subprocess.Popen]:
    """One process of `search.py index` for each command, as torchrun would start them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(len(commands)), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "search.py", "index", *map(str, words), "--precision", "float32"],
            cwd=ROOT,
            env={**os.environ, **places, "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(len(commands))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, words in enumerate(commands)
    ]


def assert_same_index(found: Path, expected: Path) -> None:
    """Ids may differ; vectors may differ by what float32 leaves of another composition of the batches."""
    ours, theirs = FolderStore(found), FolderStore(expected)
    our_vectors, their_vectors = _vectors(ours), _vectors(theirs)
    assert len(ours) == len(our_vectors) and our_vectors.keys() == their_vectors.keys()
    for photo, vector in their_vectors.items():
        np.testing.assert_allclose(our_vectors[photo], vector, rtol=0, atol=1e-6)
    assert ours.faults() == theirs.faults() and ours.shards() == theirs.shards()
    assert not (found / "parts").exists()


def _vectors(store: FolderStore) -> dict:
    ids, vectors = store.vectors()
    photos = store.photos_of(ids)
    return {photos[id_]: vector for id_, vector in zip(ids.tolist(), vectors, strict=True)}
