"""Which folders of a download hold a dataset's images, and where in the prepared dataset the images belong."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath

from datasets.catalog import CUSTOM, QUICKDRAW, SKETCHY, TUBERLIN, Dataset
from datasets.images import IMAGE_SUFFIXES
from preparation.sources import JOURNAL, Source
from utils.errors import InputError

PHOTOS, SKETCHES = "photos", "sketches"
LONGEST_NAME = 255  # bytes, on nearly every file system
ARCHIVES = (".zip", ".7z", ".tar", ".gz", ".tgz", ".xz", ".bz2")


@dataclass(frozen=True)
class Place:
    """A folder of class folders whose path ends in `pattern`, and the folder of the dataset its images belong to.

    is_ready: images as published, never resized; `target` may refer to the pattern's groups.
    """

    pattern: str
    kind: str
    target: str
    is_ready: bool = False


def _pair(dataset: Dataset, photos: str, sketches: str, is_ready: bool = False) -> list[Place]:
    return [
        Place(photos, PHOTOS, dataset.photo_folder, is_ready),
        Place(sketches, SKETCHES, dataset.sketch_folder, is_ready),
    ]


def _published(dataset: Dataset) -> list[Place]:
    return _pair(dataset, dataset.photo_folder, dataset.sketch_folder, is_ready=True)


USUAL = ("photos?|images?", "sketch(?:es)?")  # names that people give such folders
EXTENSION = "EXTEND_image_sketchy"  # the photos that make Sketchy Sketchy Ext; some are named like Sketchy's own

# {key of a dataset: its places}; of two places with the same target, the first that a source has is taken
PLACES = {
    SKETCHY.key: [
        *_published(SKETCHY),
        *_pair(SKETCHY, "photo/tx_000000000000_ready", "sketch/tx_000000000000_ready", is_ready=True),
        Place(rf"((?:256x256/)?(?:photo/)?{EXTENSION}_ready)", PHOTOS, r"\1", is_ready=True),
        *_pair(SKETCHY, "photo/tx_000000000000", "sketch/tx_000000000000"),
        Place(EXTENSION, PHOTOS, f"{EXTENSION}_ready"),
        *_pair(SKETCHY, *USUAL),
    ],
    TUBERLIN.key: [
        *_published(TUBERLIN),
        *_pair(TUBERLIN, "ImageResized", "png|sketches_png"),
        *_pair(TUBERLIN, *USUAL),
    ],
    QUICKDRAW.key: [
        *_published(QUICKDRAW),
        *_pair(QUICKDRAW, "QuickDraw_images(?:_final)?", "QuickDraw_sketches(?:_final)?"),
        *_pair(QUICKDRAW, *USUAL),
    ],
    CUSTOM.key: _pair(CUSTOM, USUAL[0], f"{USUAL[1]}|drawings?"),
}


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a source and its path below the dataset's folder, `target`; `rank` is the position of its place."""

    source: Source
    name: str
    kind: str
    target: str
    is_ready: bool
    rank: int

    @property
    def class_folder(self) -> str:
        return self.target.rsplit("/", 2)[1]

    @property
    def place(self) -> str:
        """The target's folder of class folders."""
        return self.target.rsplit("/", 2)[0]

    @property
    def prefix(self) -> str:
        """The name without the target at its end, if the source has the dataset's layout; else the name."""
        return self.name.removesuffix(self.target)


@dataclass
class Layout:
    """Images of a dataset, class folders without any, and {what was left out: how many files}."""

    images: list[Image]
    empty_folders: list[str]
    left_out: Counter[str]


def places_of(dataset: Dataset) -> list[Place]:
    """The places of a dataset's images in downloads. Raises InputError if PLACES lacks them."""
    if dataset.key not in PLACES:
        raise InputError(f"{dataset.name}: add the folders of its downloads to PLACES in preparation/layouts.py")
    return PLACES[dataset.key]


def recognise(dataset: Dataset, sources: list[Source]) -> Layout:
    """Find the images of a dataset in these sources by the names of folders alone.

    The products of an earlier preparation below a source count only if it holds nothing else. Raises InputError if there are
    no sketches or no photos, or if two files would get one path.
    """
    layout = Layout([], [], Counter())
    for source in sources:
        _add(source, places_of(dataset), layout)
    first: dict[str, int] = {}
    for image in layout.images:
        first[image.place] = min(image.rank, first.get(image.place, image.rank))
    for image in layout.images:
        if first[image.place] < image.rank:
            layout.left_out[f"images in {image.source.path}/{_above(image.name)}"] += 1
    layout.images = [image for image in layout.images if first[image.place] == image.rank]
    _require_both_kinds(dataset, sources, layout.images)
    _require_one_file_each(layout.images)
    return layout


