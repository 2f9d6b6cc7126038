"""What Milvus collections hold when runs were killed, others use them too, or somebody has damaged them. Here Milvus Lite."""

import json
import os
import subprocess
import sys
import threading

import pytest

from photo_search.milvus_address import milvus_address
from photo_search.milvus_index import is_still_right, vector_index
from photo_search.milvus_run import sole_run
from photo_search.milvus_values import FACT, FIT, LINK, PIECE, RUN, SHARD, UNREADABLE, Run
from photo_search.store import PhotoFile
from tests.helpers.scripts import ROOT
from tests.helpers.stores import HAS_MILVUS, open_home, random_unit, release_lite
from utils.errors import InputError

pytestmark = pytest.mark.skipif(not HAS_MILVUS, reason="pymilvus and milvus-lite are not installed")
WIDTH = 16


@pytest.fixture
def store(tmp_path):
    """An empty index of 16 numbers."""
    store = open_home("milvus", tmp_path / "index", make=True)
    store.keep_facts(width=WIDTH)
    yield store
    release_lite(tmp_path / "index.db")


def photos(count):
    return [PhotoFile(f"/{row}.png", 1, 1) for row in range(count)]


def foreign(store, name, **types):
    """A collection of another program, of fields of these types."""
    from pymilvus import DataType

    client = store.milvus._client
    schema = client.create_schema(auto_id=False)
    for field, kind in types.items():
        dim = {"dim": 2} if "VECTOR" in kind else {"max_length": 99} if kind == "VARCHAR" else {}
        schema.add_field(field, datatype=DataType[kind], is_primary=field == "id", **dim)
    client.create_collection(name, schema=schema)


IMPORTED = """
import logging, sys
from photo_search.milvus_client import import_pymilvus
class Closing(logging.StreamHandler):
    def close(self):
        sys.exit("closed")
handler = Closing()
import_pymilvus()
handler.close = logging.StreamHandler.close.__get__(handler)
"""


