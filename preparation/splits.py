"""Which classes are seen and unseen, which sketches are held out, and the lists that say so (SPEC 2)."""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.catalog import CUSTOM, DATASETS, SAME_SPLIT, Dataset, published_classes
from datasets.file_lists import read_class_names
from preparation.layouts import PHOTO, PLURAL, SKETCH, Image, Layout, by_class
from preparation.spellings import classes_of_folders, nearest, require_apart
from utils.errors import InputError
from utils.text import printable

LEAST_SHARE = 5  # at most every fifth sketch of a class is held out, but one where there are two
EMPTY = "this class folder holds no images; fill it, or remove it"
SHARE = 0.2  # of the classes is unseen where nothing is said
SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Classes:
    """Names by id."""

    seen: list[str]
    unseen: list[str]

    def __iter__(self):
        return iter((*self.seen, *self.unseen))


@dataclass(frozen=True)
class Sorted:
    """Images of the split's classes, {kind: {class: images}}; what differs in spelling; folders that are none of its classes."""

    images: dict[str, dict[str, list[Image]]]
    spelt: list[tuple[str, str]]  # (folder, class)
    other_folders: list[str]

    def all(self) -> list[Image]:
        return [image for of_class in self.images.values() for images in of_class.values() for image in images]


def split_name(dataset: Dataset, asked: str | None) -> str:
    """The dataset's own split if none is asked for; another name of a published one is told.

    Raises InputError if it is no name for a folder beside those of the images, or own folders would be taken for published ones.
    """
    name = asked or dataset.default_split
    taken = {folder.split("/")[0] for folder in (dataset.photo_folder, dataset.sketch_folder)}
    published = {split for other in DATASETS.values() for split in other.splits} - {CUSTOM.default_split}
    if not name.replace("-", "_").isidentifier() or name in taken:
        raise InputError(f"--split {name}: give a plain name, of letters, digits, - and _, that no folder of images has")
    if dataset is CUSTOM and name in published:
        raise InputError(f"--split {name}: is the name of a published split; give yours another")
    if name in SAME_SPLIT and dataset.splits:
        print(f"{name} is here called {SAME_SPLIT[name]}")
    return SAME_SPLIT.get(name, name) if dataset.splits else name


def classes_of_split(dataset: Dataset, folder: Path, unseen: list[str] | None, layout: Layout, seed: int) -> Classes:
    """The published classes; for another split, those that have sketches and photos, of which `unseen` are unseen.

    unseen: their names, or their number or share; None: as the split's folder has it already, or else a fifth of the classes,
    drawn by `seed`. Raises InputError where that cannot be.
    """
    split = folder.name
    if split in dataset.splits:
        if unseen:
            raise InputError(f"--unseen: {split} is a published split; give yours another name with --split")
        return Classes(*published_classes(dataset, split))
    if dataset.splits and not unseen:
        known = ", ".join(dataset.splits)
        raise InputError(f"--split {split}: not published for {dataset.name} ({known}); one of your own wants --unseen CLASS…")
    names = _with_both(layout)
    before = folder / "cname_cid_zero.txt"
    if unseen is None and before.exists():
        print(printable(f"unseen classes as before, by {before}; --unseen names others"))
        kept = [name for name in read_class_names(before) if name in names]
        return Classes([name for name in names if name not in kept], kept)
    return _drawn(names, unseen, seed)


def _with_both(layout: Layout) -> list[str]:
    """Names of the classes that have photos and sketches, as the photos' folders spell them."""
    if layout.empty_folders:
        raise InputError(f"{layout.empty_folders[0]}: {EMPTY}")
    found = by_class(layout.images)
    photos, sketches = sorted(found[PHOTO]), sorted(found[SKETCH])
    require_apart(photos)
    require_apart(sketches)
    names = sorted(set(classes_of_folders(sketches, photos).values()))
    if len(names) < 2:
        raise InputError(f"only {len(names)} class has both photos and sketches; a split needs two, one to learn and one to find")
    return names


def _drawn(names: list[str], unseen: list[str] | None, seed: int) -> Classes:
    chosen = _unseen(names, unseen, seed)
    seen = [name for name in names if name not in chosen]
    if not seen:
        raise InputError("--unseen: names every class; leave some to learn from")
    return Classes(seen, [name for name in names if name in chosen])


