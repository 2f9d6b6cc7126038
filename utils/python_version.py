"""Ends the program with one line where Python is too old to read the other modules, and on Ctrl-C during the imports.

Each entry script imports this module before any other of ours, and `make` runs it. So its syntax, that of
`utils/__init__.py` and that of the entry scripts stay readable to Python 3.6.
"""

import os
import sys

NEEDED = (3, 10)


def require_python(version: tuple, executable: str) -> None:
    """Exit with code 2 after one line on stderr if `version` (major, minor, micro, ...) is older than NEEDED."""
    if tuple(version[:2]) >= NEEDED:
        return
    needed, found = ".".join(map(str, NEEDED)), ".".join(map(str, version[:3]))
    sys.stderr.write(f"error: DSN needs Python {needed} or newer; this is {found} ({executable})\n")
    sys.exit(2)


def end_on_ctrl_c(kind: type, error: BaseException, trace: object) -> None:
    """An excepthook without traceback for Ctrl-C during the first imports; `report_errors` handles it later."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(type(error), error, error.__traceback__)
        return
    sys.stderr.write("\ninterrupted\n")
    sys.stderr.flush()
    os._exit(130)


require_python(sys.version_info, sys.executable)
sys.excepthook = end_on_ctrl_c
