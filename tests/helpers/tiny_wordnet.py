"""A WordNet of a few nouns, in the files that the real one has."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

LICENCE = "  1 This is a made-up WordNet.  \n  2 It is for tests only.  \n"
OPPOSITE = {"@": "~", "@i": "~i"}

# {word, or words with blanks between them: its hypernyms; `i:` before one says that this is an instance of it}
NOUNS = {
    "entity": [],
    "object": ["entity"],
    "animal": ["object"],
    "pet": ["object"],
    "dog domestic_dog": ["animal", "pet"],
    "toy_dog": ["dog"],
    "spaniel": ["toy_dog"],
    "rex": ["i:dog"],
    "cat": ["animal", "pet"],
    "artifact": ["object"],
    "vehicle": ["artifact"],
    "car auto": ["vehicle"],
    "taxi": ["car"],
    "hot-air_balloon": ["vehicle"],
    "ship": ["vehicle"],
    "titanic": ["i:ship"],
    "table_lamp": ["artifact"],
    "flip-flop": ["artifact"],
    "headphone": ["artifact"],
    "mouse": ["animal"],
    "mouse computer_mouse": ["artifact"],
    "fame": [],
    "glory": ["fame"],
}


def write_wordnet(folder: Path, nouns: Mapping[str, Sequence[str]] = NOUNS) -> dict[str, str]:
    """Write the files of nouns; returns {entry: wnid}. The first word of an entry names it as a hypernym."""
    folder.mkdir(parents=True, exist_ok=True)
    pointers = _pointers(nouns)
    offsets, position = dict.fromkeys(nouns, 0), len(LICENCE)
    lengths = [len(_line(entry, offsets, pointers[entry])) for entry in nouns]  # whatever the offsets
    for entry, length in zip(nouns, lengths, strict=True):
        offsets[entry] = position
        position += length
    lines = [_line(entry, offsets, pointers[entry]) for entry in nouns]
    (folder / "data.noun").write_text(LICENCE + "".join(lines))
    senses: dict[str, list[str]] = {}
    for entry in nouns:
        for word in entry.split():
            senses.setdefault(word, []).append(f"{offsets[entry]:08d}")
    index = [f"{word} n {len(found)} 1 @ {len(found)} 0 {' '.join(found)}  \n" for word, found in sorted(senses.items())]
    (folder / "index.noun").write_text(LICENCE + "".join(index))
    return {entry: f"n{offset:08d}" for entry, offset in offsets.items()}


def random_nouns(generator: np.random.Generator, count: int = 40) -> dict[str, list[str]]:
    """Two trees at least, one to three hypernyms each, some of them by instance."""
    nouns: dict[str, list[str]] = {"w0": [], "w1": []}
    for number in range(2, count):
        above = generator.choice(number, size=min(number, int(generator.integers(1, 4))), replace=False)
        nouns[f"w{number}"] = [f"{'i:' if generator.random() < 0.2 else ''}w{each}" for each in above]
    return nouns


def _pointers(nouns: Mapping[str, Sequence[str]]) -> dict[str, list[tuple[str, str]]]:
    """{entry: (symbol, entry)}, each way."""
    entries: dict[str, str] = {}
    for entry in nouns:
        entries.setdefault(entry.split()[0], entry)
    pointers: dict[str, list[tuple[str, str]]] = {entry: [] for entry in nouns}
    for entry, hypernyms in nouns.items():
        for hypernym in hypernyms:
            symbol, above = "@i" if hypernym.startswith("i:") else "@", entries[hypernym.removeprefix("i:")]
            pointers[entry].append((symbol, above))
            pointers[above].append((OPPOSITE[symbol], entry))
    return pointers


def _line(entry: str, offsets: Mapping[str, int], pointers: Sequence[tuple[str, str]]) -> str:
    words = entry.split()
    pointed = "".join(f"{symbol} {offsets[other]:08d} n 0000 " for symbol, other in pointers)
    text = "".join(f"{word} 0 " for word in words)
    return f'{offsets[entry]:08d} 03 n {len(words):02x} {text}{len(pointers):03d} {pointed}| made up; "a {words[0]}"  \n'
