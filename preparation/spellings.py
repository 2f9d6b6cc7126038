"""Class folders, in whatever spelling, and the classes they mean."""

import difflib
from collections.abc import Iterable

from datasets.class_names import spelling, without_explanation
from utils.errors import InputError

KEYS = (str, spelling, without_explanation)  # a folder's class is found by the first of these that agrees


def classes_of_folders(folders: Iterable[str], classes: Iterable[str]) -> dict[str, str]:
    """{folder: class} for those folders that mean one of the classes. Raises InputError if two of them mean the same one.

    The same name is preferred to one that differs in case, blanks and hyphens, and that to one without the explanation in
    brackets (`car`, `car_(sedan)`).
    """
    found = counterparts(folders, classes)
    _require_one_each(found)
    return found


def counterparts(folders: Iterable[str], classes: Iterable[str]) -> dict[str, str]:
    """The same, but several folders may mean one class."""
    classes = list(classes)
    known = [(key, {key(name): name for name in classes}) for key in KEYS]
    found = {folder: [names[key(folder)] for key, names in known if key(folder) in names] for folder in sorted(folders)}
    return {folder: matches[0] for folder, matches in found.items() if matches}


def require_apart(folders: Iterable[str]) -> None:
    """Raise InputError if two class folders differ only in case, blanks and hyphens."""
    _require_one_each({folder: spelling(folder) for folder in sorted(folders)})


def _require_one_each(classes: dict[str, str]) -> None:
    for name in classes.values():
        same = [repr(folder) for folder, other in classes.items() if other == name]
        if len(same) > 1:
            raise InputError(f"the class folders {' and '.join(same)} both mean the class {name!r}; merge them, or rename one")


def nearest(name: str, folders: Iterable[str]) -> str:
    """A hint at the folder that may be meant by a class without a folder; empty if none has a similar name."""
    near = difflib.get_close_matches(name, sorted(folders), n=1)
    return f" (is it the folder {near[0]!r}? rename it)" if near else ""
