"""Ends the program with one clear line where Python is too old to read the other modules.

Each entry script imports this module before any other of ours, and `make` runs it. So its syntax, that of
`utils/__init__.py` and that of the entry scripts stay readable to Python 3.6.
"""

import sys

NEEDED = (3, 10)


def require_python(version: tuple, executable: str) -> None:
    """Exit with code 2 after one line on stderr if `version` (major, minor, micro, ...) is older than NEEDED."""
    if tuple(version[:2]) >= NEEDED:
        return
    needed, found = ".".join(map(str, NEEDED)), ".".join(map(str, version[:3]))
    sys.stderr.write(f"error: DSN needs Python {needed} or newer; this is {found} ({executable})\n")
    sys.exit(2)


require_python(sys.version_info, sys.executable)