def _add(source: Source, places: list[Place], layout: Layout) -> None:
    """Add the images of one source to the layout."""
    layout.left_out += source.left_out
    parents = {folder.rpartition("/")[0] for folder in source.folders if folder} | {""}
    found = {folder: _place(places, f"{source.where}/{folder}".strip("/")) for folder in parents}
    images, has_images = [], set()
    for name in source.names:
        folder, _, file = name.rpartition("/")
        place = found.get(_above(name)) if folder else None
        if file.lower().endswith(IMAGE_SUFFIXES):
            fault = "" if place is None else _fault_of_name(name)
            if place is None or fault:
                layout.left_out[f"images in {source.path}/{_above(name)}{fault}"] += 1
            else:
                rank, kind, target, is_ready = place
                images.append(Image(source, name, kind, f"{target}/{folder.rpartition('/')[2]}/{file}", is_ready, rank))
            has_images.add(folder)
        elif place is not None:
            layout.left_out[f"files ending in {PurePosixPath(file).suffix.lower() or 'nothing'}"] += 1
    originals = [image for image in images if f"{image.prefix}{JOURNAL}" not in source.journals]
    layout.images += originals or images
    prepared = tuple(journal.removesuffix(JOURNAL) for journal in source.journals)
    for folder in sorted(source.folders - has_images - parents):
        if found.get(_above(f"{folder}/")) is not None and not folder.startswith(prepared):
            layout.empty_folders.append(f"{source.path}/{folder}")


def _place(places: list[Place], folder: str) -> tuple[int, str, str, bool] | None:
    """(rank, kind, target folder, is_ready) of a folder of class folders; None for any other folder."""
    for rank, place in enumerate(places):
        match = re.fullmatch(rf"(?:.*?/)?(?:{place.pattern})", folder, re.IGNORECASE)
        if match:
            return rank, place.kind, match.expand(place.target), place.is_ready
    return None


def _above(name: str) -> str:
    """The folder of class folders of an image."""
    return name.rpartition("/")[0].rpartition("/")[0]


def _fault_of_name(name: str) -> str:
    """Why a list of UTF-8 lines or a file system cannot hold this path; empty if they can."""
    if re.search("[\x00-\x1f\x7f-\x9f]", name):
        return " whose path has control characters"
    if re.search("[\ud800-\udfff]", name):
        return " whose path has bytes that are not UTF-8"
    if any(len(part.encode()) > LONGEST_NAME for part in name.split("/")):
        return f" whose path has a name of more than {LONGEST_NAME} bytes"
    return "" if name.split("/")[-2].strip(" ") else " whose path has a class name of blanks alone"


def _require_both_kinds(dataset: Dataset, sources: list[Source], images: list[Image]) -> None:
    for kind, folder in ((PHOTOS, dataset.photo_folder), (SKETCHES, dataset.sketch_folder)):
        if all(image.kind != kind for image in images):
            given = " ".join(str(source.path) for source in sources)
            looked = f"{kind}/<class>/" if dataset is CUSTOM else f"{folder}/<class>/ and the folders of its downloads"
            raise InputError(
                f"--source {given}: no {kind} of {dataset.name} found in it: looked for {looked}, found {_contents(sources)}; "
                f"name every archive or folder after --source, and if one is just class folders, call it {kind}"
            )


def _contents(sources: list[Source]) -> str:
    """A few archives in the sources, or else a few folders with images."""
    names = [name for source in sources for name in source.names]
    archives = [name for name in names if name.lower().endswith(ARCHIVES)]
    if archives:
        return f"archives ({', '.join(archives[:3])}), which must be named themselves"
    folders = Counter(str(PurePosixPath(name).parent.parent) for name in names if name.lower().endswith(IMAGE_SUFFIXES))
    return ", ".join(f"{folder}/…/ with {count} images" for folder, count in folders.most_common(3)) or "no images"


def _require_one_file_each(images: list[Image]) -> None:
    first: dict[str, Image] = {}
    for image in images:
        other = first.setdefault(image.target, image)
        if other is not image:
            raise InputError(
                f"{other.source.path}/{other.name} and {image.source.path}/{image.name} would both become {image.target}; "
                "leave one of them out of --source"
            )
