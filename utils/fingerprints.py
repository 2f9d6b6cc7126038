"""Names of cached files that depend on everything their content depends on, so that a stale file is never found."""

import hashlib
import json
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def fingerprint(code: tuple[str, ...], **facts: object) -> str:
    """20 hex digits that depend on these source files (paths from the project's root) and on `facts`, which JSON can hold."""
    source = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in code)).hexdigest()
    return hashlib.sha256(json.dumps({"code": source, **facts}, sort_keys=True).encode()).hexdigest()[:20]
