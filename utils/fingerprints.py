"""Names of cached files that depend on everything their content depends on, so that a stale file is never found."""

import contextlib
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def versions_of(libraries: Iterable[str]) -> dict[str, str | None]:
    """{library: its version}, or None for one that is not installed; nothing is imported."""
    versions: dict[str, str | None] = dict.fromkeys(libraries)
    for library in versions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[library] = importlib.metadata.version(library)
    return versions


def fingerprint(code: tuple[str, ...], **facts: object) -> str:
    """20 hex digits that depend on these source files (paths from the project's root) and on `facts`, which JSON can hold."""
    source = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in code)).hexdigest()
    return hashlib.sha256(json.dumps({"code": source, **facts}, sort_keys=True).encode()).hexdigest()[:20]
