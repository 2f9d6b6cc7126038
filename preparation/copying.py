"""Images brought to their places by hard link, copying, unpacking or shrinking, in several threads.

Images that are there already are known by their content or, after an interrupted run, by a journal of sources and options.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from preparation.archives import FREE_SPACE, Archive
from preparation.config import FileOptions
from preparation.layouts import Image
from preparation.shrinking import note_unreadable, shrunk
from preparation.sources import JOURNAL, Folder, Source, Take
from utils.cores import usable_cores
from utils.errors import InputError
from utils.files import atomic_write, hidden_beside, report_full_disk
from utils.progress import progress_bar
from utils.text import one_line

CHUNK = 16  # images that a thread takes at a time
LARGEST_IMAGE = 1 << 28  # bytes
Journal = list[dict[str, Any]]  # an entry for each source and way of copying
UNPACKED = ".unpacked"  # below the dataset's folder, while tar and 7z archives are unpacked


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


def require_space(images: list[Image], at: Path) -> None:
    """Raise InputError if the images in archives do not fit on the disk of the folder `at`, or one is too large for an image."""
    sizes = {image: image.source.size(image.name) for image in images if isinstance(image.source, Archive)}
    for image, size in sizes.items():
        if size > LARGEST_IMAGE:
            claim = f"{image.source.path}: its member {image.name!r} claims {size >> 20:,} MiB"
            most = f"no image of these datasets is larger than {LARGEST_IMAGE >> 20}"
            raise InputError(f"{claim}, and {most}; remove it from the archive")
    needed, free = sum(sizes.values()), shutil.disk_usage(at).free
    if needed > free:
        raise InputError(
            f"{at}: {needed / 1e6:,.0f} MB are to be unpacked, {free / 1e6:,.0f} MB are free; choose another --output"
        )


def copy_images(images: list[Image], root: Path, options: FileOptions) -> int:
    """Bring images to their places, each complete under another name first; returns how many were shrunk.

    Raises InputError if the disk is full, a folder cannot be written, or an archive turns out to be damaged.
    """
    names: dict[Source, list[str]] = defaultdict(list)
    for image in images:
        names[image.source].append(image.name)
    aside = root / UNPACKED
    shutil.rmtree(aside, ignore_errors=True)  # a killed run's
    aside.mkdir()
    count = 0
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, aside, ignore_errors=True)
        opened = {source: stack.enter_context(source.open(found, aside, options.copy)) for source, found in names.items()}
        pool = ThreadPoolExecutor(options.num_workers or usable_cores())
        stack.callback(pool.shutdown, cancel_futures=True)  # Ctrl-C does not wait for all images
        bar = stack.enter_context(progress_bar(len(images), "copying images", "img"))
        chunks = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
        tasks = pool.map(lambda chunk: [_copy(image, opened[image.source], root, options) for image in chunk], chunks)
        for are_smaller in tasks:
            bar.update(len(are_smaller))
            count += sum(are_smaller)
    return count


def _copy(image: Image, take: Take, root: Path, options: FileOptions) -> bool:
    """Copy an image; returns whether it was shrunk."""
    path = root / image.target
    temporary = hidden_beside(path, "placing")
    try:
        temporary.unlink(missing_ok=True)  # a killed run may have left a link to the user's own file
        with report_full_disk(path, f"{FREE_SPACE}, or choose another --output"):
            path.parent.mkdir(parents=True, exist_ok=True)
            take(image.name, temporary)
            is_smaller = _shrink(temporary, image.target, options.side_of(image), root)
        os.replace(temporary, path)
        return is_smaller
    except OSError as error:
        where = error.filename or path
        raise InputError(
            f"{where}: {error.strerror or one_line(error)}; correct that, then run the same command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _shrink(copied: Path, target: str, side: int, root: Path) -> bool:
    """Shrink the copied file if it is larger than `side`; one that cannot be read is noted, and stays as it is."""
    try:
        content = shrunk(copied, side) if side else None
    except ValueError:
        note_unreadable(root, target)
        return False
    if content is not None:
        copied.unlink()  # it may be a link to the user's own file
        copied.write_bytes(content)
    return content is not None
