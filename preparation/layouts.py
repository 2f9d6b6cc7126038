"""Where each dataset's images lie in what people have on disk, and where they belong (SPEC 2)."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath

from datasets.catalog import CUSTOM, QUICKDRAW, SKETCHY, TUBERLIN, Dataset
from preparation.sources import IMAGES, JOURNAL, Source
from utils.errors import InputError

PHOTO, SKETCH = "photo", "sketch"
PLURAL = {PHOTO: "photos", SKETCH: "sketches"}
LONGEST_NAME = 255  # bytes, on nearly every file system


@dataclass(frozen=True)
class Place:
    """Folders of class folders whose path ends like `pattern`, and the folder of the dataset that their images belong into.

    is_ready: as published, with nothing left to resize; `target` may refer to the pattern's groups. Of two places for
    the same target the one that comes first in a dataset's list is taken.
    """

    pattern: str
    kind: str
    target: str
    is_ready: bool = False


def _places(dataset: Dataset, photo: str, sketch: str) -> list[Place]:
    return [Place(photo, PHOTO, dataset.photo_folder), Place(sketch, SKETCH, dataset.sketch_folder)]


def _ready(dataset: Dataset) -> list[Place]:
    return [
        Place(dataset.photo_folder, PHOTO, dataset.photo_folder, is_ready=True),
        Place(dataset.sketch_folder, SKETCH, dataset.sketch_folder, is_ready=True),
    ]


ANYWHERE = ("photos?|images?", "sketch(?:es)?")  # how people call such folders themselves
EXTENSION = "EXTEND_image_sketchy"  # the photos that make Sketchy Sketchy Ext; some are named like Sketchy's own

PLACES = {
    SKETCHY.key: [
        *_ready(SKETCHY),
        Place("photo/tx_000000000000_ready", PHOTO, SKETCHY.photo_folder, is_ready=True),
        Place("sketch/tx_000000000000_ready", SKETCH, SKETCHY.sketch_folder, is_ready=True),
        Place(rf"((?:256x256/)?(?:photo/)?{EXTENSION}_ready)", PHOTO, r"\1", is_ready=True),
        *_places(SKETCHY, "photo/tx_000000000000", "sketch/tx_000000000000"),
        Place(EXTENSION, PHOTO, f"{EXTENSION}_ready"),
        *_places(SKETCHY, *ANYWHERE),
    ],
    TUBERLIN.key: [
        *_ready(TUBERLIN),
        *_places(TUBERLIN, "ImageResized", "png|sketches_png"),
        *_places(TUBERLIN, *ANYWHERE),
    ],
    QUICKDRAW.key: [
        *_ready(QUICKDRAW),
        *_places(QUICKDRAW, "QuickDraw_images(?:_final)?", "QuickDraw_sketches(?:_final)?"),
        *_places(QUICKDRAW, *ANYWHERE),
    ],
    CUSTOM.key: _places(CUSTOM, ANYWHERE[0], f"{ANYWHERE[1]}|drawings?"),
}


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a source, and where below the dataset's folder it belongs; the lower the rank, the surer its place."""

    source: Source
    name: str
    kind: str
    class_folder: str
    target: str
    is_ready: bool
    place: str  # the target's folder of class folders
    rank: int

    @property
    def prefix(self) -> str:
        """What comes before the target in the name, where the image lies in the dataset's layout; else the name."""
        return self.name.removesuffix(self.target)


@dataclass
class Layout:
    """What was recognised: images, and class folders without any; how many files of which sort were left out."""

    images: list[Image]
    empty_folders: list[str]
    left_out: Counter


def recognise(dataset: Dataset, sources: list[Source]) -> Layout:
    """Find the images of a dataset in these sources by the names of folders alone.

    What an earlier preparation put below a source counts only where it holds nothing else. Raises InputError if there are no
    sketches or no photos, saying what was looked for and what is there, or if two files would become one.
    """
    places = [(re.compile(rf"(?:.*?/)?(?:{place.pattern})", re.IGNORECASE), place) for place in PLACES[dataset.key]]
    layout = Layout([], [], Counter())
    for source in sources:
        layout.left_out += source.left_out
        at = {folder: _place_of(places, f"{source.where}/{folder}".strip("/")) for folder in _parents(source)}
        _take(source, {folder: found for folder, found in at.items() if found is not None}, layout)
    first: dict[str, int] = {}
    for image in layout.images:
        first[image.place] = min(image.rank, first.get(image.place, image.rank))
    for image in layout.images:
        if first[image.place] < image.rank:
            layout.left_out[f"images in {image.source.path}/{_above(image.name)}"] += 1
    layout.images = [image for image in layout.images if first[image.place] == image.rank]
    _require_both_kinds(dataset, sources, layout)
    _require_one_file_each(layout.images)
    return layout


