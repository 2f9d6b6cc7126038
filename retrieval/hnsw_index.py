"""Vectors in a graph of near neighbours, walked from far to near (Malkov & Yashunin, TPAMI 2018)."""

import numpy as np

from retrieval.exact_index import search_exactly
from retrieval.index_base import Found, VectorIndex, best, faiss_library, padded, require
from retrieval.index_effort import least_effort
from retrieval.index_rows import SortedRows

NEIGHBOURS = 32  # on every level of the graph but the lowest, which has twice as many
_BUILD_EFFORT = 80
_MOST_EFFORT = 1024
_MOST_LEVELS = 32
_DEAD_SHARE = 4  # the graph is made anew when more than one in so many of its vectors is dead


class HnswIndex(VectorIndex):
    """faiss' IndexHNSWFlat. A graph loses no node: removed vectors stay as dead ones, which are passed through but not found,
    until there are too many. `effort` (efSearch) is measured when the index is built, see `index_effort`.

    Of each id the rows hold its position in the graph.
    """

    kind = "hnsw"

    def __init__(self, width: int, rows: SortedRows, graph, id_at: np.ndarray, effort: int):
        super().__init__(width, rows)
        self._graph, self._id_at, self.effort = graph, id_at, effort  # id_at (positions,) int64, -1 for the dead

    @classmethod
    def build(cls, ids: np.ndarray, vectors: np.ndarray) -> "HnswIndex":
        """Of checked ids (n,) and vectors (n, d), n > 0."""
        width = vectors.shape[1]
        made = cls(width, SortedRows(1, np.int64), _empty_graph(width), np.empty(0, np.int64), 1)
        made._add(ids, vectors)
        made.effort = least_effort(made, made._found_with, _MOST_EFFORT)
        return made

    @property
    def nbytes(self) -> int:
        links = self._graph.hnsw.neighbors.size() * 4 + self._graph.hnsw.offsets.size() * 8
        return len(self) * 16 + len(self._id_at) * (8 + 4 + 4 * self.width) + links

    @property
    def dead(self) -> int:
        return len(self._id_at) - len(self)

    def _add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        if len(ids):
            self._rows.add(ids, np.arange(len(self._id_at), len(self._id_at) + len(ids))[:, None])
            self._graph.add(vectors)
            self._id_at = np.concatenate([self._id_at, ids])

    def _remove(self, ids: np.ndarray) -> None:
        self._id_at[self._rows.rows[self._rows.find(ids), 0]] = -1
        self._rows.remove(ids)
        if self.dead * _DEAD_SHARE > len(self._id_at):
            living = self._living()
            self._graph, self._id_at = _empty_graph(self.width), np.empty(0, np.int64)
            self._rows = SortedRows(1, np.int64)
            self._add(living.ids, living.rows)

    def _living(self) -> SortedRows:
        return SortedRows.of_sorted(self._rows.ids, self._vectors()[self._rows.rows[:, 0]])

    def _vectors(self) -> np.ndarray:
        """(positions, width), the dead among them; a view that holds until the next change."""
        flat = faiss_library().downcast_index(self._graph.storage)
        if flat.ntotal == 0:
            return np.empty((0, self.width), np.float32)
        return faiss_library().rev_swig_ptr(flat.get_xb(), flat.ntotal * self.width).reshape(-1, self.width)

    def _search(self, queries: np.ndarray, k: int) -> Found:
        """A walk can end before it has met k; such a query is compared with all."""
        ids, similarity = self._found_with(self.effort, queries, k)
        short = (ids < 0).any(1)
        if short.any():
            ids[short], similarity[short] = self._search_exactly(queries[short], k)
        return ids, similarity

    def _search_exactly(self, queries: np.ndarray, k: int) -> Found:
        return search_exactly(queries, self._living(), k)

    def _found_with(self, effort: int, queries: np.ndarray, k: int) -> Found:
        candidates = min(len(self), k + max(16, k // 2))
        chosen = faiss_library().SearchParametersHNSW(efSearch=max(effort, candidates))
        if self.dead:
            alive = np.packbits(self._id_at >= 0, bitorder="little")
            chosen.sel = faiss_library().IDSelectorBitmap(alive)
        _, positions = self._graph.search(queries, candidates, params=chosen)
        ids = np.where(positions >= 0, self._id_at[positions], -1)
        return padded(best(queries, ids, self._vectors()[positions], k), k)

    def _sampled(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return self._vectors()[self._rows.rows[rng.permutation(len(self))[:count], 0]]

    def _settings(self) -> dict:
        return {"effort": self.effort, "entry": self._graph.hnsw.entry_point, "top": self._graph.hnsw.max_level}

    def _arrays(self) -> dict[str, np.ndarray]:
        of = faiss_library().vector_to_array
        links = {"levels": of(self._graph.hnsw.levels), "neighbours": of(self._graph.hnsw.neighbors)}
        return {"id_at": self._id_at, "vectors": self._vectors(), **links}

    @classmethod
    def _restored(cls, header: dict, arrays: dict[str, np.ndarray]) -> "HnswIndex":
        id_at, vectors = arrays["id_at"], arrays["vectors"]
        require(vectors.dtype == np.float32 and vectors.ndim == 2 and vectors.shape[1] > 0)
        require(id_at.dtype == np.int64 and id_at.shape == vectors.shape[:1] and (id_at >= -1).all())
        require(type(header["effort"]) is int and 1 <= header["effort"] <= _MOST_EFFORT)
        alive = np.flatnonzero(id_at >= 0)
        alive = alive[np.argsort(id_at[alive])]
        rows = SortedRows.of_sorted(id_at[alive], alive[:, None])
        graph = _graph_of(vectors, arrays["levels"], arrays["neighbours"], header["entry"], header["top"])
        return cls(vectors.shape[1], rows, graph, id_at, header["effort"])


def _empty_graph(width: int):
    faiss = faiss_library()
    graph = faiss.IndexHNSWFlat(width, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = _BUILD_EFFORT
    return graph


def _graph_of(vectors: np.ndarray, levels: np.ndarray, neighbours: np.ndarray, entry: int, top: int):
    """As it was saved. ValueError where a link would lead out of the arrays, or to a node that is not on that level."""
    faiss, count = faiss_library(), len(vectors)
    graph = _empty_graph(vectors.shape[1])
    require(levels.dtype == neighbours.dtype == np.int32 and levels.shape == (count,) and neighbours.ndim == 1)
    if count == 0:
        require(len(neighbours) == 0)
        return graph
    require(((levels >= 1) & (levels <= _MOST_LEVELS)).all())
    require(type(entry) is type(top) is int and 0 <= entry < count and top == levels.max() - 1 == levels[entry] - 1)
    # a node on l levels has 64 links on the lowest and 32 on each other
    offsets = np.concatenate([[0], np.cumsum(NEIGHBOURS * (levels.astype(np.int64) + 1))])
    require(offsets[-1] == len(neighbours) and ((neighbours >= -1) & (neighbours < count)).all())
    within = np.arange(len(neighbours)) - np.repeat(offsets[:-1], np.diff(offsets))
    linked = neighbours >= 0
    require((levels[neighbours[linked]] > np.maximum(within[linked] // NEIGHBOURS - 1, 0)).all())
    graph.storage.add(vectors)
    graph.ntotal = count
    faiss.copy_array_to_vector(levels, graph.hnsw.levels)
    faiss.copy_array_to_vector(offsets.astype(np.uint64), graph.hnsw.offsets)
    faiss.copy_array_to_vector(neighbours, graph.hnsw.neighbors)
    graph.hnsw.entry_point, graph.hnsw.max_level = entry, top
    return graph
