"""The connection to a Milvus server or Milvus Lite file, whose faults become one line each."""

import contextlib
import copy
import logging.config
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from photo_search.milvus_address import MilvusAddress
from photo_search.milvus_faults import fault_of
from photo_search.milvus_lite_file import start_lite
from photo_search.store import StoreFault
from utils.errors import InputError
from utils.progress import progress_bar

OLDEST = (2, 3)  # the first version that replaces rows (upsert)
CONNECT_SECONDS, ANSWER_SECONDS = 10, 30
PAGE_SECONDS = 5  # the page asks for little, and goes on without an answer
STALLED_SECONDS = 600  # without any progress of building or loading an index
MOST_ROWS = 16_384  # of an answer of Milvus
MOST_BYTES = 16 << 20  # of a request or an answer; Milvus refuses more than 64 MiB
MOST_LITE_BYTES = 128 << 20  # Milvus Lite reads all rows for each answer
ID_LIMIT = 1 << 63
Fields = dict[str, dict[str, Any]]  # {name of a field: pymilvus's description}
INSTALL = "pip install -r requirements-scale.txt"


class Milvus:
    """A connection, which several threads may use. All methods raise InputError if Milvus does not answer, refuses, or is full.

    The first answer about a collection contains all changes before it (level Strong), and so does the first one after a change by
    this connection. Later ones come faster, and may lack what other processes changed in the last seconds (Bounded).
    """

    def __init__(self, address: MilvusAddress, token: str):
        self.place, self.is_lite = str(address), address.is_file
        self.seconds = ANSWER_SECONDS
        self._current = set[str]()  # collections
        with self._faults_named():
            self._client = _connected(address, token)
        version = self.ask("get_server_version")
        numbers = re.match(r"v?(\d+)\.(\d+)", version)
        if numbers and tuple(map(int, numbers.groups())) < OLDEST:
            raise InputError(f"{self.place}: is Milvus {version}; version {'.'.join(map(str, OLDEST))} or a later one is needed")

    def ask(self, method: str, *arguments: Any, seconds: float | None = None, **named: Any) -> Any:
        """What a method of pymilvus's client returns."""
        with self._faults_named():
            return getattr(self._client, method)(*arguments, timeout=seconds or self.seconds, **named)

    def impatient(self) -> "Milvus":
        """The same connection, which gives up after a few seconds."""
        other = copy.copy(self)
        other.seconds, other._current = PAGE_SECONDS, set()
        return other

    def read(self, method: str, collection: str, **named: Any) -> Any:
        """The answer of `query` or `search`."""
        answer = self.ask(method, collection, consistency_level="Bounded" if collection in self._current else "Strong", **named)
        self._current.add(collection)
        return answer

    def refresh(self) -> None:
        """Let the next answers contain all changes by other processes too."""
        self._current.clear()

    def write(self, collection: str, rows: list[dict[str, Any]], row_bytes: int) -> None:
        """Add rows of at most so many bytes, or replace those of the same id."""
        self._current.discard(collection)
        step = max(1, MOST_BYTES // row_bytes)
        for start in range(0, len(rows), step):
            self.ask("upsert", collection, rows[start : start + step])

    def delete(self, collection: str, ids: list[int]) -> None:
        """Delete the rows of these ids; those that are not there are skipped."""
        self._current.discard(collection)
        for start in range(0, len(ids), MOST_ROWS):
            self.ask("delete", collection, ids=ids[start : start + MOST_ROWS])

    def count(self, collection: str, where: str = "") -> int:
        """The number of rows."""
        return int(self.read("query", collection, filter=where, output_fields=["count(*)"])[0]["count(*)"])

    def by_id(self, collection: str, ids: list[int], fields: list[str], row_bytes: int = 1) -> list[dict[str, Any]]:
        """The rows of those ids that are there."""
        step = max(1, min(MOST_ROWS, MOST_BYTES // row_bytes))
        chunks = (ids[start : start + step] for start in range(0, len(ids), step))
        return [row for chunk in chunks for row in self._query(collection, f"id in {chunk}", fields, step)]

    def pages(
        self, collection: str, where: str, fields: list[str], row_bytes: int = 1, limit: int = ID_LIMIT
    ) -> Iterator[list[dict[str, Any]]]:
        """All rows of ids below `limit`, in ranges of ids that hold MOST_BYTES at most; ids are evenly distributed hashes."""
        most = max(2, min(MOST_ROWS, MOST_BYTES // row_bytes)) if not self.is_lite else max(2, MOST_LITE_BYTES // row_bytes)
        self._current.discard(collection)
        expected = self.count(collection, where) * (limit / ID_LIMIT)
        parts = math.ceil(1.2 * expected / most) or 1
        ranges = [(limit * part // parts, limit * (part + 1) // parts) for part in reversed(range(parts))]
        while ranges:
            low, high = ranges.pop()
            rows = self._query(collection, " and ".join(filter(None, [f"id >= {low} and id <= {high - 1}", where])), fields, most)
            if len(rows) == most:  # perhaps not all
                ranges += [((low + high) // 2, high), (low, (low + high) // 2)]
            elif rows:
                yield rows

    def _query(self, collection: str, where: str, fields: list[str], limit: int) -> list[dict[str, Any]]:
        return list(self.read("query", collection, filter=where, output_fields=fields, limit=limit))

    def has(self, collection: str, fields: Fields) -> bool:
        """Whether there is such a collection. Raises InputError if it has other fields."""
        if not self.ask("has_collection", collection):
            return False
        found = self.ask("describe_collection", collection)["fields"]
        wanted = {(name, each["datatype"], each.get("is_primary", False)) for name, each in fields.items()}
        if {(each["name"], each["type"], each.get("is_primary", False)) for each in found} != wanted:
            raise InputError(f"{self.place}: another program made the collection {collection}; choose another name after #")
        return True

    def dimension(self, collection: str, field: str) -> int:
        """The length of the vectors in a field."""
        fields = {each["name"]: each for each in self.ask("describe_collection", collection)["fields"]}
        return int(fields[field]["params"]["dim"])

    def make(self, collection: str, fields: Fields, index: dict[str, Any]) -> None:
        """Make a collection; index: of its vectors, in the last field."""
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        for name, description in fields.items():
            schema.add_field(name, **description)
        self.ask("create_collection", collection, schema=schema, consistency_level="Strong")
        self.index(collection, list(fields)[-1], index)

    def open(self, collection: str, field: str, index: dict[str, Any]) -> None:
        """Load a collection; `index` is built if a run was ended before it had one."""
        if self.index_of(collection, field):
            self.load(collection)
        else:
            self.index(collection, field, index)

    def index(self, collection: str, field: str, index: dict[str, Any]) -> None:
        """Build an index of vectors in place of the one that is there, and load the collection."""
        if self.ask("list_indexes", collection):
            self.ask("release_collection", collection)
            self.ask("drop_index", collection, field)
        if self.is_lite and "params" in index:  # it reads them where earlier clients put them
            index = {**index, "params": {"params": index["params"]}}
        params = self._client.prepare_index_params()
        params.add_index(field_name=field, index_name=field, **index)
        self.ask("create_index", collection, params, sync=False, seconds=STALLED_SECONDS)
        self.wait_until_indexed(collection, field)
        self.load(collection)

    def index_of(self, collection: str, field: str) -> dict[str, Any]:
        """The index that is there, and its parameters; empty if there is none."""
        if not self.ask("list_indexes", collection):
            return {}
        found = self.ask("describe_index", collection, field)
        return {**found, **found.get("params", {})}  # Milvus Lite nests them

    def wait_until_indexed(self, collection: str, field: str) -> None:
        """Wait until the index holds all vectors that have been flushed."""

        def progress() -> tuple[int, int]:
            found = self.ask("describe_index", collection, field)
            if found["state"] == "Failed":
                raise InputError(f"{self.place}: the index of {collection} could not be built; see the log of Milvus")
            is_finished = found["state"] == "Finished" and not found["pending_index_rows"]
            total = found["total_rows"]
            return (total, total) if is_finished else (min(found["indexed_rows"], total - 1), total)

        self._wait("building the index", "vectors", progress)

    def load(self, collection: str) -> None:
        """Load a collection for searching, if it is not loaded, and wait for that."""

        def progress() -> tuple[int, int]:
            state = self.ask("get_load_state", collection)
            if state["state"].name == "Loaded":
                return 100, 100
            return int(state.get("progress") or 0), 100

        if progress()[0] < 100:
            self.ask("load_collection", collection, seconds=STALLED_SECONDS, _async=True)
            self._wait(f"loading {collection}", "%", progress)

    def _wait(self, title: str, unit: str, progress: Callable[[], tuple[int, int]]) -> None:
        """progress: what returns (done, total)."""
        done, since = progress(), time.monotonic()
        with contextlib.ExitStack() as shown:
            bar = None
            while done[0] < done[1]:
                bar = bar or shown.enter_context(progress_bar(done[1], title, unit))
                bar.total = done[1]
                bar.update(done[0] - bar.n)
                time.sleep(0.2)
                before, done = done, progress()
                if done != before:
                    since = time.monotonic()
                elif time.monotonic() - since > STALLED_SECONDS:
                    raise InputError(f"{self.place}: {title} makes no progress; see the log of Milvus, then try again")

    @contextlib.contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except ImportError as error:
            raise InputError(f"{self.place}: {error.name or error} is missing: {INSTALL}") from error
        except Exception as error:  # pymilvus raises its own kinds, gRPC's, and, where an answer is damaged, any other
            raise StoreFault(f"{self.place}: {fault_of(error)}") from None  # pymilvus makes an error its own cause: endless


def import_pymilvus() -> Any:
    """pymilvus. Its import alone would close all handlers of this process's logging, and some of their streams."""
    configure = logging.config.dictConfig
    logging.config.dictConfig = lambda config: None  # type: ignore[assignment]
    try:
        import pymilvus
    finally:
        logging.config.dictConfig = configure
    return pymilvus


def _connected(address: MilvusAddress, token: str) -> Any:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC writes to stderr what we report
    client = import_pymilvus().MilvusClient

    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite"):  # they log each fault with a traceback
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    if address.is_file:
        start_lite(address.uri)
    often = {"grpc.max_reconnect_backoff_ms": 2_000}  # otherwise a server that is back is noticed minutes later
    return client(address.uri, token=token, timeout=CONNECT_SECONDS, grpc_options=often)
