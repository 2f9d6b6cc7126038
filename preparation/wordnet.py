"""WordNet 3.0, wherever it lies, opened for nltk.

ImageNet's ids (`n02084071`) are byte offsets into the file data.noun of that version, so no other will do. Of its files only
those of nouns are used, and they are read into memory: nltk's own way needs files that Debian's package lacks, and newer
releases of nltk open no file outside their data folders, or one that others may write.
"""

import contextlib
import io
import os
import re
import socket
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import InputError
from utils.text import one_line

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Synset, WordNetCorpusReader

NOUNS, INDEX, IRREGULAR, FIELDS = "data.noun", "index.noun", "noun.exc", "lexnames"
DEBIAN = Path("/usr/share/wordnet")
LANDMARK = ("n02084071", "dog")  # elsewhere in other versions
DOWNLOAD_SECONDS = 10  # that a server may keep silent
LARGEST = 1 << 27  # bytes of one file; the largest has 15 million
GET_IT = (
    "get wordnet.zip from nltk's data page https://www.nltk.org/nltk_data/ , unpack it and pass --wordnet FOLDER; "
    "or install Debian's wordnet-base"
)

# as wndb(5WN) has it: offset, lexicographer file, n, number of words, words, number of pointers, pointers | gloss
NOUN_LINE = re.compile(
    r"(\d{8}) (?:[0-3]\d|4[0-4]) n ([0-9a-f]{2}) ((?:\S+ [0-9a-f] )+)(\d{3}) "
    r"((?:\S{1,2} \d{8} [nvars] [0-9a-f]{4} )*)\| [^|]*"
)


class NoWordNet(InputError):
    """There is none on this machine, and it could not be downloaded."""


def open_wordnet(folder: Path | None = None, landmark: tuple[str, str] = LANDMARK) -> "WordNetCorpusReader":
    """nltk's reader of the nouns of WordNet 3.0.

    folder: WordNet's own, one above it, nltk's data folder, or wordnet.zip as nltk downloads it. None: nltk's data folders,
    then Debian's, then a download. landmark: an id and a word of it, which tell WordNet 3.0 from other versions.
    Raises NoWordNet if there is none, and InputError if nltk is missing, or the folder is not WordNet 3.0 or damaged.
    """
    _require_nltk()
    place = _found() if folder is None else _place(Path(folder))
    if place is None:
        raise InputError(f"{folder}: no WordNet, for it holds no {NOUNS}; {GET_IT}")
    texts = _texts(place)
    _check_nouns(place, texts[NOUNS], texts[INDEX])
    wordnet = _reader(place, texts)
    wnid, word = landmark
    synset = noun(wordnet, wnid)
    if synset is None or word not in synset.lemma_names():
        raise InputError(f"{place}: is not WordNet 3.0, whose {wnid} is `{word}` and to which ImageNet's ids belong; {GET_IT}")
    return wordnet


