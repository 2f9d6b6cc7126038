"""Milvus Lite, which keeps collections in a folder whose name ends in .db, and is started within this process."""

import contextlib
import functools
import logging
import os
from pathlib import Path

from photo_search.milvus_faults import first_line
from utils.errors import InputError


def start_lite(file: str) -> None:
    """Start Milvus Lite within this process. pymilvus would not say why it cannot be started."""
    import milvus_lite  # noqa: F401  # the error names it

    if not Path(file).parent.is_dir():
        raise InputError(f"{Path(file).parent}: there is no such folder; make it, or name another place for {Path(file).name}")
    if os.path.isfile(file):
        raise InputError(f"{file}: is a file, but Milvus Lite makes a folder of that name; choose another name")
    reasons: list[str] = []
    if not _is_started(file, reasons):
        raise InputError(f"{file}: {reasons[-1] if reasons else 'Milvus Lite cannot open it'}")
    _keep_lock_from_workers(file)


@functools.cache
def _keep_lock_from_workers(file: str) -> None:
    """Worker processes that outlive a killed run would hold the file's lock with it."""

    def let_go() -> None:
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the list itself is open while it is read
                if os.path.samefile(f"/proc/self/fd/{number}", os.path.join(file, "LOCK")):
                    os.dup2(os.open(os.devnull, os.O_RDWR), int(number))

    if os.path.isdir("/proc/self/fd"):  # Linux; elsewhere workers are not forked
        os.register_at_fork(after_in_child=let_go)


def _is_started(file: str, reasons: list[str]) -> bool:
    from milvus_lite.exceptions import DataDirLockedError
    from milvus_lite.server_manager import logger, server_manager_instance

    def keep_reason(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, DataDirLockedError):
            reasons.append("is in use by another process; end that first (Milvus Lite serves one process at a time)")
        elif error is not None:
            reasons.append(f"Milvus Lite cannot open it ({first_line(error)}); index the photos again, into another file")
        return False

    logger.setLevel(logging.ERROR)
    logger.addFilter(keep_reason)
    try:
        return server_manager_instance.start_and_get_uri(file) is not None
    finally:
        logger.removeFilter(keep_reason)
