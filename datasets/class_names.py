"""When two datasets mean the same class by differently spelt names."""

import re
from collections.abc import Iterable


def same_classes(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """{name: its counterpart among `others`}, for those that have one.

    Case, blanks and punctuation do not count (`hot-air_balloon`, `hot air balloon`), nor does an explanation in brackets
    (`car_(sedan)`, `car`): for keeping classes apart, a pair too many is safer than one too few.
    """
    known = {letters(other): other for other in others}
    return {name: known[letters(name)] for name in names if letters(name) in known}


def letters(name: str) -> str:
    """A class's name without what does not count: case, blanks, punctuation, an explanation in brackets."""
    without_brackets = re.sub(r"\(.*?\)", "", name)
    return re.sub(r"[\W_]+", "", without_brackets or name).casefold()
