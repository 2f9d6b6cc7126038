"""Text from outside, such as file names, made safe to print."""

import re
import unicodedata
from collections.abc import Sequence

CONTROLS = ("Cc", "Cs", "Zl", "Zp")  # escape bytes, newlines, bytes that are not UTF-8, line and paragraph separators
LINE_BREAK = re.compile(r"\s*[\r\n]\s*")
BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they reorder the text around them


def printable(text: object) -> str:
    r"""`str(text)` on one line; characters that a terminal interprets are escaped as in Python: `a\nb`, `\x1b[31m`, `\u202e`."""
    return "".join(map(_escaped, str(text)))


def one_line(text: object) -> str:
    """A library's message on one line: each line break becomes one blank, with the blanks around it; names stay as they are."""
    return LINE_BREAK.sub(" ", str(text).strip())


def is_url(text: str) -> bool:
    """Whether a text is a URL rather than a path."""
    return "://" in text


def counted(count: int, one: str, more: str) -> str:
    """`1 class is` or `2 classes are`: the number with its words in the singular or plural."""
    return f"{count:,} {one if count == 1 else more}"


def some_of(items: Sequence[str], shown: int) -> str:
    """`a, b and 2 more`: the first `shown` of the items, and the number of the others."""
    return ", ".join(items[:shown]) + (f" and {len(items) - shown:,} more" if len(items) > shown else "")


def _escaped(letter: str) -> str:
    if unicodedata.category(letter) not in CONTROLS and letter not in BIDI:
        return letter
    if "\udc80" <= letter <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()
