"""WordNet is found in every usual place, and nothing else is taken for it."""

import socket
import sys
import zipfile

import pytest

from preparation import wordnet as room
from preparation.wordnet import noun, open_wordnet, wnid_of
from tests.helpers.tiny_wordnet import LICENCE, write_wordnet
from utils.errors import InputError

nltk = pytest.importorskip("nltk")


def refusal(*arguments, **named) -> str:
    with pytest.raises(InputError) as error:
        open_wordnet(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


def zipped(folder, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, f"wordnet/{file.name}")


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine without WordNet; returns its one data folder of nltk, which is empty."""
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk_data")])
    monkeypatch.setattr(room, "DEBIAN", tmp_path / "debian")
    return tmp_path / "nltk_data"


@pytest.mark.parametrize("place", ["", "corpora/wordnet", "wordnet", "dict"])
def test_it_is_found_in_folders_of_several_kinds(tmp_path, place):
    wnids = write_wordnet(tmp_path / place)
    dog = wnids["dog domestic_dog"]
    (tmp_path / place / "index.noun").chmod(0o664)  # newer nltk would not read what the group may write
    wordnet = open_wordnet(tmp_path, landmark=(dog, "dog"))
    synset = noun(wordnet, dog)
    assert synset.lemma_names() == ["dog", "domestic_dog"] and wnid_of(synset) == dog
    assert sorted(wnid_of(above) for above in synset.hypernyms()) == sorted([wnids["animal"], wnids["pet"]])
    assert [wnid_of(each) for each in wordnet.synsets("Cats", "n")] == [wnids["cat"]]
    assert noun(wordnet, "n00000001") is None and noun(wordnet, "n99999999") is None


@pytest.mark.parametrize("place", ["corpora/wordnet.zip", "wordnet.zip"])
def test_it_is_read_from_the_zip_file_that_nltk_downloads(tmp_path, place):
    wnids = write_wordnet(tmp_path / "unpacked")
    zipped(tmp_path / "unpacked", tmp_path / "data" / place)
    for folder in (tmp_path / "data", tmp_path / "data" / place):
        assert noun(open_wordnet(folder, landmark=(wnids["cat"], "cat")), wnids["taxi"]).name() == "taxi.n.01"


def test_without_a_folder_nltks_own_come_first_then_debians(nowhere, tmp_path):
    debian = write_wordnet(tmp_path / "debian", {"tree": [], "cat": ["tree"]})
    assert open_wordnet(landmark=(debian["cat"], "cat")).synsets("tree", "n")
    wnids = write_wordnet(nowhere / "corpora" / "wordnet")
    assert open_wordnet(landmark=(wnids["cat"], "cat")).synsets("taxi", "n")


def test_it_is_downloaded_at_last_and_time_limits_are_restored(nowhere, tmp_path, monkeypatch):
    patience, wnids = [], write_wordnet(tmp_path / "unpacked")

    def download(name, **_):
        patience.append((name, socket.getdefaulttimeout(), nltk.downloader.NETWORK_TIMEOUT))
        if len(patience) == 1:
            raise OSError("no network")
        zipped(tmp_path / "unpacked", nowhere / "corpora" / "wordnet.zip")

    monkeypatch.setattr(nltk, "download", download)
    monkeypatch.setattr(nltk.downloader, "NETWORK_TIMEOUT", 77, raising=False)
    with pytest.raises(InputError, match=r"wordnet\.zip .*--wordnet FOLDER.*wordnet-base"):
        open_wordnet()
    assert open_wordnet(landmark=(wnids["cat"], "cat")).synsets("taxi", "n")
    assert patience == [("wordnet", room.DOWNLOAD_SECONDS, room.DOWNLOAD_SECONDS)] * 2
    assert (socket.getdefaulttimeout(), nltk.downloader.NETWORK_TIMEOUT) == (None, 77)


def test_another_version_is_refused(tmp_path):
    wnids = write_wordnet(tmp_path)
    for wnid in (wnids["cat"], "n02084071"):
        message = refusal(tmp_path, landmark=(wnid, "dog"))
        assert str(tmp_path) in message and "not WordNet 3.0" in message and wnid in message


def test_what_is_no_wordnet_is_named(tmp_path):
    assert str(tmp_path / "absent") in refusal(tmp_path / "absent")
    assert "holds no data.noun" in refusal(tmp_path)
    (tmp_path / "wordnet.zip").write_bytes(b"PK\x03\x04 and no more")
    assert "wordnet.zip" in refusal(tmp_path)
    (tmp_path / "data.noun").write_text(LICENCE)
    assert "holds no index.noun" in refusal(tmp_path)
    (tmp_path / "index.noun").write_text("")
    assert str(tmp_path) in refusal(tmp_path)


DAMAGE = {
    "cut short": ("data.noun", lambda text: "".join(text.splitlines(keepends=True)[:-1])),
    "a byte too many": ("data.noun", lambda text: text.replace("| made up", "| made  up", 1)),
    "a wrong offset": ("data.noun", lambda text: text.replace("\n000", "\n100", 1)),
    "a torn index": ("index.noun", lambda text: text.replace("cat n 1 1 @ 1", "cat n 1 1")),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_before_anything_is_read_from_it(tmp_path, what):
    wnids, (name, damage) = write_wordnet(tmp_path), DAMAGE[what]
    (tmp_path / name).write_text(damage((tmp_path / name).read_text()))
    message = refusal(tmp_path, landmark=(wnids["entity"], "entity"))
    assert str(tmp_path) in message and ("damaged" in message or "cut short" in message)


def test_without_nltk_it_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nltk", None)
    assert "pip install nltk" in refusal(tmp_path)
