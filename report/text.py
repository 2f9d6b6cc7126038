"""Class names and facts from users' files, made safe to print in the report."""

from collections.abc import Mapping, Sequence

import numpy as np

JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"  # Persian words and joined emoji need them
LONGEST = 100  # letters of a class name; longer ones are cut


def clean(text: object) -> str:
    """One line without control characters, lone surrogates and marks that change the direction of writing."""
    words = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() or letter in JOINERS else "\N{REPLACEMENT CHARACTER}" for letter in words)


def class_names(names: Mapping[int, str] | Sequence[str], labels: np.ndarray) -> dict[int, str]:
    """{label: clean name} of these labels, by name; a label without a name, or with a blank one, is called by its number."""
    given = names if isinstance(names, Mapping) else dict(enumerate(names))
    found = {label: clean(str(given.get(label, "")).replace("_", " "))[:LONGEST] for label in np.unique(labels).tolist()}
    named = {label: name if name.strip(JOINERS) else f"class {label}" for label, name in found.items()}
    return dict(sorted(named.items(), key=lambda item: (item[1].casefold(), item[0])))
