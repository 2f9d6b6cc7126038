"""Images that were put in place though they cannot be read, remembered so that a run which goes on later names them too."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from preparation.shrinking import shrunk
from utils.files import atomic_write

NOTES = ".unreadable.jsonl"  # below the dataset's folder: a line [target, what is wrong with it] for each


def note_unreadable(root: Path, target: str, fault: str) -> None:
    """Add a line; several processes may do so at once."""
    with (root / NOTES).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps([target, fault])}\n")


def remembered(root: Path, targets: Iterable[str]) -> dict[str, str]:
    """{target: what is wrong with it} of those targets that earlier runs noted and that still cannot be read."""
    noted = _noted(root)
    return {target: noted[target] for target in sorted(noted.keys() & set(targets)) if _is_unreadable(root / target)}


def keep_notes(root: Path, unreadable: dict[str, str]) -> None:
    """Leave notes on these targets alone; no file if there are none."""
    if not unreadable:
        (root / NOTES).unlink(missing_ok=True)
        return
    with atomic_write(root / NOTES) as temporary:
        temporary.write_text("".join(f"{json.dumps(note)}\n" for note in unreadable.items()), encoding="utf-8")


def _noted(root: Path) -> dict[str, str]:
    """A line cut short by a power failure is passed over."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for line in (root / NOTES).read_text(encoding="utf-8", errors="replace").split("\n"):
            with contextlib.suppress(ValueError, TypeError):
                target, fault = json.loads(line)
                found[str(target)] = str(fault)
    return found


def _is_unreadable(path: Path) -> bool:
    try:
        shrunk(path, 1)  # decodes all of it
    except ValueError:
        return True
    return False
