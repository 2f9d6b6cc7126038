"""Class names that are spelt differently but mean the same class."""

import re
import unicodedata
from collections.abc import Iterable


def same_classes(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """{name: the name among `others` that means the same class}, for the names that have one.

    Case, blanks, hyphens (`hot-air_balloon`, `hot air balloon`) and text in brackets (`car_(sedan)`, `car`) are ignored: to keep
    classes apart, one pair too many is safer than one too few.
    """
    known = {without_explanation(other): other for other in others}
    return {name: known[without_explanation(name)] for name in names if without_explanation(name) in known}


def spelling(name: str) -> str:
    """The name in lower case, with Unicode accents composed, without word separators and brackets (their text stays)."""
    spelt = re.sub(r"[\s_\-.,'’()\[\]]+", "", unicodedata.normalize("NFC", name).casefold())
    return spelt or name


def without_explanation(name: str) -> str:
    """The same, also without the text in brackets."""
    return spelling(re.sub(r"\(.*?\)", "", name) or name)
