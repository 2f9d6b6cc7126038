"""SAKE's lists, class names and semantic mask, read strictly: what is wrong is said before any work is done."""

import hashlib
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datasets.catalog import CUSTOM, DATA_ROOT, SAME_SPLIT, Dataset
from utils.arrays import read_npz
from utils.errors import InputError
from utils.text import printable
from utils.unpickling import CodeInPickle, as_vector, load_numbers

MASK_ARRAYS, MASK_PICKLE = "cid_mask.npz", "cid_mask.pickle"  # one and the same; the pickle is what older code reads
SEEN_MASK, UNSEEN_MASK = "cid_mask", "cid_mask_zero"  # arrays (classes, 1000) of the former
REMAKE_MASK = "it belongs to the split's lists, and prepare_dataset.py makes it"
BLANKS = " \t\r"
LARGEST_MASK = 1 << 28  # bytes: 16,000 classes of 1,000 doubles


@dataclass(frozen=True)
class FileList:
    """Images of one list, in its order: `paths` relative to `root`, `labels` (n,) int64 class ids."""

    source: Path
    root: Path
    paths: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, rows: np.ndarray) -> "FileList":
        """The images at these positions, in their order."""
        return replace(self, paths=[self.paths[row] for row in rows], labels=self.labels[rows])

    def fingerprint(self) -> str:
        """Changes with the images: their paths below the root, sizes and times of change, in their order.

        Raises InputError if one has gone since the list was read.
        """
        digest = hashlib.sha256()
        for path in self.paths:
            try:
                status = os.stat(f"{self.root}/{path}")
            except OSError as error:
                raise InputError(f"{self.root}/{path}: cannot be read ({error.strerror}); mend {self.source}") from error
            digest.update(f"{path}\n{status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def joined(self, other: "FileList", label_offset: int) -> "FileList":
        """These images, then those of another list of the same root, their class ids raised by `label_offset`."""
        return replace(self, paths=self.paths + other.paths, labels=np.concatenate([self.labels, other.labels + label_offset]))


class Split:
    """One split of one dataset under `data_root`, e.g. `dataset/Sketchy/zeroshot1`.

    Where `data_root` holds prepared folders of one's own and not this dataset, those it is; `dataset` and `name` say so.
    `seen_classes` must agree with `cname_cid.txt`, and stands in for it where there is none. `filter_list` takes each list and
    returns the part to be used; with it, files may be missing. Raises InputError if the counts disagree, or, saying where the
    data comes from and how it must lie, if the folder is not there.
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
        folder_of_script = dataset.folder
        if dataset is not CUSTOM and (data_root / CUSTOM.folder).is_dir() and not (data_root / dataset.folder).exists():
            split = CUSTOM.default_split if split == dataset.default_split else split
            dataset = CUSTOM
            print(
                printable(
                    f"{data_root / CUSTOM.folder}: your own folders are used, because {data_root} holds no {folder_of_script}"
                )
            )
        self.dataset, self.filter_list = dataset, filter_list
        self.root = data_root / dataset.folder
        same = SAME_SPLIT.get(split, split)
        self.folder = self.root / (split if (self.root / split).is_dir() else same)
        if not self.folder.is_dir():
            there = sorted(names.parent.name for names in self.root.glob("*/cname_cid.txt"))
            if there:
                raise InputError(f"{self.folder}: no such split; {self.root} has {', '.join(there)}: name one")
            output = [] if data_root == DATA_ROOT and dataset is not CUSTOM else ["--output", str(data_root)]
            command = shlex.join(["python", "prepare_dataset.py", dataset.key, "--source", "FOLDER_OR_ARCHIVE", *output])
            raise InputError(
                f"{self.folder}: no such folder. {dataset.how_to_get} and run `{command}`, which makes "
                f"{self.folder}/{dataset.photo_list.format(part='train')} and the other lists; or point --data_root at the "
                f"folder that holds {dataset.folder}/, or name another split with --zero_version"
            )

        self._seen_classes = seen_classes

    @property
    def name(self) -> str:
        """Of the split: its folder's name."""
        return self.folder.name

    @property
    def run_prefix(self) -> str:
        """First word of a run folder. Splits of published datasets share one, as in the released code."""
        prefix = self.dataset.run_prefix
        return prefix if self.dataset.splits or self.name == self.dataset.default_split else f"{prefix}_{self.name}"

    @property
    def seen_classes(self) -> int:
        """How many classes there are to learn."""
        if self._seen_classes is not None and not (self.folder / "cname_cid.txt").exists():
            return self._seen_classes
        found = len(self.class_names("train"))
        if self._seen_classes not in (None, found):
            raise InputError(f"{self.folder}: has {found} seen classes; pass --num_classes {found} or leave it out")
        return found

    def photos(self, part: str) -> FileList:
        """`part` is `train` or `zero`."""
        return self._list(self.dataset.photo_list, part)

    def sketches(self, part: str) -> FileList:
        """`part` is `train`, `test` (held-out sketches of seen classes) or `zero`."""
        return self._list(self.dataset.sketch_list, part)

    def class_names(self, part: str) -> list[str]:
        """Names by id, of the seen (`train`) or unseen (`zero`) classes."""
        return read_class_names(self.folder / ("cname_cid.txt" if part == "train" else "cname_cid_zero.txt"))

    @property
    def mask_file(self) -> Path:
        """`cid_mask.npz` where there is one, else the pickle that older code reads."""
        arrays = self.folder / MASK_ARRAYS
        return arrays if arrays.exists() else self.folder / MASK_PICKLE

    def semantic_mask(self) -> np.ndarray:
        """(seen classes, width) float32: how near each seen class is to each class of the teacher, in [0, 1]."""
        return read_semantic_mask(self.mask_file, self.seen_classes)

    def _list(self, pattern: str, part: str) -> FileList:
        classes = len(self.class_names("zero")) if part == "zero" else self.seen_classes
        files = read_list(
            self.folder / pattern.format(part=part), self.root, classes, may_lack_files=self.filter_list is not None
        )
        return files if self.filter_list is None else self.filter_list(files)


def read_list(path: Path, root: Path, num_classes: int, may_lack_files: bool = False) -> FileList:
    """Lines `<path relative to root> <class id>`; the id is the last word, and the path may hold blanks.

    Raises InputError if the list is missing or empty, a line is malformed, leaves `root` or has an id outside
    [0, num_classes), or a file is not there and that is not allowed.
    """
    paths, labels = [], []
    for number, line in _lines(path):
        name, label = _path_and_id(line)
        if not name:
            raise InputError(f"{path}, line {number}: {line!r} is not `<path> <class id>`; mend the list")
        if int(label) >= num_classes:
            raise InputError(f"{path}, line {number}: class id {label} is outside 0 to {num_classes - 1}; mend the list")
        if os.path.isabs(name) or ".." in name.split("/"):
            raise InputError(f"{path}, line {number}: {name!r} leaves {root}; lists hold paths below it")
        paths.append(name)
        labels.append(int(label))
    if not may_lack_files:
        _require_files(path, root, paths)
    return FileList(path, root, paths, np.asarray(labels, dtype=np.int64))


def read_class_names(path: Path) -> list[str]:
    """Lines `<class name> <id>` → names by id; the ids must be 0, 1, …, in any order."""
    names: dict[int, str] = {}
    for number, line in _lines(path):
        name, label = _path_and_id(line)
        if not name or int(label) in names:
            raise InputError(f"{path}, line {number}: {line!r} is not `<class name> <id>` with an id of its own")
        names[int(label)] = name
    if len(set(names.values())) < len(names):
        twice = next(name for name in names.values() if list(names.values()).count(name) > 1)
        raise InputError(f"{path}: two classes are called {twice!r}; give each a name of its own")
    if set(names) != set(range(len(names))):
        raise InputError(f"{path}: the ids are not 0 to {len(names) - 1} without gaps; mend the list")
    return [names[i] for i in range(len(names))]


def read_semantic_mask(path: Path, num_classes: int, dtype: type = np.float32) -> np.ndarray:
    """A pickled {class id: vector in [0, 1]}, or a .npz file with the rows as `cid_mask` → (num_classes, width) of `dtype`.

    Raises InputError if the file is missing or damaged, wants to run code, or lacks a class.
    """
    rows = (_array_rows if path.suffix == ".npz" else _pickled_rows)(path, num_classes, dtype)
    if rows.shape[1] == 0:
        raise InputError(f"{path}: its vectors are empty; get the file again")
    if not ((rows >= 0) & (rows <= 1)).all():
        raise InputError(f"{path}: values outside 0 to 1; get the file again")
    return rows


def _array_rows(path: Path, num_classes: int, dtype: type) -> np.ndarray:
    rows = read_npz(path, [SEEN_MASK], largest=LARGEST_MASK, advice=REMAKE_MASK)[SEEN_MASK]
    if rows.ndim != 2 or rows.dtype.kind != "f" or len(rows) < num_classes:
        raise InputError(
            f"{path}: `{SEEN_MASK}` is {rows.dtype} of shape {rows.shape}, not a row for each of {num_classes} classes"
        )
    with np.errstate(over="ignore"):  # infinity is refused by the caller
        return rows[:num_classes].astype(dtype)


def _pickled_rows(path: Path, num_classes: int, dtype: type) -> np.ndarray:
    mask = _pickled_mask(path)
    missing = [i for i in range(num_classes) if i not in mask]
    if missing:
        raise InputError(f"{path}: no vector for class id {missing[0]}; get the mask of this split")
    try:
        with np.errstate(over="ignore"):  # as above
            return np.stack([as_vector(mask[i]).astype(dtype, casting="same_kind") for i in range(num_classes)])
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: its vectors are not real numbers of one length; get the file again") from error


def _pickled_mask(path: Path) -> dict:
    try:
        mask = load_numbers(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {REMAKE_MASK}") from error
    except CodeInPickle as error:
        raise InputError(f"{path}: refused, for its pickle wants to call {error}; get the file from its source") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise InputError(f"{path}: damaged, or not a pickle of arrays; get the file again") from error
    if not isinstance(mask, dict):
        raise InputError(f"{path}: holds a {type(mask).__name__}, not {{class id: vector}}; get the file again")
    return mask


def _path_and_id(line: str) -> tuple[str, str]:
    """The two parts of a line, or two empty strings; an id of more than nine digits is none.

    Only ASCII blanks separate them: a path may hold other kinds, at its ends too.
    """
    name, _, label = line.replace("\t", " ").rpartition(" ")
    return (name.strip(BLANKS), label) if label.isdecimal() and len(label) <= 9 else ("", "")


def _lines(path: Path) -> list[tuple[int, str]]:
    """(number in the file from 1, text) of the lines that are not blank; a line ends at a line feed, and nowhere else."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [(number, line.strip(BLANKS)) for number, line in enumerate(text.split("\n"), start=1) if line.strip(BLANKS)]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{path}: cannot be read ({reason}); it belongs to the split's lists") from error
    if not lines:
        raise InputError(f"{path}: the list is empty; write one line per image or class into it")
    return lines


def absent_files(root: Path, paths: list[str]) -> Iterator[str]:
    """Those of `paths` that are not below `root`, in their order.

    One directory listing per class folder is far cheaper than one stat per image, above all on a network disk.
    """
    listings: dict[str, set[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder not in listings:
            try:
                listings[folder] = set(os.listdir(root / folder))
            except (OSError, ValueError):  # the latter for a name no file can have, one with a zero byte
                listings[folder] = set()
        if name not in listings[folder]:
            yield path


def _require_files(source: Path, root: Path, paths: list[str]) -> None:
    for path in absent_files(root, paths):
        raise InputError(f"{source}: names {root / path}, which is not there; unpack the images or mend the list")
