"""What an update does, and does not, with shards that were removed, named again, changed, or are away."""

import os
import shutil

import pytest

from photo_search import indexing
from photo_search.folder_store import FolderStore
from photo_search.planning import plan, remove, sources_of
from tests.helpers.fake_network import fake_network
from tests.helpers.file_server import serving_files
from tests.helpers.trees import packed, picture, put, refusal

NETWORK = fake_network()


@pytest.fixture
def tree(tmp_path):
    """2.png, a/1.png, a/x.tar of three photos, a/y.tar of one."""
    put(tmp_path / "tree/2.png", picture(2))
    put(tmp_path / "tree/a/1.png", picture(1))
    packed(tmp_path / "tree/a/x.tar", [("in/1.png", picture(3)), ("in/2.png", picture(4)), ("k.png", picture(5))])
    packed(tmp_path / "tree/a/y.tar", [("in/1.png", picture(6))])
    return tmp_path / "tree"


@pytest.fixture
def store(tmp_path):
    store = FolderStore(tmp_path / "index", make=True)
    store.belong_to(NETWORK)
    return store


@pytest.fixture
def update(store):
    """update(source, …) → numbers of photos added and removed, and the faulty shards; batches of one photo."""

    def run(*sources):
        done = indexing.update(store, NETWORK, list(map(str, sources)) or sources_of(store), 1, 0)
        return done.added, done.removed, list(done.shard_faults)

    return run


@pytest.fixture
def interrupted(update, monkeypatch):
    """interrupted(source): an update that ends after its first photo."""

    def run(source):
        add, added = FolderStore.add, []

        def add_once(self, *photos):
            if added:
                raise KeyboardInterrupt
            added.append(photos)
            add(self, *photos)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(FolderStore, "add", add_once)
            update(source)

    return run


def names(store, shard):
    return sorted(path.removeprefix(f"{shard}/") for path in store.known(str(shard)))


def test_a_shard_can_be_named_again_after_its_folder_was_removed(tree, store, update):
    x, y = tree / "a/x.tar", tree / "a/y.tar"
    assert update(tree, x) == (5, 0, [])
    assert remove(store, [str(tree / "a")]) == 4 and update() == (0, 0, [])
    assert update(x) == (3, 0, []) and update(y) == (1, 0, []) and update() == (0, 0, [])
    assert remove(store, [str(tree / "2.png")]) == 1  # the shards are still sources
    packed(x, [("new.png", picture(7))])
    assert update() == (1, 3, []) and len(store) == 2


def test_of_a_pattern_what_lay_in_a_removed_folder_stays_out(tree, store, update):
    put(tree / "b/x.tar", (tree / "a/y.tar").read_bytes())
    update(tree, tree / "{a,b}/x.tar")
    assert remove(store, [str(tree / "a")]) == 4
    assert update() == update(tree / "{a,b}/x.tar") == (0, 0, [])
    assert update(tree / "a/x.tar") == (3, 0, [])


def test_one_photo_of_a_removed_folder_in_a_shard_cannot_be_named(tree, store, update):
    x = tree / "a/x.tar"
    update(x)
    remove(store, [f"{x}/in"])
    assert "name that folder" in refusal(update, f"{x}/in/1") and update() == (0, 0, [])
    assert update(f"{x}/in") == (2, 0, [])


def test_a_shard_can_be_named_after_its_removal_was_interrupted(tree, store, update, monkeypatch):
    update(tree / "a/y.tar", tree)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        keep_shards = FolderStore.keep_shards

        def kept(self, shards):
            if None in shards.values():
                raise KeyboardInterrupt
            keep_shards(self, shards)

        patched.setattr(FolderStore, "keep_shards", kept)
        remove(store, [str(tree / "a/y.tar")])
    assert len(store) == 2 and update(tree / "a/y.tar") == (1, 0, [])


def test_photos_that_are_gone_from_a_local_shard_go(tree, store, update, interrupted):
    x = tree / "a/x.tar"
    interrupted(x)
    work = plan(store, [str(x)])
    packed(x, [("new.png", picture(7)), ("k.png", picture(8))])  # before it is opened
    done = indexing.embed(work, store, NETWORK, 1, 0)
    assert (done.added, done.removed) == (2, 1) and names(store, x) == ["k", "new"]
    assert len(store) == 2


def test_photos_that_are_gone_from_a_shard_behind_a_url_go(tree, store, update, interrupted):
    with serving_files(tree / "a") as server:
        url = f"{server.address}/x.tar"
        interrupted(url)
        packed(tree / "a/x.tar", [("new.png", picture(7)), ("k.png", picture(8))])
        server.last_modified = "Tue, 03 Jan 2023 03:04:05 GMT"
        assert update(url) == (2, 1, []) and names(store, url) == ["k", "new"]
        assert remove(store, [f"{url}/k"]) == 1
        packed(tree / "a/x.tar", [("newer.png", picture(9)), ("k.png", picture(10))])
        server.last_modified = "Wed, 04 Jan 2023 03:04:05 GMT"
        assert update(f"{url}/k") == (2, 1, []) and names(store, url) == ["k", "newer"]


def test_a_changed_shard_keeps_its_photos_until_it_can_be_read(tree, store, update):
    x = tree / "a/x.tar"
    update(x)
    whole = x.read_bytes()
    x.write_bytes(whole[:2000])
    assert update() == (0, 0, [str(x)]) and len(store) == 3
    x.write_bytes(whole)
    os.utime(x, ns=(10**18, 10**18))
    assert update() == (3, 0, []) and {photo.changed for photo in store.known(str(x)).values()} == {10**18}


def test_a_shard_that_is_away_does_not_keep_others_out(tree, store, update):
    x, away = tree / "a/x.tar", tree / "a/away.tar"
    assert update(tree, x) == (5, 0, [])
    x.rename(away)
    put(tree / "new.png", picture(7))
    assert update() == (1, 0, [str(x)]) and len(store) == 6
    assert "cannot be read" in refusal(update, x)
    away.rename(x)
    assert update() == (0, 0, [])


def test_a_folder_that_is_called_as_a_shard_and_is_away_is_no_shard(tree, store, update):
    folder = tree / "folder.tar"
    put(folder / "1.png", picture(7))
    assert update(folder) == (1, 0, [])
    shutil.rmtree(folder)
    assert "no such file or folder" in refusal(update) and len(store) == 1


def test_tar_files_in_a_folder_are_not_ignored_silently(tree, store, update, capsys):
    update(tree)
    assert f"tar files in a folder are not read; name them: {tree}/a/*.tar\n" in capsys.readouterr().err.replace(os.sep, "/")
    update(tree / "a/{x,y}.tar")
    update(tree)
    remove(store, [str(tree / "a/y.tar")])
    update()
    assert "note" not in capsys.readouterr().err