def noun(wordnet: "WordNetCorpusReader", wnid: str) -> "Synset | None":
    """The synset of an id such as `n02084071`; None if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is none
        return wordnet.synset_from_pos_and_offset("n", int(wnid[1:]))


def wnid_of(synset: "Synset") -> str:
    """`n02084071` and the like."""
    return f"n{synset.offset():08d}"


def _require_nltk() -> None:
    try:
        import nltk  # noqa: F401
    except ImportError as error:
        raise InputError("WordNet is read with nltk, which is not installed: pip install nltk") from error


def _found() -> Path:
    place = on_this_machine()
    if place is None:
        print("no WordNet on this machine: nltk downloads it (11 MB)", flush=True)
        _download()
        place = on_this_machine()
    if place is None:
        raise NoWordNet(f"no WordNet on this machine, and nltk could not download it; {GET_IT}")
    return place


def on_this_machine() -> Path | None:
    """The folder or zip file of the first WordNet in nltk's data folders or Debian's."""
    import nltk

    folders = [*(Path(str(path)) for path in nltk.data.path), DEBIAN]
    return next((place for place in map(_place, folders) if place is not None), None)


def _place(folder: Path) -> Path | None:
    """The folder, or zip file, in which WordNet lies."""
    for place in (folder, folder / "corpora" / "wordnet", folder / "wordnet"):
        if os.path.isfile(place / NOUNS):
            return place
    for place in (folder / "corpora" / "wordnet.zip", folder / "wordnet.zip", folder):
        if os.path.isfile(place):
            return place
    return next((file.parent for file in sorted(folder.glob(f"*/{NOUNS}"))), None)


def _download() -> None:
    import nltk

    with _impatient(nltk.downloader), contextlib.suppress(Exception):  # whatever goes wrong, the user is told what to do
        nltk.download("wordnet", quiet=True, print_error_to=io.StringIO())


@contextlib.contextmanager
def _impatient(downloader: object) -> Iterator[None]:
    """A silent server is given up after DOWNLOAD_SECONDS; newer releases of nltk wait two minutes by a constant of theirs."""
    before, patience = socket.getdefaulttimeout(), getattr(downloader, "NETWORK_TIMEOUT", None)
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    downloader.NETWORK_TIMEOUT = DOWNLOAD_SECONDS
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
        downloader.NETWORK_TIMEOUT = patience


def _texts(place: Path) -> dict[str, str]:
    """{name: content} of the files of nouns; a character is a byte, so that offsets stay what they are."""
    try:
        contents = _unpacked(place) if place.is_file() else _contents(place)
    except InputError:
        raise
    except Exception as error:  # a damaged archive can fail anywhere in unzipping
        raise InputError(f"{place}: cannot be read, or is damaged ({one_line(error)}); {GET_IT}") from error
    missing = [name for name in (NOUNS, INDEX) if name not in contents]
    if missing:
        raise InputError(f"{place}: no WordNet, for it holds no {missing[0]}; {GET_IT}")
    return {name: content.decode("latin-1") for name, content in contents.items()}


def _contents(folder: Path) -> dict[str, bytes]:
    names = [name for name in (NOUNS, INDEX, IRREGULAR, FIELDS) if (folder / name).is_file()]
    _refuse_giants(folder, [(folder / name).stat().st_size for name in names])
    return {name: (folder / name).read_bytes() for name in names}


def _unpacked(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        members = {os.path.basename(info.filename): info for info in archive.infolist()}
        wanted = {name: members[name] for name in (NOUNS, INDEX, IRREGULAR, FIELDS) if name in members}
        _refuse_giants(path, [info.file_size for info in wanted.values()])
        return {name: archive.read(info) for name, info in wanted.items()}


def _refuse_giants(place: Path, sizes: list[int]) -> None:
    if max(sizes, default=0) > LARGEST:
        raise InputError(f"{place}: no WordNet, for its files are too large; {GET_IT}")


def _check_nouns(place: Path, text: str, index: str) -> None:
    """nltk reads a synset when it is asked for, and would stumble over damage in the middle of things."""
    offsets, named, position = set(), {int(offset) for offset in re.findall(r"(?<= )\d{8}(?= )", index)}, 0
    for number, line in enumerate(text.split("\n"), start=1):
        if line and not line.startswith(" "):  # the licence is indented
            pointers = _noun_pointers(line, position)
            if pointers is None:
                raise InputError(f"{place / NOUNS}, line {number}: damaged, or not WordNet; {GET_IT}")
            offsets.add(position)
            named |= pointers
        position += len(line) + 1
    if not named <= offsets:
        raise InputError(f"{place}: {NOUNS} and {INDEX} do not belong together, or are cut short; {GET_IT}")


def _noun_pointers(line: str, position: int) -> set[int] | None:
    """Offsets of the nouns that a line of data.noun names; None if it is not the line of a noun at this offset."""
    match = NOUN_LINE.fullmatch(line)
    if match is None or int(match[1]) != position:
        return None
    words, pointers = match[3].split(), match[5].split()
    if len(words) != 2 * int(match[2], 16) or len(pointers) != 4 * int(match[4]):
        return None
    return {int(offset) for offset, part in zip(pointers[1::4], pointers[2::4], strict=True) if part == "n"}


def _reader(place: Path, texts: dict[str, str]) -> "WordNetCorpusReader":
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.data import PathPointer

    texts = {FIELDS: "".join(f"{number:02d}\tunnamed\t1\n" for number in range(45))} | texts

    class InMemory(PathPointer):
        def __init__(self, name: str = ""):
            self.name = name

        def __str__(self) -> str:
            return str(place)

        def join(self, fileid: str) -> "InMemory":
            return InMemory(fileid)

        def open(self, encoding: str | None = None) -> io.StringIO:
            return io.StringIO(texts.get(self.name, ""))  # verbs and the like are empty

        def file_size(self) -> int:
            return len(texts.get(self.name, ""))

    class Nouns(WordNetCorpusReader):
        def open(self, file: str) -> io.StringIO:
            return self.root.join(file).open()

        def map_wn(self, version: str = "wordnet") -> None:
            """Other languages only; it would need index.sense, and nltk's own copy of WordNet."""

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are no other languages
            return Nouns(InMemory(), None)
    except Exception as error:  # StopIteration too
        raise InputError(f"{place}: {INDEX} or another file is damaged ({one_line(error)}); {GET_IT}") from error
