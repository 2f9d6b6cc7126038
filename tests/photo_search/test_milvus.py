"""search.py with --store milvus:FILE.db, and what it says when Milvus fails."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import pytest

from photo_search.milvus_address import MilvusAddress
from photo_search.searching import Searcher
from tests.helpers.network import write_checkpoint
from tests.helpers.scripts import ROOT
from tests.helpers.serving import bytes_of, drawing, serving
from tests.helpers.stores import HAS_MILVUS, lite_address, open_home, random_unit, release_lite
from tests.helpers.trees import picture
from utils.errors import InputError

pytestmark = [
    pytest.mark.skipif(not HAS_MILVUS, reason="pymilvus and milvus-lite are not installed"),
    pytest.mark.usefixtures("pytorch_embeds"),
]

DOWN = "The photo database does not answer; try again later."


@pytest.fixture(autouse=True)
def released(tmp_path):
    yield
    for file in tmp_path.glob("*.db"):
        release_lite(file)


@pytest.fixture
def index(photos, network_file, tmp_path, search):
    """An index of the photos in index.db: its folder."""
    where = ("-o", tmp_path / "index", "--store", f"milvus:{tmp_path / 'index.db'}")
    code, out, err = search("index", photos, "--checkpoint", network_file, *where, "--codes", "--num_workers", 0)
    assert code == 0, err
    assert "12 photos embedded, 0 gone; 12 in the index" in out and "searched exactly" in out and "codes of 16 bits" in out
    return tmp_path / "index"


def found(search, index, *words):
    code, out, err = search("query", *words, "--index", index, "--json")
    assert code == 0, err
    (answer,) = json.loads(out)
    return [(hit["path"], hit["similarity"]) for hit in answer["results"]]


@pytest.mark.slow
def test_a_query_finds_what_the_folder_finds(photos, index, network_file, tmp_path, search):
    search("index", photos, "--checkpoint", network_file, "-o", tmp_path / "folder", "--codes", "--num_workers", 0)
    for words in (["--photo", "-k", 5], ["--photo", "--all", "-k", 12], ["--photo", "--codes", "-k", 12, "--all"]):
        ours, theirs = (found(search, place, photos / "old/3.png", *words) for place in (index, tmp_path / "folder"))
        assert [value for _, value in ours] == pytest.approx([value for _, value in theirs], abs=1e-5)
        assert {path for path, _ in ours} == {path for path, _ in theirs}
        if "--codes" not in words:  # of which many are equal
            assert [path for path, _ in ours] == [path for path, _ in theirs]


@pytest.mark.slow
def test_photos_that_change_and_go_and_are_taken_out(photos, index, search):
    assert "0 photos embedded, 0 gone; 12 in" in search("index", "-o", index)[1]
    (photos / "old/1.png").write_bytes(picture(77, side=44))
    (photos / "old/new.png").write_bytes(picture(78))
    (photos / "old/3.png").write_text("no image")
    (photos / "new/0.png").unlink()
    _, out, _ = search("index", "-o", index, "--num_workers", 0)
    assert "2 photos embedded, 1 gone; 11 in the index" in out and "1 photo cannot be read" in out
    assert found(search, index, photos / "old/1.png", "--photo", "-k", 1)[0][1] == pytest.approx(1, abs=1e-4)
    for codes in ([], ["--codes"]):
        names = {Path(path).name for path, _ in found(search, index, photos / "old/5.png", "--photo", "-k", 20, "--all", *codes)}
        assert len(names) == 11 and "new.png" in names and not names & {"0.png", "3.png"}
    assert "removed 6 photos" in search("index", "-o", index, "--remove", photos / "new", photos / "old/3.png")[1]
    assert len(found(search, index, photos / "old/5.png", "--photo", "-k", 20, "--all")) == 6
    assert "0 photos embedded, 0 gone; 6 in" in search("index", "-o", index)[1]


def test_another_network_is_refused(photos, index, tmp_path, search):
    other = write_checkpoint(tmp_path / "other.pth.tar", seed=5)
    code, _, error = search("index", photos, "--checkpoint", other, "-o", index, "--num_workers", 0)
    assert code == 2 and "was made with another checkpoint" in error
    code, _, error = search("query", photos / "old/3.png", "--index", index, "--checkpoint", other)
    assert code == 2 and "was made with another checkpoint" in error


@pytest.mark.parametrize("kind", [pytest.param("hnsw", marks=pytest.mark.slow), "ivf"])
def test_the_index_goes_by_size_or_as_it_is_named(photos, index, search, monkeypatch, kind):
    monkeypatch.setattr("photo_search.milvus_index.LARGEST_EXACT", 100)
    named = ["--kind", "ivf"] if kind == "ivf" else []
    name = "IVF_FLAT (nlist 1, nprobe 1)" if kind == "ivf" else "HNSW (M 16, efConstruction 200, ef 200)"
    assert f"searched by {name}: 100.0% of the 20 most similar photos" in search("index", "-o", index, *named)[1]
    hits = found(search, index, photos / "old/3.png", "--photo", "-k", 12, "--all")
    assert len(hits) == 12 and hits[0][0] == str(photos / "old/3.png")
    assert "searched exactly" in search("index", "-o", index, "--kind", "exact")[1]


def test_a_name_that_is_too_long_is_left_out(tmp_path, capsys):
    from photo_search.store import PhotoFile

    store = open_home("milvus", tmp_path / "index", make=True)
    store.keep_facts(width=16)
    files = [PhotoFile("shard.tar/" + "x" * 5000, 1, 1), PhotoFile("/a.png", 1, 1), PhotoFile("y" * 5000, 1, 1)]
    store.add(files[:2], random_unit(2, 16), {files[2]: "no image"})
    assert [*store.known()] == ["/a.png"] and len(store) == 1
    assert capsys.readouterr().err.count("its name is longer than 4,096 bytes; left out\n") == 2


@contextlib.contextmanager
def failing(monkeypatch, error, *methods):
    """Milvus answers these methods of the client with an error."""

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        for method in methods:
            patch.setattr(f"pymilvus.MilvusClient.{method}", fail)
        yield


def test_the_page_goes_on_without_milvus(index, network_file, monkeypatch, capsys):
    from pymilvus import MilvusException

    from photo_search.encoder import open_network
    from photo_search.network import Computing

    store = open_home("milvus", index)
    searcher = Searcher(store, open_network(network_file, Computing("cpu", "float32")))
    body = bytes_of(drawing(0))
    with serving(searcher) as page:
        before = page.ask("/search?k=5", body)
        photo = before.json["photos"][0]
        assert "12 photos" in page.ask("/").body.decode()
        with failing(monkeypatch, MilvusException(2, "Fail connecting to server on x"), "search", "query"):
            assert "12 photos" in page.ask("/").body.decode()
            for path in ("/search", "/search?codes=true"):
                answer = page.ask(path, body)
                assert (answer.status, answer.json["notice"]) == (503, DOWN)
            assert page.ask(f"/photo/{photo['id']}").json["notice"] == page.ask(f"/like/{photo['id']}").json["notice"] == DOWN
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 4 and all("#photos: no Milvus server answers there; start it" in line for line in lines)
        assert page.ask("/search?k=5", body).body == before.body
        assert page.ask(f"/{photo['url']}").status == 200 and len(page.ask(f"/like/{photo['id']}").found) == 11


def test_an_index_is_updated_from_another_folder(index, tmp_path, search):
    code, out, _ = search("index", "-o", tmp_path / "another", "--store", f"milvus:{index}.db")
    assert code == 0 and "0 photos embedded, 0 gone; 12 in the index" in out


def test_thumbnails_are_looked_up_at_the_same_time(index, network_file, monkeypatch):
    from photo_search.milvus_store import MilvusStore

    photos_of, both = MilvusStore.photos_of, threading.Barrier(2, timeout=20)
    with serving(Searcher(open_home("milvus", index))) as page, futures.ThreadPoolExecutor(2) as pool:
        monkeypatch.setattr(MilvusStore, "photos_of", lambda *arguments: both.wait() >= 0 and photos_of(*arguments))
        assert [answer.status for answer in pool.map(page.ask, ["/photo/1", "/photo/2"])] == [404, 404]


def test_a_run_is_refused_while_another_one_goes_on(index, monkeypatch, search):
    from photo_search.milvus_run import sole_run
    from photo_search.milvus_store import MilvusStore

    monkeypatch.setattr("photo_search.milvus_run.RENEWED", 0.01)
    monkeypatch.setattr("photo_search.milvus_run.LOOK", 0.2)
    monkeypatch.setattr(MilvusStore, "sole_run", lambda store: sole_run(store.records))  # as if the file were a server
    with open_home("milvus", index).sole_run():
        code, _, error = search("index", "-o", index)
    assert code == 2 and error.endswith(f"#photos: is being indexed already by {socket.gethostname()}; wait for that to end")
    assert "0 photos embedded" in search("index", "-o", index)[1]


FAULTS = {
    "quota exceeded[reason=disk full]": "takes no more (quota exceeded[reason=disk full]); give it more memory or disk",
    "request is rejected by grpc RateLimiter: rate limit exceeded": "is busy",
    "collection not loaded[collection=1]": "is not loaded, or its index is being built",
    "something new\nTraceback": "something new; see the log of Milvus",
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_fault_is_one_line_that_says_what_to_do(reason):
    from pymilvus import MilvusException

    from photo_search.milvus_faults import fault_of

    line = fault_of(MilvusException(1, reason))
    assert FAULTS[reason] in line and "\n" not in line


def test_a_run_that_milvus_ends_goes_on_later(photos, network_file, tmp_path, search, monkeypatch):
    from pymilvus import MilvusClient, MilvusException

    reason = next(iter(FAULTS))

    upsert, left = MilvusClient.upsert, [6]  # 4 of facts and plans, 2 of photos

    def upsert_a_few(*arguments, **named):
        left[0] -= 1
        if left[0] < 0:
            raise MilvusException(1, reason)
        return upsert(*arguments, **named)

    words = ["index", photos, "--checkpoint", network_file, "-o", tmp_path / "index", "--num_workers", 0, "--batch_size", 2]
    with monkeypatch.context() as patch:
        patch.setattr(MilvusClient, "upsert", upsert_a_few)
        code, _, error = search(*words, "--store", f"milvus:{tmp_path / 'index.db'}")
    assert code == 2 and error.startswith(f"error: milvus:{tmp_path / 'index.db'}#photos: ") and FAULTS[reason] in error
    before = len(open_home("milvus", tmp_path / "index").known())
    assert 0 < before < 12
    assert f"{12 - before} photos embedded, 0 gone; 12 in the index" in search(*words)[1]


@pytest.mark.parametrize("field", ["vector", "unused", "code"])
def test_an_index_whose_building_was_ended_is_built_by_the_next_run(photos, index, search, field):
    store = open_home("milvus", index)
    collection = {"vector": store.photos, "unused": store.records.collection, "code": f"{store.photos}_codes1"}[field]
    store.milvus.ask("release_collection", collection)
    store.milvus.ask("drop_index", collection, field)
    words = ["--photo", "-k", 12, "--all"] + (["--codes"] if field == "code" else [])
    assert len(found(search, index, photos / "old/3.png", *words)) == 12


def test_codes_whose_fitting_was_ended_are_fitted_by_the_next_run(photos, index, search, monkeypatch):
    store = open_home("milvus", index)
    with failing(monkeypatch, KeyboardInterrupt(), "upsert"), pytest.raises(KeyboardInterrupt):
        monkeypatch.setattr("photo_search.milvus_codes.OUTGROWN", 0)
        store.prepare(True)
    assert len(found(search, index, photos / "old/3.png", "--photo", "-k", 12, "--all", "--codes")) == 12
    assert "codes of 16 bits" in open_home("milvus", index).prepare(True)
    assert len(found(search, index, photos / "old/3.png", "--photo", "-k", 12, "--all", "--codes")) == 12


def test_collections_of_others_are_refused(index, tmp_path, monkeypatch):
    from photo_search.milvus_store import MilvusStore, has_collections

    store = open_home("milvus", index)
    name = store.photos
    with pytest.raises(InputError, match=f"another program made the collection {name}_records; choose another name after #"):
        store.milvus._client.drop_collection(f"{name}_records")
        store.milvus._client.create_collection(f"{name}_records", dimension=4)
        open_home("milvus", index)
    other = MilvusStore(index, lite_address(index, "other"), "", make=True)
    other.keep_facts(width=8, format=1)
    other.records.put(0, {"width": 16})
    with pytest.raises(InputError, match="the vectors of the collection other have 8 numbers, but those of this index have 16"):
        MilvusStore(index, lite_address(index, "other"), "")
    other.keep_facts(format=99)
    with pytest.raises(InputError, match="was made by another version"):
        MilvusStore(index, lite_address(index, "other"), "")
    with pytest.raises(InputError, match=r"milvus:.*#none: no index there; make one with `python search.py index"):
        MilvusStore(index, lite_address(index, "none"), "")
    assert not has_collections(lite_address(index, "none"), "")
    monkeypatch.setattr("pymilvus.MilvusClient.get_server_version", lambda *_, **__: "v2.2.16")
    with pytest.raises(InputError, match=r"is Milvus v2\.2\.16; version 2\.3 or a later one is needed"):
        open_home("milvus", index)


@pytest.mark.parametrize("what", ["locked", "file", "no folder", "not installed", "damaged"])
def test_a_lite_file_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch, caplog, capfd, what):
    file, expected = tmp_path / "index.db", what
    with contextlib.ExitStack() as held:
        if what == "locked":
            fcntl = pytest.importorskip("fcntl")
            file.mkdir()
            lock = held.enter_context((file / "LOCK").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            expected = "is in use by another process; end that first"
        elif what == "file":
            file.write_text("SQLite format 3")
            expected = "is a file, but Milvus Lite makes a folder of that name"
        elif what == "no folder":
            file, expected = tmp_path / "none/index.db", "there is no such folder"
        elif what == "not installed":
            monkeypatch.setitem(sys.modules, "milvus_lite", None)
            expected = "milvus_lite is missing: pip install -r requirements-scale.txt"
        else:
            (file / "collections/photos_records").mkdir(parents=True)
            (file / "collections/photos_records/schema.json").write_text("{")
            expected = "Milvus Lite cannot open it|see the log of Milvus|damaged"
        with pytest.raises(InputError, match=expected) as error:
            from photo_search.milvus_store import MilvusStore

            MilvusStore(tmp_path / "index", MilvusAddress(str(file), "photos"), "", make=True)
    assert "\n" not in str(error.value) and capfd.readouterr().err == ""
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@contextlib.contextmanager
def server_of(behaviour):
    """The port of a gRPC server that answers every call with a status, never, or not at all; or of none, or another server."""
    import grpc

    with contextlib.ExitStack() as held:
        if behaviour in ("down", "silent"):
            listener = held.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = listener.getsockname()[1]
            if behaviour == "down":
                listener.close()
            yield port
            return
        server = grpc.server(futures.ThreadPoolExecutor(2))

        class Handler(grpc.GenericRpcHandler):
            def service(self, details):
                if behaviour == "unimplemented":
                    return None
                return grpc.unary_unary_rpc_method_handler(
                    lambda _, context: time.sleep(3) if behaviour == "slow" else context.abort(grpc.StatusCode[behaviour], "no")
                )

        server.add_generic_rpc_handlers([Handler()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield port
        server.stop(0)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("down", "no Milvus server answers there; start it, or check the address"),
        ("silent", "did not answer in time|no Milvus server answers"),
        ("slow", "did not answer in time; it may be busy"),
        ("UNAUTHENTICATED", "refused the token; give the right one in MILVUS_TOKEN, or by --token_file FILE"),
        ("PERMISSION_DENIED", "the token does not permit this"),
    ],
)
def test_a_server_that_does_not_serve_is_one_line(tmp_path, monkeypatch, capfd, behaviour, expected):
    from photo_search.milvus_store import has_collections

    monkeypatch.setattr("photo_search.milvus_client.CONNECT_SECONDS", 1)
    with server_of(behaviour) as port:
        began = time.monotonic()
        with pytest.raises(InputError, match=rf"milvus:http://127\.0\.0\.1:{port}#photos: ({expected})"):
            has_collections(MilvusAddress(f"http://127.0.0.1:{port}", "photos"), "secret")
        assert time.monotonic() - began < 10
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_killed_runs_lose_nothing_and_store_nothing_twice(photos, network_file, tmp_path):
    for number in range(200):
        (photos / f"more {number}.png").write_bytes(picture(100 + number))
    command = [sys.executable, "search.py", "index", photos, "--checkpoint", network_file, "-o", tmp_path / "index"]
    command += ["--store", f"milvus:{tmp_path / 'index.db'}", "--batch_size", "2", "--num_workers", "2", "--device", "cpu"]
    command += ["--precision", "float32"]
    written = tmp_path / "index.db/collections/photos"
    for _ in range(2):
        run = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = size_of(written)
        while run.poll() is None and size_of(written) < before + 3_000:
            time.sleep(0.01)
        os.kill(run.pid, signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=True)
    assert "212 in the index" in done.stdout and "212 photos embedded" not in done.stdout
    store = open_home("milvus", tmp_path / "index")
    assert len(store) == len(store.known()) == 212


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
