"""Tar shards as sources of photos: indexing, updating, removing, and showing the photos."""

import functools
import io
import os
import sys
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from photo_search import indexing
from photo_search.encoder import open_network
from photo_search.folder_store import FolderStore
from photo_search.network import Computing
from photo_search.pictures import save_grid
from photo_search.planning import remove, sources_of
from photo_search.searching import Searcher
from photo_search.shards import ShardReader, ShardWork, copies_of, expanded, is_shard, remove_copies
from photo_search.thumbnails import thumbnail
from tests.helpers.file_server import serving_files
from tests.helpers.trees import packed, picture, refusal
from utils.errors import InputError

pytest.importorskip("faiss")
pytestmark = pytest.mark.usefixtures("pytorch_embeds")
MOVED = "Tue, 03 Jan 2023 03:04:05 GMT"


@functools.cache
def network_of(file):
    return open_network(file, Computing("cpu", "float32"))


@pytest.fixture
def network(network_file):
    return network_of(network_file)


def write_shards(folder, *sizes):
    """photos-0.tar, …: photo number p of shard s has the key in/s-p."""
    folder.mkdir(exist_ok=True)
    for shard, size in enumerate(sizes):
        members = [(f"in/{shard}-{each}.{end}", content) for each in range(size) for end, content in _sample(10 * shard + each)]
        packed(folder / f"photos-{shard}.tar", members)
    return str(folder / "photos-{}.tar").format


def _sample(number):
    return ("png", picture(number)), ("json", b"{}")


@pytest.fixture
def shard(tmp_path):
    """shard(number): the path of one of three shards of three photos."""
    return write_shards(tmp_path / "shards", 3, 3, 3)


@pytest.fixture
def store(network, tmp_path):
    store = FolderStore(tmp_path / "index", make=True)
    store.belong_to(network)
    return store


@pytest.fixture
def update(store, network):
    """update(source, …) → what was done."""

    def run(*sources):
        return indexing.update(store, network, list(map(str, sources or sources_of(store))), 2, 0)

    return run


def names(store):
    return sorted(photo.short_name for shard in store.shards() for photo in store.known(shard).values())


def vectors(store):
    ids, found = store.vectors()
    return {
        os.path.basename(photo.path).removesuffix(".png"): found[row] for row, photo in enumerate(store.photos_of(ids).values())
    }