def _place_of(places: list, folder: str) -> tuple[int, Place, str] | None:
    """(rank, place, target folder) of a folder of class folders."""
    for rank, (pattern, place) in enumerate(places):
        match = pattern.fullmatch(folder)
        if match:
            return rank, place, match.expand(place.target)
    return None


def _parents(source: Source) -> set[str]:
    return {folder.rpartition("/")[0] for folder in source.folders if folder} | {""}


def _take(source: Source, at: dict[str, tuple[int, Place, str]], layout: Layout) -> None:
    """Add the images of one source to the layout; `at`: by folder of class folders."""
    images, has_images = [], set()
    for name in source.names:
        folder, _, file = name.rpartition("/")
        found = at.get(_above(name)) if folder else None
        is_image = file.lower().endswith(IMAGES)
        if found is None or not is_image:
            if is_image:
                layout.left_out[f"images in {source.path}/{_above(name)}"] += 1
            elif found is not None:
                layout.left_out[f"files ending in {PurePosixPath(file).suffix.lower() or 'nothing'}"] += 1
            continue
        has_images.add(folder)
        fault = _fault_of_name(name)
        if fault is not None:
            layout.left_out[f"images in {source.path}/{_above(name)} whose path has {fault}"] += 1
            continue
        rank, place, target = found
        class_folder = folder.rpartition("/")[2]
        whole = f"{target}/{class_folder}/{file}"
        images.append(Image(source, name, place.kind, class_folder, whole, place.is_ready, target, rank))
    products = {image.name for image in images if f"{image.prefix}{JOURNAL}" in source.journals}
    layout.images += [image for image in images if image.name not in products] or images
    above = _parents(source)
    for folder in sorted(source.folders - has_images - above):
        if _above(f"{folder}/") in at and not any(
            folder.startswith(journal.removesuffix(JOURNAL)) for journal in source.journals
        ):
            layout.empty_folders.append(f"{source.path}/{folder}")


def _above(name: str) -> str:
    """The folder of class folders of an image."""
    return name.rpartition("/")[0].rpartition("/")[0]


def _fault_of_name(name: str) -> str | None:
    """Why a list, UTF-8 text of a line `<path> <class id>` for each image, or a file system cannot hold it; None if they can."""
    if re.search("[\x00-\x1f\x7f-\x9f]", name):
        return "control characters"
    if re.search("[\ud800-\udfff]", name):
        return "bytes that are not UTF-8"
    if any(len(part.encode()) > LONGEST_NAME for part in name.split("/")):
        return f"a name of more than {LONGEST_NAME} bytes"
    return None if name.split("/")[-2].strip(" ") else "a class name of blanks alone"


def _require_both_kinds(dataset: Dataset, sources: list[Source], layout: Layout) -> None:
    kinds = {image.kind for image in layout.images}
    for kind, example in ((PHOTO, dataset.photo_folder), (SKETCH, dataset.sketch_folder)):
        if kind not in kinds:
            given = " ".join(str(source.path) for source in sources)
            looked = f"{PLURAL[kind]}/<class>/" if dataset is CUSTOM else f"{example}/<class>/ and the folders of its downloads"
            raise InputError(
                f"--source {given}: no {PLURAL[kind]} of {dataset.name} found in it: looked for {looked}, found "
                f"{_contents(sources)}; name every archive or folder after --source, and if one is just class folders, call it "
                f"{PLURAL[kind]}"
            )


def _contents(sources: list[Source]) -> str:
    """A few folders with images, or archives that lie in the sources."""
    names = [name for source in sources for name in source.names]
    archives = [name for name in names if name.lower().endswith((".zip", ".7z", ".tar", ".gz", ".tgz", ".xz", ".bz2"))]
    if archives:
        return f"archives ({', '.join(archives[:3])}), which must be named themselves"
    folders = Counter(str(PurePosixPath(name).parent.parent) for name in names if name.lower().endswith(IMAGES))
    return ", ".join(f"{folder}/…/ with {count} images" for folder, count in folders.most_common(3)) or "no images"


def _require_one_file_each(images: list[Image]) -> None:
    of_target: dict[str, Image] = {}
    for image in images:
        other = of_target.setdefault(image.target, image)
        if other is not image:
            raise InputError(
                f"{other.source.path}/{other.name} and {image.source.path}/{image.name} would both become {image.target}; "
                "leave one of them out of --source"
            )


def by_class(images: list[Image]) -> dict[str, dict[str, list[Image]]]:
    """{kind: {class folder: its images}}."""
    found: dict[str, dict[str, list[Image]]] = {PHOTO: defaultdict(list), SKETCH: defaultdict(list)}
    for image in images:
        found[image.kind][image.class_folder].append(image)
    return found
