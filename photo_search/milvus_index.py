"""Which index Milvus builds of the vectors: by their number, or as --kind says."""

from typing import Any

from photo_search.index import LARGEST_EXACT, LISTS_SEARCHED, OUTGROWN

# Numbers in all vectors up to which they and the graph of HNSW fit into the memory of one large machine: 32 GB in float32, and
# 2 · M · 4 = 128 bytes of links each. Beyond, IVF_SQ8 keeps one byte per number.
LARGEST_GRAPH = 8_000_000_000
LARGEST_EXACT_CODES = 100_000_000  # codes of 64 bits: comparing all reads 0.8 GB
M, EF_CONSTRUCTION = 16, 200  # of HNSW: links of each vector, and candidates for them
EF = 200  # vectors that a search of HNSW keeps at least
MOST_EF, MOST_LISTS = 32_768, 65_536  # Milvus's limits


def vector_index(count: int, width: int, kind: str | None) -> dict[str, Any]:
    """The index of `count` vectors (width,), as pymilvus describes it. kind: a value of --kind."""
    numbers = count * width
    if kind == "exact" or (kind != "ivf" and numbers <= LARGEST_EXACT):
        return {"index_type": "FLAT", "metric_type": "IP"}
    if kind != "ivf" and numbers <= LARGEST_GRAPH:
        params = {"M": M, "efConstruction": EF_CONSTRUCTION}
        return {"index_type": "HNSW", "metric_type": "IP", "params": params}
    kind = "IVF_FLAT" if kind == "ivf" else "IVF_SQ8"
    return {"index_type": kind, "metric_type": "IP", "params": {"nlist": lists(count)}}


def code_index(count: int, is_lite: bool) -> dict[str, Any]:
    """The index of `count` codes; Milvus Lite has no bits, and compares vectors of ±1."""
    if is_lite:
        return {"index_type": "FLAT", "metric_type": "IP"}
    if count <= LARGEST_EXACT_CODES:
        return {"index_type": "BIN_FLAT", "metric_type": "HAMMING"}
    return {"index_type": "BIN_IVF_FLAT", "metric_type": "HAMMING", "params": {"nlist": lists(count)}}


def lists(count: int) -> int:
    """√n, as for faiss, which warns of fewer than 39 vectors in each."""
    return min(MOST_LISTS, max(1, round(min(count**0.5, count / 39))))


def is_still_right(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether an index that Milvus describes may stay: it is of the wanted kind, and has lists for about as many vectors."""
    if any(found.get(name) != wanted[name] for name in ("index_type", "metric_type")):
        return False
    nlist = wanted.get("params", {}).get("nlist")
    return nlist is None or nlist <= OUTGROWN**0.5 * int(found.get("nlist", 0))


def described(index: dict[str, Any]) -> str:
    """The index in words."""
    params = index.get("params", {})
    searched = {"ef": EF} if "M" in params else {"nprobe": min(LISTS_SEARCHED, params["nlist"])} if params else {}
    listed = ", ".join(f"{name} {value:,}" for name, value in {**params, **searched}.items())
    return f"{index['index_type']} ({listed})" if listed else str(index["index_type"])


def search_params(k: int, times: int = 1) -> dict[str, Any]:
    """Of all kinds of index, each of which takes its own. times: how many times as many vectors are compared as usually."""
    return {"params": {"ef": min(MOST_EF, max(EF, k) * times), "nprobe": min(MOST_LISTS, LISTS_SEARCHED * times)}}
