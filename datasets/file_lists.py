"""The lists, class names and semantic mask of a split, in the file formats of SAKE; mistakes are found when they are read.

A split folder, such as `dataset/Sketchy/zeroshot1`, holds

- lists of images: one line `<path below dataset/Sketchy> <class id>` for each image. File names and the parts `train`, `test`
  and `zero` are explained in `datasets.catalog`.
- `cname_cid.txt` and `cname_cid_zero.txt`: one line `<class name> <class id>` for each seen, or unseen, class. Both count from 0.
- `cid_mask.npz` or `cid_mask.pickle`: how similar each seen class is to each class of the teacher.

In both kinds of lines the id is the last word; paths and names may contain blanks.
"""

import hashlib
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datasets.catalog import CUSTOM, DATA_ROOT, SAME_SPLIT, TRAIN, UNSEEN, Dataset
from utils.arrays import read_npz
from utils.errors import InputError
from utils.text import printable
from utils.unpickling import CodeInPickle, as_vector, load_numbers

SEEN_NAMES, UNSEEN_NAMES = "cname_cid.txt", "cname_cid_zero.txt"
MASK_ARRAYS, MASK_PICKLE = "cid_mask.npz", "cid_mask.pickle"  # the same mask; older code reads the pickle
SEEN_MASK, UNSEEN_MASK = "cid_mask", "cid_mask_zero"  # arrays (classes, 1000) in the .npz file
LARGEST_MASK = 1 << 28  # bytes: 16,000 classes of 1,000 doubles
REMAKE_MASK = "prepare_dataset.py makes it (your own classes need --wordnet FOLDER), or train with --pretrained_weights none"
BLANKS = " \t\r"


