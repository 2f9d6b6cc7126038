"""Names for what is kept on disk: they follow from all it depends on, so that nothing stale is ever found."""

import hashlib
import json
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def fingerprint(code: tuple[str, ...], **facts: object) -> str:
    """20 characters that change with these source files, named from the project's root, and with the facts, as JSON has them."""
    source = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in code)).hexdigest()
    return hashlib.sha256(json.dumps({"code": source, **facts}, sort_keys=True).encode()).hexdigest()[:20]
