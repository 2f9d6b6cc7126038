"""Class names and facts from users' files, made safe to print in the report."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"  # Persian words and joined emoji need them
LONGEST = 100  # cells of a class name; longer ones are cut


def clean(text: object) -> str:
    """One line without control characters, lone surrogates and marks that change the direction of writing."""
    words = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() or letter in JOINERS else "\N{REPLACEMENT CHARACTER}" for letter in words)


def cells(text: str) -> int:
    """Width of the text in letters; Chinese, Japanese and Korean letters count two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def shortened(text: str, limit: int) -> str:
    """The text, or its beginning and an ellipsis, at most `limit` cells wide."""
    if cells(text) <= limit:
        return text
    while cells(text) > limit - 1:
        text = text[:-1]
    return text.rstrip() + "…"


class ClassNames:
    """names[label], clean and shortened; a label without a name, or with a blank one, is called by its number."""

    def __init__(self, names: Mapping[int, str] | Sequence[str]):
        self._names = names if isinstance(names, Mapping) else dict(enumerate(names))

    def __getitem__(self, label: int) -> str:
        name = clean(str(self._names.get(int(label), "")).replace("_", " "))
        return shortened(name, LONGEST) if name.strip(JOINERS) else f"class {int(label)}"

    def alphabetical(self, labels: Iterable[int]) -> list[int]:
        """The labels by name, ignoring case."""
        return sorted((int(label) for label in labels), key=lambda label: (self[label].casefold(), label))
