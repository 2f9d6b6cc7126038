"""Errors of pymilvus and gRPC in one line: what is wrong, and what to do."""

from typing import Any

IS_FULL = ("quota", "no space", "memory limit", "insufficient memory", "out of memory", "disk is full", "resource insufficient")
IS_BUSY = ("rate limit", "timeout", "time tick", "not ready")
IS_LOADING = ("not loaded", "not fully loaded", "no available", "not found in any", "channel not available", "recovering")


def fault_of(error: Exception) -> str:
    """What is wrong and what to do."""
    text, status = first_line(error), _grpc_status(error)
    words = text.lower()
    if status == "UNAUTHENTICATED" or "auth check" in words or "unauthenticated" in words:
        return "refused the token; give the right one in MILVUS_TOKEN, or by --token_file FILE"
    if status == "PERMISSION_DENIED" or "permission deny" in words or "privilege" in words:
        return f"the token does not permit this ({text}); give another one in MILVUS_TOKEN, or by --token_file FILE"
    if status == "UNIMPLEMENTED":
        return "what answers there is no Milvus server, or another version; version 2.3 or a later one is needed"
    if any(each in words for each in IS_FULL):
        return f"takes no more ({text}); give it more memory or disk, then run the same command again: what is indexed is kept"
    if status == "DEADLINE_EXCEEDED":
        return "did not answer in time; it may be busy: try again later (what is indexed is kept)"
    if status == "UNAVAILABLE" or "fail connecting" in words:
        return "no Milvus server answers there; start it, or check the address and the network"
    if any(each in words for each in IS_BUSY):
        return f"is busy ({text}); try again later: what is indexed is kept"
    if any(each in words for each in IS_LOADING):
        return f"is not loaded, or its index is being built ({text}); try again in a moment"
    return f"{text}; see the log of Milvus"


def _grpc_status(error: BaseException | None) -> str | None:
    """The name of gRPC's status code in an error, or in one that was being handled when it was raised."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        code: Any = getattr(error, "code", None)
        code = code() if callable(code) else code
        if type(code).__name__ == "StatusCode":
            return str(code.name)
        error = error.__context__
    return None


def first_line(error: BaseException) -> str:
    details: Any = getattr(error, "details", None)  # of gRPC's errors
    text = str(getattr(error, "message", "") or (details() if callable(details) else error)) or type(error).__name__
    return text.splitlines()[0][:200].rstrip(" .,;")
