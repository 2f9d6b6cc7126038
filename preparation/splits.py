"""Which classes of a split are seen and unseen, and the images of each class."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.catalog import CUSTOM, DATASETS, SAME_SPLIT, Dataset, published_classes
from datasets.file_lists import UNSEEN_NAMES, read_class_names
from preparation.layouts import PHOTOS, SKETCHES, Image, Layout
from preparation.spellings import classes_of_folders, nearest, require_apart
from utils.errors import InputError
from utils.text import printable, some_of

EMPTY = "this class folder holds no images; fill it, or remove it"
SHARE = 0.2  # of the classes is unseen by default
SHOWN = 5  # names in a message
ImagesByClass = dict[str, dict[str, list[Image]]]  # {kind: {class: its images}}


@dataclass(frozen=True)
class Classes:
    """Names by class id."""

    seen: list[str]
    unseen: list[str]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.seen, *self.unseen))


@dataclass(frozen=True)
class SplitImages:
    """Images of a split's classes; (folder, class) where their spelling differs; folders of other classes."""

    by_class: ImagesByClass
    spelt: list[tuple[str, str]]
    other_folders: list[str]

    def all(self) -> list[Image]:
        return [image for classes in self.by_class.values() for images in classes.values() for image in images]


def split_name(dataset: Dataset, name: str | None) -> str:
    """Folder name of the split called `name`, by default the dataset's own; another name of a published split is mapped to it.

    Raises InputError if folders of images have the name, or if it would make own folders look like a published split.
    """
    name = name or dataset.default_split
    taken = {folder.split("/")[0] for folder in (dataset.photo_folder, dataset.sketch_folder)}
    if not name.replace("-", "_").isidentifier() or name in taken:
        raise InputError(f"--split {name}: give a plain name, of letters, digits, - and _, that no folder of images has")
    if dataset is CUSTOM and name != CUSTOM.default_split and any(name in other.splits for other in DATASETS.values()):
        raise InputError(f"--split {name}: is the name of a published split; give yours another")
    if name in SAME_SPLIT and dataset.splits:
        print(f"{name} is here called {SAME_SPLIT[name]}")
    return SAME_SPLIT.get(name, name) if dataset.splits else name


def classes_of_split(dataset: Dataset, folder: Path, unseen: list[str] | None, layout: Layout, seed: int) -> Classes:
    """The published classes; for another split, the classes with sketches and photos, of which `unseen` are unseen.

    unseen: names, or a number or share of the classes. None: the unseen classes already in the split's folder, else a fifth
    of the classes, drawn by `seed`. Raises InputError if that is impossible.
    """
    split = folder.name
    if split in dataset.splits:
        if unseen:
            raise InputError(f"--unseen: {split} is a published split; give yours another name with --split")
        return Classes(*published_classes(dataset, split))
    if dataset.splits and not unseen:
        known = ", ".join(dataset.splits)
        raise InputError(f"--split {split}: not published for {dataset.name} ({known}); a new split needs --unseen CLASS…")
    names = _classes_with_both(layout)
    before = folder / UNSEEN_NAMES
    if unseen is None and before.exists():
        print(printable(f"unseen classes as in {before}; change them with --unseen"))
        chosen = [name for name in read_class_names(before) if name in names]
    else:
        chosen = _chosen(names, unseen or [str(SHARE)], seed)
    return Classes([name for name in names if name not in chosen], chosen)


def _classes_with_both(layout: Layout) -> list[str]:
    """Sorted names of the classes that have photos and sketches, as the photos' folders spell them."""
    if layout.empty_folders:
        raise InputError(f"{layout.empty_folders[0]}: {EMPTY}")
    photos, sketches = ({image.class_folder for image in layout.images if image.kind == kind} for kind in (PHOTOS, SKETCHES))
    require_apart(photos)
    require_apart(sketches)
    names = sorted(set(classes_of_folders(sketches, sorted(photos)).values()))
    if len(names) < 2:
        raise InputError(f"only {len(names)} class has both photos and sketches; a split needs two, one to learn and one to find")
    return names


def _chosen(names: list[str], words: list[str], seed: int) -> list[str]:
    """The classes that `words` name; or if it is a number or a share of the classes, so many drawn ones."""
    number = _number(words[0]) if len(words) == 1 and words[0] not in names else None
    if number is None:
        spelt = classes_of_folders(words, names)
        unknown = [name for name in words if name not in spelt]
        if unknown:
            hint = nearest(unknown[0], names)
            raise InputError(
                f"--unseen {unknown[0]}: no such class with photos and sketches{hint}; there is {some_of(names, SHOWN)}"
            )
        chosen = set(spelt.values())
        if chosen == set(names):
            raise InputError("--unseen: names every class; leave some to learn from")
    else:
        count = max(1, round(number * len(names))) if 0 < number < 1 else number
        if count not in range(1, len(names)):
            raise InputError(f"--unseen {words[0]}: give class names, a whole number below {len(names)}, or a share below 1")
        chosen = set(np.random.default_rng(seed).permutation(names)[: int(count)].tolist())
    return [name for name in names if name in chosen]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def images_of_split(layout: Layout, classes: Classes, split: str) -> SplitImages:
    """Images by kind and class. Raises InputError if a class has no photos or no sketches, or is spelt in two ways."""
    by_class: ImagesByClass = {PHOTOS: {}, SKETCHES: {}}
    spelt, others = set(), set()
    folders: dict[tuple[str, str], dict[str, list[Image]]] = {}
    for image in layout.images:
        folders.setdefault((image.kind, image.place), {}).setdefault(image.class_folder, []).append(image)
    for (kind, place), found in folders.items():
        names = classes_of_folders(found, classes)
        spelt |= {(f"{place}/{folder}", name) for folder, name in names.items() if folder != name}
        others |= {f"{place}/{folder}" for folder in found if folder not in names}
        for folder, name in names.items():
            by_class[kind].setdefault(name, []).extend(found[folder])
    _require_images(by_class, layout, classes, split, others)
    return SplitImages(by_class, sorted(spelt), sorted(others))


def _require_images(by_class: ImagesByClass, layout: Layout, classes: Classes, split: str, others: set[str]) -> None:
    empty = {folder.rpartition("/")[2]: folder for folder in layout.empty_folders}
    for folder, name in classes_of_folders(empty, classes).items():
        if any(name not in found for found in by_class.values()):
            raise InputError(f"{empty[folder]}: {EMPTY}")
    for kind, found in by_class.items():
        lacking = [name for name in classes if name not in found]
        if lacking:
            hint = nearest(lacking[0], (folder.rpartition("/")[2] for folder in others))
            raise InputError(
                f"no {kind} of {len(lacking)} classes of {split}: {some_of(lacking, SHOWN)}{hint}; name every --source"
            )