def test_photos_in_shards_have_the_vectors_of_the_same_files(shard, store, network, tmp_path, update):
    assert update(str(tmp_path / "shards/photos-{0..2}.tar")).added == 9
    files = FolderStore(tmp_path / "files", make=True)
    files.belong_to(network)
    (tmp_path / "photos").mkdir()
    for number in range(9):
        (tmp_path / f"photos/{number // 3}-{number % 3}.png").write_bytes(picture(10 * (number // 3) + number % 3))
    indexing.update(files, network, [str(tmp_path / "photos")], 4, 2)
    of_shards, of_files = vectors(store), vectors(files)
    assert of_shards.keys() == of_files.keys()
    for key, vector in of_files.items():
        np.testing.assert_allclose(of_shards[key], vector, atol=1e-5)  # of batches of other sizes
    assert names(store)[:4] == ["photos-0.tar/in/0-0", "photos-0.tar/in/0-1", "photos-0.tar/in/0-2", "photos-1.tar/in/1-0"]
    assert (update().added, update().removed) == (0, 0)


def test_a_faulty_shard_is_left_out_whole_until_it_is_mended(shard, network_file, tmp_path, search, monkeypatch):
    monkeypatch.setattr("photo_search.encoder.open_network", lambda checkpoint, *_: network_of(checkpoint))
    whole = (tmp_path / "shards/photos-1.tar").read_bytes()
    (tmp_path / "shards/photos-1.tar").write_bytes(whole[:3000])
    os.rename(shard(2), tmp_path / "away.tar")
    words = ("index", tmp_path / "shards/photos-{0..2}.tar", "-o", tmp_path / "index", "--num_workers", 0)
    code, out, err = search(*words, "--checkpoint", network_file)
    assert code == 2 and "3 photos embedded, 0 gone; 3 in the index" in out
    assert err.startswith(f"error: 2 shards not indexed (the first: {shard(2)}: cannot be read (No such file")
    assert err.endswith("what else was named is in the index")
    (tmp_path / "shards/photos-1.tar").write_bytes(whole)
    code, out, err = search(*words)
    assert code == 2 and "3 photos embedded" in out and "error: 1 shard not indexed" in err
    os.rename(tmp_path / "away.tar", shard(2))
    assert "3 photos embedded, 0 gone; 9 in the index" in search(*words)[1]
    for number in range(3):
        os.unlink(shard(number))
    code, out, err = search("index", "-o", tmp_path / "index")
    assert code == 2 and err.startswith(f"error: {shard(0)}: cannot be read") and len(FolderStore(tmp_path / "index")) == 9


def test_a_changed_shard_is_read_again(shard, store, tmp_path, update):
    update(shard(0), shard(1))
    packed(tmp_path / "shards/photos-1.tar", [("in/1-1.png", picture(70)), ("new.png", picture(71))])
    done = update()
    assert (done.added, done.removed) == (2, 2)
    assert names(store)[3:] == ["photos-1.tar/in/1-1", "photos-1.tar/new"]


def test_an_interrupted_shard_goes_on_where_it_was(shard, store, tmp_path, update, monkeypatch):
    add, added = FolderStore.add, []

    def interrupted(self, photos, *others):
        if len(added) == 3:
            raise KeyboardInterrupt
        added.append(photos)
        add(self, photos, *others)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(FolderStore, "add", interrupted)
        update(shard(0), shard(1))
    assert len(store) == 5  # all but the last batch
    ids = set(store.vectors()[0])
    assert update().added == 1 and len(store) == 6 and ids < set(store.vectors()[0])


def test_photos_that_cannot_be_read(store, tmp_path, update, monkeypatch):
    files = [("a.png", b"no image"), ("b.heic", b"HEIC"), ("c.png", picture(1))]
    shard = packed(tmp_path / "shard.tar", files)
    monkeypatch.setattr("datasets.images.is_read", lambda kind: kind == "AVIF")
    done = update(shard)
    assert done.added == 1 and done.unsupported == Counter({"pip install 'pillow-heif>=1.5'": 1}) and not done.postponed
    assert list(store.unreadable()) == [f"{shard}/a"]
    assert update().unsupported.total() == 1
    monkeypatch.setattr("datasets.images.is_read", lambda kind: True)
    assert not update().unsupported and list(store.unreadable()) == [f"{shard}/a", f"{shard}/b"]
    read = []
    monkeypatch.setattr("photo_search.shards.scan", read.append)
    assert update().added == 0 and not read  # it is done


def test_what_was_removed_stays_out_until_it_is_named(shard, store, tmp_path, update):
    pattern = str(tmp_path / "shards/photos-{0..2}.tar")
    update(pattern)
    assert remove(store, [shard(0), f"{shard(1)}/in/1-0"]) == 4
    for sources in ((), (pattern,)):
        assert update(*sources).added == 0
    assert names(store) == [f"photos-{s}.tar/in/{s}-{p}" for s, p in ((1, 1), (1, 2), (2, 0), (2, 1), (2, 2))]
    assert "no photo of the index" in refusal(remove, store, [shard(0)])
    assert update(f"{shard(1)}/in/1-0").added == 1 and update(shard(0)).added == 3
    assert remove(store, [str(tmp_path / "shards/photos-{1..2}.tar")]) == 6
    assert update().added == 0 and update(str(tmp_path / "shards/photos-{1..2}.tar")).added == 6
    assert remove(store, [pattern]) == 9 and sources_of(store) == [] and not store.shards()


def test_a_shard_that_cannot_be_read_can_be_left_out(shard, store, tmp_path, update):
    (tmp_path / "shards/photos-1.tar").write_bytes(b"?" * 2000)
    os.unlink(shard(2))
    assert len(update(str(tmp_path / "shards/photos-{0..2}.tar")).shard_faults) == 2
    assert remove(store, [shard(1), shard(2)]) == 0
    assert not update().shard_faults and len(store) == 3


@pytest.fixture
def server(shard, tmp_path, monkeypatch):
    monkeypatch.setattr("photo_search.fetching.PAUSES", (0.01, 0.01))
    with serving_files(tmp_path / "shards") as server:
        yield server


def test_a_shard_behind_a_url_is_fetched_once(server, store, update):
    pattern, left = f"{server.address}/photos-{{0..2}}.tar", copies_of(store.folder, "0")
    left.mkdir()
    (left / "0.tar").write_bytes(b"of a killed process")
    assert update(pattern).added == 9
    assert [path for path, _ in server.log] == ["/photos-0.tar", "/photos-1.tar", "/photos-2.tar"]
    assert update().added == 0 and len(server.log) == 3
    url = f"{server.address}/photos-1.tar"
    assert remove(store, [url]) == 3 and update().added == 0
    assert update(url).added == 3 and len(server.log) == 4
    assert not left.exists()
    copies_of(store.folder, "1").mkdir()
    remove_copies(store.folder)
    assert not copies_of(store.folder, "1").exists()


def test_urls_that_cannot_be_fetched(server, store, update):
    server.answers |= {"/photos-0.tar": 404, "/photos-1.tar": "cut short"}
    done = update(f"{server.address}/photos-{{0..2}}.tar", "http://127.0.0.1:1/{a,b}.tar", "pipe:touch canary://x.tar")
    reasons = ("HTTP status 404", "cut short", "no answer: Conn", "because of an earlier fault", "are fetched from")
    assert done.added == 3 and len(done.shard_faults) == 5
    assert all(any(reason in fault for fault in done.shard_faults.values()) for reason in reasons)
    assert not copies_of(store.folder, "0").exists()
    server.answers.clear()
    assert remove(store, ["http://127.0.0.1:1/{a,b}.tar"]) == 0
    assert update(f"{server.address}/photos-{{0..2}}.tar").added == 6


def test_a_full_disk_ends_the_run(server, update, monkeypatch):
    def full(*_):
        raise InputError("the disk is full") from OSError(28, "No space left on device")

    monkeypatch.setattr("photo_search.shards.fetch", full)
    with pytest.raises(InputError, match="the disk is full"):
        update(f"{server.address}/photos-{{0..2}}.tar")


def test_the_next_shard_is_fetched_while_one_is_embedded(server, tmp_path):
    work = [ShardWork(f"{server.address}/photos-{number}.tar", frozenset(), frozenset()) for number in range(3)]
    with ShardReader(work, tmp_path / "copies") as reader:
        opened = next(opened for opened in reader if opened)
        deadline = time.monotonic() + 30
        while len(server.log) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(opened.photos) == 3 and len(server.log) == 2
        opened.close()
        assert not os.path.exists(opened.file)
    assert not (tmp_path / "copies").exists()


def only(store):
    (id_,) = store.vectors()[0]
    return store.photos_of([id_])[id_]


def is_shown(photo):
    return Image.open(io.BytesIO(thumbnail(photo, photo.shard, 256))).size == (40, 40)


def test_a_thumbnail_from_a_shard_is_the_photo_or_nothing(store, tmp_path, update):
    path = packed(tmp_path / "shard.tar", [("secret.txt", b"secret" * 200), ("a.png", picture(1))])
    update(path)
    photo = only(store)
    assert is_shown(photo)
    for wrong in ({"offset": 512}, {"offset": 10**7}, {"offset": -1}, {"size": 2**62}, {"offset": 2**62}):
        refusal(thumbnail, photo._replace(**wrong), photo.shard, 256)
    other = packed(tmp_path / "other.tar", [("b.png", picture(2))])
    os.utime(other, ns=(photo.changed, photo.changed))
    os.unlink(path)
    path.symlink_to(other)
    refusal(thumbnail, photo, photo.shard, 256)
    path.unlink()
    packed(path, [("b.png", picture(2))])
    assert "has changed" in refusal(thumbnail, photo, photo.shard, 256)
    path.unlink()
    assert "is gone" in refusal(thumbnail, photo, photo.shard, 256)


def test_a_shard_behind_a_link_is_shown(store, tmp_path, update):
    packed(tmp_path / "shard.tar", [("a.png", picture(1))])
    (tmp_path / "link.tar").symlink_to("shard.tar")
    update(tmp_path / "link.tar")
    photo = only(store)
    assert thumbnail(photo, store.real_path(photo.shard), 256)


def test_of_a_shard_behind_a_url_only_the_photo_is_fetched(server, store, update):
    update(f"{server.address}/photos-0.tar?signature=secret")
    photo = next(iter(store.known(f"{server.address}/photos-0.tar?signature=secret").values()))
    assert photo.short_name == "photos-0.tar/in/0-0"
    assert is_shown(photo) and server.log[-1][1] == f"bytes={photo.offset}-{photo.offset + photo.size - 1}"
    refusal(thumbnail, photo._replace(offset=photo.offset - 512), "", 256)  # no image
    refusal(thumbnail, photo._replace(shard="file:///etc/passwd"), "", 256)
    requests = len(server.log)
    assert "too large" in refusal(thumbnail, photo._replace(size=2**40), "", 256) and len(server.log) == requests
    server.last_modified = MOVED
    assert "has changed" in refusal(thumbnail, photo, "", 256)


def test_a_grid_shows_photos_in_shards(server, shard, store, network, tmp_path, update):
    update(shard(0), f"{server.address}/photos-1.tar", f"{server.address}/photos-2.tar")
    server.answers["/photos-2.tar"] = "whole"  # to any request for a part
    hits = Searcher(store, network).of_photo(str(_file(tmp_path)), 9)
    save_grid(tmp_path / "grid.png", [Image.new("RGB", (9, 9))], [hits])
    cells = np.asarray(Image.open(tmp_path / "grid.png"))[4:116, 120:]
    grey = [bool((cells[:, 116 * column : 116 * column + 112] == 211).all()) for column in range(9)]
    assert grey == ["/photos-2.tar" in hit.path for hit in hits]


def _file(folder):
    (folder / "query.png").write_bytes(picture(3))
    return folder / "query.png"


def test_braces(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real{0,1}").mkdir()
    (tmp_path / "a{0..1}.tar").touch()
    here = f"{tmp_path}{os.sep}"
    assert expanded("a{0..1}.tar") == [f"{here}a{{0..1}}.tar"]
    assert expanded("real{0,1}/b{08..10}.tar") == [f"{here}real{{0,1}}/b{number}.tar" for number in ("08", "09", "10")]
    assert expanded("{x,y}/z.tar") == [f"{here}x/z.tar", f"{here}y/z.tar"]
    assert expanded("http://h/{0..1}.tar?s=1") == ["http://h/0.tar?s=1", "http://h/1.tar?s=1"]
    monkeypatch.setattr("photo_search.shards.MOST_SHARDS", 1000)
    for wrong in ("a{0..99999999999}.tar", "{0..99}{0..99}.tar", "{a,{b,c}}.tar", "{a..b.tar", "a{0.." + "9" * 5000 + "}.tar"):
        refusal(expanded, wrong)
    (tmp_path / "folder.tar").mkdir()
    assert is_shard("x.tar.gz") and not is_shard("folder.tar") and not is_shard("x.png")
    monkeypatch.setitem(sys.modules, "braceexpand", None)
    assert "pip install -r requirements-scale.txt" in refusal(expanded, "b{0..1}.tar")
