"""Class folders, however spelt, and the classes of a split they mean."""

import difflib
from collections import defaultdict
from collections.abc import Iterable

from datasets.class_names import spelling, without_explanation
from utils.errors import InputError

KEYS = (str, spelling, without_explanation)  # a name's match by the first that has one


def classes_of_folders(folders: Iterable[str], classes: list[str]) -> dict[str, str]:
    """{folder: class} for those folders that mean one of the classes.

    The very name comes before one that differs in case, blanks and hyphens alone, and that before one without the
    explanation in brackets (`car`, `car_(sedan)`). Raises InputError if two folders mean one class.
    """
    found = counterparts(folders, classes)
    _require_one_each(found)
    return found


def counterparts(folders: Iterable[str], classes: Iterable[str]) -> dict[str, str]:
    """As `classes_of_folders`, but several folders may mean one class."""
    classes = list(classes)
    known = [{key(name): name for name in classes} for key in KEYS]
    found = {}
    for folder in sorted(folders):
        matches = (names[key(folder)] for key, names in zip(KEYS, known, strict=True) if key(folder) in names)
        name = next(matches, None)
        if name is not None:
            found[folder] = name
    return found


def require_apart(folders: Iterable[str]) -> None:
    """Raise InputError if two class folders differ in case, blanks and hyphens alone."""
    _require_one_each({folder: spelling(folder) for folder in sorted(folders)})


def _require_one_each(meant: dict[str, str]) -> None:
    of_class = defaultdict(list)
    for folder, name in meant.items():
        of_class[name].append(folder)
    for name, spelt in of_class.items():
        if len(spelt) > 1:
            both = " and ".join(repr(folder) for folder in spelt)
            raise InputError(f"the class folders {both} both mean the class {name!r}; merge them, or rename one")


def nearest(name: str, folders: Iterable[str]) -> str:
    """A hint at the folder that may be meant by a class that none was found for; empty if none is near."""
    near = difflib.get_close_matches(name, sorted(folders), n=1)
    return f" (is it the folder {near[0]!r}? rename it)" if near else ""
