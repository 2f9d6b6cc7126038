"""Files that would harm whoever trusts them."""

import os
from pathlib import Path


class Hostile:
    """Unpickled, it makes a folder at `victim`."""

    def __init__(self, victim: Path):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)
