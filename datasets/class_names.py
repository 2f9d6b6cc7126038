"""When two datasets mean the same class by differently spelt names."""

import re
from collections.abc import Iterable


def same_classes(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """{name: its counterpart among `others`}, for those that have one.

    Case, blanks and punctuation do not count (`hot-air_balloon`, `hot air balloon`), nor does an explanation in brackets
    (`car_(sedan)`, `car`): for keeping classes apart, a pair too many is safer than one too few.
    """
    known = {_letters(other): other for other in others}
    return {name: known[_letters(name)] for name in names if _letters(name) in known}


def _letters(name: str) -> str:
    without_brackets = re.sub(r"\(.*?\)", "", name)
    return re.sub(r"[\W_]+", "", without_brackets or name).casefold()
