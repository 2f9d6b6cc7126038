"""A command that ends before any one of its writes to the store, and is repeated, leaves what an undisturbed one leaves."""

import contextlib
import itertools
import shutil

import numpy as np
import pytest

from photo_search import indexing
from photo_search.folder_store import FolderStore
from photo_search.milvus_client import Milvus
from photo_search.planning import remove, sources_of
from tests.helpers.fake_network import fake_network
from tests.helpers.stores import open_home, release_lite, require_home
from tests.helpers.trees import packed, picture, put

pytest.importorskip("faiss")
NETWORK = fake_network()
WRITES = {
    "folder": (FolderStore, ("keep_facts", "add", "remove", "keep_shards", "keep_links")),
    "milvus": (Milvus, ("write", "delete")),
}


class Killed(BaseException):
    """Nothing catches it."""


def index(*sources):
    return lambda store: indexing.update(store, NETWORK, list(sources) or sources_of(store), 2, 0)


def stages(tree):
    """What happens to the files, and the command that follows."""
    x, y = str(tree / "a/x.tar"), str(tree / "a/y.tar")
    in_x = [("in/1.png", picture(3)), ("in/2.png", picture(4)), ("k.png", picture(5)), ("n.png", b"no image")]

    def made():
        put(tree / "2.png", picture(2))
        put(tree / "a/1.png", picture(1))
        packed(tree / "a/x.tar", in_x)
        packed(tree / "a/y.tar", [("1.png", picture(6))])

    yield made, index(str(tree), str(tree / "a/{x,y}.tar"))
    yield None, lambda store: remove(store, [f"{x}/in", f"{x}/k", f"{x}/n"])
    yield None, index(f"{x}/k", f"{x}/n")
    yield lambda: packed(tree / "a/x.tar", [*in_x[:2], ("k.png", picture(7)), ("new.png", picture(8))]), index()
    yield None, index(f"{x}/in")
    yield lambda: put(tree / "3.png", picture(9)), lambda store: remove(store, [y, str(tree / "2.png")])
    yield None, index(y, str(tree / "2.png"))
    yield None, lambda store: remove(store, [str(tree / "a")])
    yield None, index(x)


@contextlib.contextmanager
def killed_before(number, home, monkeypatch):
    """The block ends before this write, counted from 1."""
    owner, names = WRITES[home]
    writes = itertools.count(1)

    def counted(write):
        def run(*arguments, **options):
            if next(writes) == number:
                raise Killed
            return write(*arguments, **options)

        return run

    with monkeypatch.context() as patched:
        for name in names:
            patched.setattr(owner, name, counted(getattr(owner, name)))
        yield


def contents(store):
    """All that a store holds."""
    ids, _ = store.search(np.eye(NETWORK.width, dtype=np.float32)[:1], 100)
    photos, vectors = store.photos_of(ids[0].tolist()), store.vectors_of(ids[0].tolist())
    of_shards = [store.known(shard) for shard in sorted(store.shards())]
    facts = {name: sorted(store.fact(name, [])) for name in ("roots", "shards", "left_out", "removing")}
    found = {photos[id_]: vectors[id_].tolist() for id_ in photos}
    return len(store), store.known(), of_shards, store.unreadable(), store.shards(), facts, found


@pytest.fixture(params=["folder", pytest.param("milvus", marks=pytest.mark.slow)])
def home(request):
    return require_home(request.param)


@pytest.fixture
def used(home, tmp_path):
    """used(base, name): a copy of a store, which the file of Milvus Lite lets one process open."""

    @contextlib.contextmanager
    def use(base, name):
        folder, file = tmp_path / name, tmp_path / f"{name}.db"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(file, ignore_errors=True)
        shutil.copytree(tmp_path / base, folder)
        if home == "milvus":
            shutil.copytree(tmp_path / f"{base}.db", file)
        yield lambda: open_home(home, folder)
        if home == "milvus":
            release_lite(file)

    return use


def test_a_command_that_is_repeated_mends_what_a_kill_at_any_write_leaves(home, used, tmp_path, monkeypatch):
    (tmp_path / "before").mkdir()
    open_home(home, tmp_path / "before", make=True).belong_to(NETWORK)
    if home == "milvus":
        release_lite(tmp_path / "before.db")
    base = "before"
    for stage, (happening, command) in enumerate(stages(tmp_path / "tree")):
        if happening:
            happening()
        with used(base, f"after {stage}") as opened:
            command(opened())
            expected = contents(opened())
        for number in itertools.count(1):
            with used(base, "killed") as opened:
                try:
                    with killed_before(number, home, monkeypatch):
                        command(opened())
                    break
                except Killed:
                    command(opened())
                assert contents(opened()) == expected, f"stage {stage}, killed before write {number}"
        assert number > 1
        base = f"after {stage}"