def test_importing_pymilvus_leaves_the_logging_of_others_alone():
    ended = subprocess.run([sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_collection_of_another_program_is_not_dropped_for_codes(store):
    store.add(photos(8), random_unit(8, WIDTH), {})
    foreign(store, "photos_codes1", id="INT64", mine="FLOAT_VECTOR")
    with pytest.raises(InputError, match="another program made the collection photos_codes1; choose another name after #"):
        store.prepare(True)
    assert store.milvus.ask("has_collection", "photos_codes1")


@pytest.mark.parametrize("types", [{"id": "INT64", "code": "VARCHAR", "vector": "FLOAT_VECTOR"}, {"id": "VARCHAR"}])
def test_a_collection_with_fields_of_other_types_is_refused(store, types):
    from pymilvus import DataType

    foreign(store, "others", **{**types, "vector": "FLOAT_VECTOR"})
    wanted = {name: {"datatype": DataType.INT64, "is_primary": name == "id"} for name in types}
    with pytest.raises(InputError, match="another program made the collection others"):
        store.milvus.has("others", {**wanted, "vector": {"datatype": DataType.FLOAT_VECTOR}})


@pytest.mark.parametrize("end", ["_records", "_codes0", "_codes1"])
def test_names_of_other_collections_are_refused(end):
    with pytest.raises(ValueError, match="a collection of another index may have this name"):
        milvus_address(f"milvus:http://host:1#photos{end}")


def test_an_index_of_another_metric_is_built_again():
    wanted = vector_index(10, 64, None)
    assert is_still_right(wanted, wanted)
    assert not is_still_right({**wanted, "metric_type": "L2"}, wanted)


def test_a_long_value_that_is_half_written_leaves_the_one_before(store, monkeypatch):
    long = [["first"] * 20_000, ["second"] * 30_000]
    store.records.put(FACT, {"long": long[0]})
    write, left = store.milvus.write, [1]

    def write_once(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(store.milvus, "write", write_once)
    with pytest.raises(KeyboardInterrupt):
        store.records.put(FACT, {"long": long[1]})
    monkeypatch.undo()
    assert store.records.get(FACT, ["long"]) == {"long": long[0]} == {"long": store.records.all(FACT)["long"]}
    store.records.put(FACT, {"long": long[1]})
    assert store.records.all(FACT)["long"] == long[1]
    assert store.milvus.count(store.records.collection, f"kind == {PIECE}") == -(-len(json.dumps(long[1])) // 60_000)


DAMAGED = [(SHARD, [1]), (SHARD, 5), (UNREADABLE, {}), (UNREADABLE, 5), (LINK, 5), (FACT, "width", -3), (FACT, "width", "abc")]
DAMAGED += [(FACT, "width", float("inf")), (FACT, "roots", 5), (FACT, "left_out", [5]), (FACT, "codes", [1]), (FIT, "1", 5)]
DAMAGED += [(FACT, "codes", {"serial": 1, "rows": 3, "bits": 8}), (FACT, "codes", {"serial": 1, "rows": 3, "bits": 10**30})]


@pytest.mark.parametrize("damage", DAMAGED, ids=str)
def test_damaged_records_are_one_line(store, damage):
    kind, *name, value = damage
    store.add(photos(8), random_unit(8, WIDTH), {})
    store.prepare(True)
    store.records.put(kind, {name[0] if name else "/x": value})
    with pytest.raises(InputError, match=r"index\.db#photos: (its codes are )?damaged \(.*; index the photos again"):
        found = open_home("milvus", store.folder)
        found.known(), found.unreadable(), found.shards(), found.real_path("/x")


def test_a_record_of_endless_lists_is_one_line(store, monkeypatch):
    monkeypatch.setattr("json.dumps", lambda _: "[" * 50_000)
    store.records.put(FACT, {"deep": None})
    with pytest.raises(InputError, match="damaged"):
        open_home("milvus", store.folder)


def elsewhere(beats=0):
    return {"other": Run("elsewhere", "another machine", 1, beats)}


def test_another_run_is_refused_while_it_goes_on(store, monkeypatch):
    monkeypatch.setattr("photo_search.milvus_run.LOOK", 0.02)
    store.records.put(RUN, elsewhere())
    ended = threading.Event()

    def renew():
        beats = 0
        while not ended.wait(0.01):
            beats += 1
            store.records.put(RUN, elsewhere(beats))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        for patience in (0, 60):
            with (
                pytest.raises(InputError, match="#photos: is being indexed already by elsewhere; wait for that to end"),
                sole_run(store.records, patience),
            ):
                pass
    finally:
        ended.set()
        thread.join()
    assert [*store.records.all(RUN)] == ["other"]


def test_a_killed_run_does_not_stand_in_the_way(store, monkeypatch):
    monkeypatch.setattr("photo_search.milvus_run.LOOK", 0.02)
    store.records.put(RUN, elsewhere())
    with sole_run(store.records, 0.1):
        (own,) = store.records.all(RUN).values()
        assert own.pid == os.getpid()
    assert store.records.all(RUN) == {}
    if own.machine:  # on this machine it is seen at once
        store.records.put(RUN, {"other": own._replace(pid=2**30)})
        with sole_run(store.records, 0):
            assert len(store.records.all(RUN)) == 1


def test_a_run_renews_its_record(store, monkeypatch):
    monkeypatch.setattr("photo_search.milvus_run.RENEWED", 0.01)
    with sole_run(store.records):
        before = threading.Event()
        while next(iter(store.records.all(RUN).values())).beats < 2:
            before.wait(0.01)


def own_similarities(store, vectors):
    return store.search(vectors, 1, codes=True)[1].ravel().tolist()


def test_codes_that_are_missing_or_left_are_put_right(store):
    vectors = random_unit(30, WIDTH)
    store.add(photos(30), vectors, {})
    store.prepare(True)
    ids = store.search(vectors, 1)[0].ravel().tolist()
    store.milvus.delete("photos_codes1", ids[:3])
    store.milvus.delete("photos", ids[-2:])
    assert "searched exactly" in store.prepare(False)
    assert own_similarities(store, vectors[:-2]) == [1] * 28 and store.milvus.count("photos_codes1") == 28


def test_photos_that_come_after_another_fit_have_its_codes(store, monkeypatch):
    vectors = random_unit(40, WIDTH)
    store.add(photos(30), vectors[:30], {})
    store.prepare(True)
    other = open_home("milvus", store.folder)
    monkeypatch.setattr("photo_search.milvus_codes.OUTGROWN", 0)
    other.prepare(True)
    store.add([PhotoFile(f"/new {row}.png", 1, 1) for row in range(10)], vectors[30:], {})
    assert own_similarities(open_home("milvus", store.folder), vectors) == [1] * 40