@dataclass(frozen=True)
class FileList:
    """The images of one list in its order: `paths` relative to `root`, `labels` (n,) int64 class ids."""

    source: Path
    root: Path
    paths: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, rows: np.ndarray | Sequence[int]) -> "FileList":
        """The images at these positions, in the order of `rows`."""
        return replace(self, paths=[self.paths[row] for row in rows], labels=self.labels[rows])

    def joined(self, other: "FileList", label_offset: int) -> "FileList":
        """These images, then those of another list with the same root; `label_offset` is added to their class ids."""
        return replace(self, paths=self.paths + other.paths, labels=np.concatenate([self.labels, other.labels + label_offset]))

    def fingerprint(self) -> str:
        """A digest of the paths, sizes and modification times. Raises InputError if a file no longer exists."""
        digest = hashlib.sha256()
        for path in self.paths:
            try:
                status = os.stat(f"{self.root}/{path}")
            except OSError as error:
                raise InputError(f"{self.root}/{path}: cannot be read ({error.strerror}); correct {self.source}") from error
            digest.update(f"{path}\n{status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


class Split:
    """One split of one dataset under `data_root`, such as `dataset/Sketchy/zeroshot1`.

    If `data_root` holds prepared folders of the user's own (`CUSTOM`) but not this dataset, they are used instead, and
    `dataset` and `name` are theirs. `seen_classes` must agree with `cname_cid.txt`, or replaces it if there is none.
    `filter_list` is applied to each list (`BadImages`); with it, listed files may be missing. Raises InputError if the folder
    does not exist, with the place to get the data from.
    """

    def __init__(
        self,
        dataset: Dataset,
        data_root: str | os.PathLike,
        split: str,
        seen_classes: int | None = None,
        filter_list: Callable[[FileList], FileList] | None = None,
    ):
        data_root = Path(data_root)
        own_folders = data_root / CUSTOM.folder
        if dataset is not CUSTOM and own_folders.is_dir() and not (data_root / dataset.folder).exists():
            print(printable(f"{own_folders}: your own folders are used, because {data_root} holds no {dataset.folder}"))
            split = CUSTOM.default_split if split == dataset.default_split else split
            dataset = CUSTOM
        self.dataset, self.filter_list, self._seen_classes = dataset, filter_list, seen_classes
        self.root = data_root / dataset.folder
        self.folder = self.root / (split if (self.root / split).is_dir() else SAME_SPLIT.get(split, split))
        if not self.folder.is_dir():
            raise InputError(_why_no_split(dataset, data_root, self.folder))

    @property
    def name(self) -> str:
        """The name of the split's folder."""
        return self.folder.name

    @property
    def run_prefix(self) -> str:
        """First word of a run folder's name. Splits of published datasets share one, as in the released code."""
        prefix = self.dataset.run_prefix
        return prefix if self.dataset.splits or self.name == self.dataset.default_split else f"{prefix}_{self.name}"

    @property
    def seen_classes(self) -> int:
        """Number of classes to train on. Raises InputError if it contradicts the number passed to `Split`."""
        if self._seen_classes is not None and not (self.folder / SEEN_NAMES).exists():
            return self._seen_classes
        found = len(self.class_names(TRAIN))
        if self._seen_classes not in (None, found):
            raise InputError(f"{self.folder}: has {found} seen classes; pass --num_classes {found} or leave it out")
        return found

    def photos(self, part: str) -> FileList:
        """The photos of a part: TRAIN or UNSEEN."""
        return self._list(self.dataset.photo_list, part)

    def sketches(self, part: str) -> FileList:
        """The sketches of a part: TRAIN, HELD_OUT or UNSEEN."""
        return self._list(self.dataset.sketch_list, part)

    def class_names(self, part: str) -> list[str]:
        """Names of the seen (TRAIN) or unseen (UNSEEN) classes, by class id."""
        return read_class_names(self.folder / (SEEN_NAMES if part == TRAIN else UNSEEN_NAMES))

    @property
    def mask_file(self) -> Path:
        """`cid_mask.npz` if it exists, else `cid_mask.pickle`."""
        arrays = self.folder / MASK_ARRAYS
        return arrays if arrays.exists() else self.folder / MASK_PICKLE

    def semantic_mask(self) -> np.ndarray:
        """(seen classes, teacher classes) float32 in [0, 1]: how similar they are."""
        return read_semantic_mask(self.mask_file, self.seen_classes)

    def _list(self, pattern: str, part: str) -> FileList:
        classes = len(self.class_names(UNSEEN)) if part == UNSEEN else self.seen_classes
        path = self.folder / pattern.format(part=part)
        files = read_list(path, self.root, classes, may_lack_files=self.filter_list is not None)
        return files if self.filter_list is None else self.filter_list(files)


def _why_no_split(dataset: Dataset, data_root: Path, folder: Path) -> str:
    found = sorted(names.parent.name for names in folder.parent.glob(f"*/{SEEN_NAMES}"))
    if found:
        return f"{folder}: no such split; {folder.parent} has {', '.join(found)}: name one"
    output = [] if data_root == DATA_ROOT and dataset is not CUSTOM else ["--output", str(data_root)]
    command = shlex.join(["python", "prepare_dataset.py", dataset.key, "--source", "FOLDER_OR_ARCHIVE", *output])
    return (
        f"{folder}: no such folder. {dataset.how_to_get} and run `{command}`, which makes "
        f"{folder}/{dataset.photo_list.format(part=TRAIN)} and the other lists; or point --data_root at the "
        f"folder that holds {dataset.folder}/, or name another split with --zero_version"
    )


def read_list(path: Path, root: Path, num_classes: int, may_lack_files: bool = False) -> FileList:
    """Read a list of images.

    Raises InputError if the list is missing or empty, a line is malformed, leaves `root` or has an id outside
    [0, num_classes), or an image file does not exist (unless `may_lack_files`).
    """
    paths, labels = [], []
    for number, line in _lines(path):
        name, label = _path_and_id(line)
        if not name:
            raise InputError(f"{path}, line {number}: {line!r} is not `<path> <class id>`; correct the list")
        if int(label) >= num_classes:
            raise InputError(f"{path}, line {number}: class id {label} is outside 0 to {num_classes - 1}; correct the list")
        if os.path.isabs(name) or ".." in name.split("/"):
            raise InputError(f"{path}, line {number}: {name!r} leaves {root}; lists hold paths below it")
        paths.append(name)
        labels.append(int(label))
    for absent in [] if may_lack_files else absent_files(root, paths):
        raise InputError(f"{path}: names {root / absent}, which is not there; unpack the images or correct the list")
    return FileList(path, root, paths, np.asarray(labels, dtype=np.int64))


def read_class_names(path: Path) -> list[str]:
    """Class names by id. Raises InputError unless the ids are 0, 1, … (in any order) and the names differ."""
    names: dict[int, str] = {}
    for number, line in _lines(path):
        name, label = _path_and_id(line)
        if not name or int(label) in names:
            raise InputError(f"{path}, line {number}: {line!r} is not `<class name> <id>` with an unused id; correct the list")
        names[int(label)] = name
    ((name, count),) = Counter(names.values()).most_common(1)
    if count > 1:
        raise InputError(f"{path}: two classes are called {name!r}; rename one")
    if set(names) != set(range(len(names))):
        raise InputError(f"{path}: the ids are not 0 to {len(names) - 1} without gaps; correct the list")
    return [names[i] for i in range(len(names))]


def absent_files(root: Path, paths: list[str]) -> Iterator[str]:
    """Those of `paths` that do not exist below `root`, in their order.

    Lists each class folder once, which is far cheaper than one stat call for each image, above all on a network disk.
    """
    listings: dict[str, set[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder not in listings:
            try:
                listings[folder] = set(os.listdir(root / folder))
            except (OSError, ValueError):  # ValueError: the name contains a zero byte
                listings[folder] = set()
        if name not in listings[folder]:
            yield path


def _lines(path: Path) -> list[tuple[int, str]]:
    """(line number from 1, text) of the non-blank lines. Only a line feed ends a line: names may contain other separators."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [(number, line.strip(BLANKS)) for number, line in enumerate(text.split("\n"), start=1) if line.strip(BLANKS)]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{path}: cannot be read ({reason}); it belongs to the split's lists") from error
    if not lines:
        raise InputError(f"{path}: the list is empty; write one line per image or class into it")
    return lines


def _path_and_id(line: str) -> tuple[str, str]:
    """The two parts of a line, or two empty strings if the id is not a number of at most nine digits.

    Only ASCII blanks separate them: a path may contain, and end in, other kinds.
    """
    name, _, label = line.replace("\t", " ").rpartition(" ")
    return (name.strip(BLANKS), label) if label.isdecimal() and len(label) <= 9 else ("", "")


def read_semantic_mask(path: Path, num_classes: int, dtype: type = np.float32) -> np.ndarray:
    """A pickled {class id: vector}, or the rows of `cid_mask` in an .npz file → (num_classes, teacher classes) in [0, 1].

    Raises InputError if the file is missing or damaged, would run code, lacks a class, or has values outside [0, 1].
    """
    rows = _array_rows(path, num_classes) if path.suffix == ".npz" else _pickled_rows(path, num_classes)
    with np.errstate(over="ignore"):  # infinity is refused below
        rows = rows.astype(dtype)
    if rows.shape[1] == 0 or not ((rows >= 0) & (rows <= 1)).all():
        raise InputError(f"{path}: its vectors are empty, or have values outside 0 to 1; get the file again")
    return rows


def _array_rows(path: Path, num_classes: int) -> np.ndarray:
    rows = read_npz(path, [SEEN_MASK], largest=LARGEST_MASK, advice=REMAKE_MASK)[SEEN_MASK]
    if rows.ndim != 2 or rows.dtype.kind != "f" or len(rows) < num_classes:
        found = f"`{SEEN_MASK}` is {rows.dtype} of shape {rows.shape}"
        raise InputError(f"{path}: {found}, not a row for each of {num_classes} classes; {REMAKE_MASK}")
    return rows[:num_classes]


def _pickled_rows(path: Path, num_classes: int) -> np.ndarray:
    try:
        mask = dict(load_numbers(path.read_bytes()))
        return np.stack([as_vector(mask[label]) for label in range(num_classes)]).astype(np.float64, casting="same_kind")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {REMAKE_MASK}") from error
    except CodeInPickle as error:
        raise InputError(f"{path}: refused, because its pickle calls {error}; get the file from its source") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        wanted = f"{{class id: vector}} with real numbers, of one length, for the ids 0 to {num_classes - 1}"
        raise InputError(f"{path}: damaged, or not {wanted}; get the mask of this split again") from error
