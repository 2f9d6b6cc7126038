"""What was put into a dataset's folder from where, so that a run that was cut short knows its own."""

import json
import tempfile
from pathlib import Path

from preparation.copying import CopyOptions
from preparation.sources import JOURNAL, Source
from utils.files import atomic_write


def known_sources(sources: list[Source], manner: CopyOptions) -> dict[Source, int]:
    """Those whose images an earlier run began to place in the same manner, and since when (nanoseconds, of the disk's clock)."""
    noted = _noted(manner.root)
    since = {source: [entry["since"] for entry in noted if _is_of(entry, source, manner)] for source in sources}
    return {source: min(times) for source, times in since.items() if times}


def note_sources(sources: list[Source], manner: CopyOptions, force: bool) -> None:
    """To be done before the first image is placed; with `force`, what others placed is no longer theirs."""
    noted = [] if force else _noted(manner.root)
    with tempfile.NamedTemporaryFile(dir=manner.root) as probe:
        now = Path(probe.name).stat().st_mtime_ns
    for source in sources:
        if not any(_is_of(entry, source, manner) for entry in noted):
            noted.append({"source": source.identity(), "side": manner.side, "copies": manner.copies, "since": now})
    with atomic_write(manner.root / JOURNAL) as temporary:
        temporary.write_text(json.dumps(noted, indent=1) + "\n", encoding="utf-8", errors="surrogateescape")


def _noted(root: Path) -> list[dict]:
    try:
        found = json.loads((root / JOURNAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    entries = found if isinstance(found, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("since"), int)]


def _is_of(entry: dict, source: Source, manner: CopyOptions) -> bool:
    own = (source.identity(), manner.side, manner.copies)
    return (entry.get("source"), entry.get("side"), entry.get("copies")) == own
