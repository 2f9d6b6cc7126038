"""WordNet 3.0, in a folder or zip file, opened for nltk.

ImageNet's ids (`n02084071`) are byte offsets into the file data.noun of that version, so no other version will do. Only the
files of nouns are used. They are read into memory, because nltk needs files that Debian's package lacks, and newer releases of
nltk open no file outside their data folders or that others may write.
"""

import contextlib
import io
import re
import socket
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import InputError
from utils.text import one_line

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Synset, WordNetCorpusReader

NOUNS, INDEX, IRREGULAR, FIELDS = FILES = ("data.noun", "index.noun", "noun.exc", "lexnames")
DEBIAN = Path("/usr/share/wordnet")
LANDMARK = ("n02084071", "dog")  # other versions have another word there
DOWNLOAD_SECONDS = 10  # that a server may be silent
LARGEST = 1 << 27  # bytes of one file; the largest has 15 million
GET_IT = (
    "get wordnet.zip from nltk's data page https://www.nltk.org/nltk_data/ , unpack it and pass --wordnet FOLDER; "
    "or install Debian's wordnet-base"
)


def open_wordnet(folder: Path | None = None, landmark: tuple[str, str] = LANDMARK) -> "WordNetCorpusReader":
    """nltk's reader of the nouns of WordNet 3.0.

    folder: WordNet's own, one above it, nltk's data folder, or wordnet.zip as nltk downloads it. None: nltk's data folders,
    then Debian's, then a download. landmark: an id and its word, which identify the version. Raises InputError if
    there is none, nltk is missing, or the folder is not WordNet 3.0 or damaged.
    """
    try:
        import nltk  # noqa: F401
    except ImportError as error:
        raise InputError("WordNet is read with nltk, which is not installed: pip install nltk") from error
    place = _found_or_downloaded() if folder is None else _place(folder)
    if place is None:
        where = "on this machine, and nltk could not download it" if folder is None else f"in {folder}, it holds no {NOUNS}"
        raise InputError(f"no WordNet {where}; {GET_IT}")
    texts = _texts(place)
    _require_whole(place, texts)
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


def _found_or_downloaded() -> Path | None:
    place = on_this_machine()
    if place is None:
        print("no WordNet on this machine: nltk downloads it (11 MB)", flush=True)
        _download()
    return place or on_this_machine()


def on_this_machine() -> Path | None:
    """The folder or zip file of the first WordNet in nltk's data folders or Debian's."""
    import nltk

    folders = [*(Path(str(path)) for path in nltk.data.path), DEBIAN]
    return next((place for place in map(_place, folders) if place is not None), None)


def _place(folder: Path) -> Path | None:
    """The folder or zip file that holds WordNet's files."""
    folders = (folder, folder / "corpora" / "wordnet", folder / "wordnet", *sorted(folder.glob("*/")))
    files = (folder / "corpora" / "wordnet.zip", folder / "wordnet.zip", folder)
    found = [place for place in folders if (place / NOUNS).is_file()] + [file for file in files if file.is_file()]
    return found[0] if found else None


def _download() -> None:
    import nltk

    downloader: Any = nltk.downloader
    before, patience = socket.getdefaulttimeout(), getattr(downloader, "NETWORK_TIMEOUT", None)
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    downloader.NETWORK_TIMEOUT = DOWNLOAD_SECONDS  # of newer releases: two minutes
    with contextlib.suppress(Exception):  # the caller sees that there is still none
        nltk.download("wordnet", quiet=True, print_error_to=io.StringIO())
    socket.setdefaulttimeout(before)
    downloader.NETWORK_TIMEOUT = patience


def _texts(place: Path) -> dict[str, str]:
    """{name: content} of the files of nouns, with one character for each byte, which keeps offsets valid."""
    texts = {}
    try:
        root = place if place.is_dir() else zipfile.Path(place)
        folder = next((each for each in (root, *root.iterdir()) if (each / NOUNS).is_file()), root)
        for file in (folder / name for name in FILES if (folder / name).is_file()):
            with file.open("rb") as opened:
                texts[file.name] = opened.read(LARGEST + 1).decode("latin-1")
            if len(texts[file.name]) > LARGEST:
                raise ValueError(f"its {file.name} is larger than {LARGEST >> 20} MiB")
    except Exception as error:  # unzipping a damaged file can fail in nearly any way
        raise InputError(f"{place}: cannot be read, or is damaged ({one_line(error)}); {GET_IT}") from error
    for name in (NOUNS, INDEX):
        if name not in texts:
            raise InputError(f"{place}: no WordNet, it holds no {name}; {GET_IT}")
    return texts


def _require_whole(place: Path, texts: dict[str, str]) -> None:
    """Each line of data.noun must begin with its own offset, and each offset in index.noun must be that of a line."""
    offsets, position = set(), 0
    for line in texts[NOUNS].split("\n"):
        if line and not line.startswith(" "):  # the licence is indented
            if line[:8] != f"{position:08d}":
                raise InputError(f"{place / NOUNS}, byte {position}: damaged, or not WordNet; {GET_IT}")
            offsets.add(line[:8])
        position += len(line) + 1
    if not texts[NOUNS].endswith("\n") or not offsets >= set(re.findall(r"(?<= )\d{8}(?= )", texts[INDEX])):
        raise InputError(f"{place}: {NOUNS} and {INDEX} do not belong together, or are cut short; {GET_IT}")


def _reader(place: Path, texts: dict[str, str]) -> "WordNetCorpusReader":
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.data import PathPointer

    texts = {FIELDS: "".join(f"{number:02d}\tunnamed\t1\n" for number in range(45))} | texts

    class Root(PathPointer):
        """The place in messages; Nouns opens no file through it."""

        open = file_size = join = None  # type: ignore[assignment]

        def __str__(self) -> str:
            return str(place)

    class Nouns(WordNetCorpusReader):
        def open(self, file: str) -> io.StringIO:
            return io.StringIO(texts.get(file, ""))  # files of verbs and the like are empty

        def map_wn(self, version: str = "wordnet") -> None:
            """Needed for other languages only; it would read nltk's own copy of WordNet."""

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are no other languages
            return Nouns(Root(), None)
    except Exception as error:  # StopIteration too
        raise InputError(f"{place}: {INDEX} or another file is damaged ({one_line(error)}); {GET_IT}") from error
