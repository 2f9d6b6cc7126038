"""Files that already exist where images belong, and the journal by which an interrupted run recognises its own."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from preparation.copying import FileOptions
from preparation.layouts import Image
from preparation.sources import JOURNAL, Folder, Source
from utils.errors import InputError
from utils.files import atomic_write

Journal = list[dict[str, Any]]  # an entry for each source and way of copying


def images_to_copy(images: list[Image], root: Path, sources: list[Source], options: FileOptions) -> list[Image]:
    """The images that are not in their places yet; with --force, all except source files that are in their own places.

    A link to the source's file is replaced if a copy is wanted, and any equal file if it may have to be shrunk. Raises InputError
    if another file has an image's place.
    """
    journal = _journal(root)
    since = {source: _since(journal, source, options) for source in sources}
    return [image for image in images if _is_missing(image, root, since[image.source], options)]


def _is_missing(image: Image, root: Path, since: int | None, options: FileOptions) -> bool:
    """Whether to copy an image; `since` as `_since` returns it."""
    target = root / image.target
    if not os.path.lexists(target) or (not target.is_symlink() and not target.stat().st_size):  # a power failure empties files
        return True
    original = image.source.file(image.name) if isinstance(image.source, Folder) else None
    if original and original.name == target.name and os.path.samefile(original.parent, target.parent):
        return False  # the dataset is prepared where it is
    if options.force:
        return True
    is_link = original is not None and target.exists() and os.path.samefile(original, target)
    if since is not None and (is_link or _was_copied(original, target, since)):
        return False
    if not is_link and not (target.is_file() and image.source.equals(image.name, target)):
        raise InputError(
            f"{target}: already exists and differs from {image.source.path}/{image.name}; replace such files with --force, "
            "or choose another --output"
        )
    return options.side_of(image) > 0 or (options.copy and is_link)


def _was_copied(original: Path | None, target: Path, since: int) -> bool:
    """Whether the target was written after `since` and the original has not changed after that."""
    if not target.is_file():
        return False
    written = target.stat().st_mtime_ns
    return written >= since and (original is None or original.stat().st_mtime_ns <= written)


def note_sources(sources: list[Source], root: Path, options: FileOptions) -> None:
    """Add the sources to the journal before their first image is copied; with --force, remove all others."""
    journal = [] if options.force else _journal(root)
    with tempfile.NamedTemporaryFile(dir=root) as probe:
        now = Path(probe.name).stat().st_mtime_ns  # by the clock of the disk
    journal += [{**_entry(source, options), "since": now} for source in sources if _since(journal, source, options) is None]
    with atomic_write(root / JOURNAL) as temporary:
        temporary.write_text(json.dumps(journal, indent=1) + "\n", encoding="utf-8", errors="surrogateescape")


def _since(journal: Journal, source: Source, options: FileOptions) -> int | None:
    """When, in ns, the first run with the same options began to copy from this source; None: no run did."""
    entry = _entry(source, options)
    return next((noted["since"] for noted in journal if entry.items() <= noted.items()), None)


def _entry(source: Source, options: FileOptions) -> dict[str, Any]:
    return {"source": source.identity(), "side": options.side, "copies": options.copy}


def _journal(root: Path) -> Journal:
    try:
        found = json.loads((root / JOURNAL).read_text(encoding="utf-8"))
        return [entry for entry in found if isinstance(entry["since"], int)]
    except (OSError, ValueError, TypeError, LookupError):
        return []
