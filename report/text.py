"""Class names and facts from users' files, made safe to print in the report."""

import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

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


def class_names(names: Mapping[int, str] | Sequence[str], labels: np.ndarray) -> dict[int, str]:
    """{label: name} of these labels, by name: clean and shortened; a label with a blank name or none is called by its number."""
    given = names if isinstance(names, Mapping) else dict(enumerate(names))
    found = {label: clean(str(given.get(label, "")).replace("_", " ")) for label in np.unique(labels).tolist()}
    named = {label: shortened(name, LONGEST) if name.strip(JOINERS) else f"class {label}" for label, name in found.items()}
    return dict(sorted(named.items(), key=lambda item: (item[1].casefold(), item[0])))
