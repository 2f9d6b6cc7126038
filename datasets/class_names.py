"""When two names, differently spelt, mean the same class."""

import re
import unicodedata
from collections.abc import Iterable


def same_classes(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """{name: its counterpart among `others`}, for those that have one.

    Case, blanks and hyphens do not count (`hot-air_balloon`, `hot air balloon`), nor does an explanation in brackets
    (`car_(sedan)`, `car`): for keeping classes apart, a pair too many is safer than one too few.
    """
    known = {without_explanation(other): other for other in others}
    return {name: known[without_explanation(name)] for name in names if without_explanation(name) in known}


def spelling(name: str) -> str:
    """A class's name without case, what joins words, the signs (not the text) of brackets, and ways to code an accent."""
    init_distributed = re.sub(r"[\s_\-.,'’()\[\]]+", "", unicodedata.normalize("NFC", name).casefold())
    return init_distributed or name


def without_explanation(name: str) -> str:
    """The same, and without what is in brackets."""
    return spelling(re.sub(r"\(.*?\)", "", name) or name)