def _unseen(names: list[str], asked: list[str] | None, seed: int) -> set[str]:
    number = _number(asked[0]) if asked and len(asked) == 1 and asked[0] not in names else None
    if asked and number is None:
        spelt = classes_of_folders(asked, names)
        unknown = [name for name in asked if name not in spelt]
        if unknown:
            hint = nearest(unknown[0], names)
            raise InputError(f"--unseen {unknown[0]}: no such class with photos and sketches{hint}; there is {_some(names)}")
        return set(spelt.values())
    number = SHARE if number is None else number
    count = max(1, round(number * len(names))) if 0 < number < 1 else number
    if not (1 <= count < len(names) and count == int(count)):
        raise InputError(f"--unseen {asked[0]}: give class names, a whole number below {len(names)}, or a share below 1")
    return set(np.random.default_rng(seed).permutation(names)[: int(count)].tolist())


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else 0.0


def sort_images(layout: Layout, classes: Classes, split: str) -> Sorted:
    """Images by kind and class. Raises InputError if a class has no photos or no sketches, or is spelt in two ways."""
    images: dict[str, dict[str, list[Image]]] = {PHOTO: {}, SKETCH: {}}
    spelt, others = set(), set()
    for kind in images:
        of_place: dict[str, dict[str, list[Image]]] = {}
        for image in (image for image in layout.images if image.kind == kind):
            place = image.target.rsplit("/", 2)[0]
            of_place.setdefault(place, {}).setdefault(image.class_folder, []).append(image)
        for place, folders in of_place.items():
            names = classes_of_folders(folders, list(classes))
            spelt |= {(f"{place}/{folder}", name) for folder, name in names.items() if folder != name}
            others |= {f"{place}/{folder}" for folder in folders if folder not in names}
            for folder, name in names.items():
                images[kind].setdefault(name, []).extend(folders[folder])
    _require_images(images, layout, classes, split, others)
    return Sorted(images, sorted(spelt), sorted(others))


def _require_images(images: dict, layout: Layout, classes: Classes, split: str, others: set[str]) -> None:
    empty = {folder.rpartition("/")[2]: folder for folder in layout.empty_folders}
    for folder, name in classes_of_folders(empty, list(classes)).items():
        if any(name not in of_class for of_class in images.values()):
            raise InputError(f"{empty[folder]}: {EMPTY}")
    for kind, of_class in images.items():
        lacking = [name for name in classes if name not in of_class]
        if lacking:
            hint = nearest(lacking[0], (folder.rpartition("/")[2] for folder in others))
            raise InputError(
                f"no {PLURAL[kind]} of {len(lacking)} classes of {split}: {_some(lacking)}{hint}; name every --source"
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def lists_of(dataset: Dataset, classes: Classes, images: dict, held_out: int, seed: int) -> dict[str, bytes]:
    """{file name: UTF-8 text} of a split: its lists and class names.

    held_out: sketches of each seen class for validation, drawn by `seed` and the class's name alone, but at most a fifth of
    those it has. Raises InputError if that is none at all.
    """
    photos, sketches = (
        {name: sorted(image.target for image in images[kind][name]) for name in classes} for kind in (PHOTO, SKETCH)
    )
    chosen = {name: _held_out(sketches[name], held_out, name, seed) for name in classes.seen}
    if not any(chosen.values()):
        raise InputError("no seen class has two sketches, so none can be held out to validate with; draw some more")
    training = {name: [path for path in sketches[name] if path not in chosen[name]] for name in classes.seen}
    texts = {
        dataset.photo_list.format(part="train"): _lines(classes.seen, photos),
        dataset.photo_list.format(part="zero"): _lines(classes.unseen, photos),
        dataset.sketch_list.format(part="train"): _lines(classes.seen, training),
        dataset.sketch_list.format(part="test"): _lines(classes.seen, chosen),
        dataset.sketch_list.format(part="zero"): _lines(classes.unseen, sketches),
        "cname_cid.txt": "".join(f"{name} {number}\n" for number, name in enumerate(classes.seen)),
        "cname_cid_zero.txt": "".join(f"{name} {number}\n" for number, name in enumerate(classes.unseen)),
    }
    return {name: text.encode() for name, text in texts.items()}


def _held_out(paths: list[str], count: int, name: str, seed: int) -> set[str]:
    most = max(len(paths) // LEAST_SHARE, min(1, len(paths) - 1))
    order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(len(paths))
    return {paths[row] for row in order[: min(count, most)]}


def _lines(names: list[str], paths: dict) -> str:
    return "".join(f"{path} {number}\n" for number, name in enumerate(names) for path in sorted(paths[name]))
