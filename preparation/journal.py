"""What was put into a dataset's folder from where, so that a run that was cut short knows its own."""

import json
from pathlib import Path

from preparation.placing import Manner
from preparation.sources import Source
from utils.files import written_whole

JOURNAL = ".placed.json"  # in the dataset's folder


def known_sources(sources: list[Source], manner: Manner) -> set[Source]:
    """Those whose images an earlier run began to place in the same manner."""
    noted = _noted(manner.root)
    return {source for source in sources if _entry(source, manner) in noted}


def note_sources(sources: list[Source], manner: Manner) -> None:
    """To be done before the first image is placed."""
    noted = _noted(manner.root)
    new = [entry for entry in (_entry(source, manner) for source in sources) if entry not in noted]
    with written_whole(manner.root / JOURNAL) as temporary:
        temporary.write_text(json.dumps(noted + new, indent=1) + "\n", encoding="utf-8", errors="surrogateescape")


def _noted(root: Path) -> list:
    try:
        found = json.loads((root / JOURNAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def _entry(source: Source, manner: Manner) -> dict:
    return {"source": source.identity(), "side": manner.side}
