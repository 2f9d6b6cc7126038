"""search.py as a user runs it."""

import contextlib
import functools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from datasets.images import decode, is_read, opened
from datasets.sketch_cleanup import as_training_sketch
from photo_search.encoder import open_network
from photo_search.folder_store import FolderStore
from photo_search.index import unit, up_to_date
from photo_search.network import Computing
from photo_search.searching import BLOCK, NEAR_DUPLICATE, Searcher, near_duplicates
from photo_search.store import PhotoFile
from tests.helpers.network import write_checkpoint
from tests.helpers.scripts import ROOT
from tests.helpers.trees import picture
from utils.errors import InputError

pytest.importorskip("faiss")
pytestmark = pytest.mark.usefixtures("pytorch_embeds")


@functools.cache
def open_once(checkpoint, image_size=None, arch=None):
    return open_network(checkpoint, Computing("cpu", "float32"), image_size, arch)


@pytest.fixture(autouse=True)
def each_checkpoint_is_read_once(monkeypatch):
    monkeypatch.setattr("photo_search.encoder.open_network", lambda checkpoint, _, *others: open_once(checkpoint, *others))


@pytest.fixture
def index(photos, network_file, tmp_path, search):
    """An index of the photos: its folder."""
    code, out, err = search("index", photos, "--checkpoint", network_file, "-o", tmp_path / "index", "--num_workers", 0)
    assert code == 0, err
    assert "12 photos embedded, 0 gone; 12 in the index" in out and "searched exactly" in out
    return tmp_path / "index"


@pytest.fixture
def drawing(tmp_path):
    image = Image.new("RGBA", (300, 200))
    ImageDraw.Draw(image).ellipse((120, 60, 220, 150), outline="black", width=4)
    image.save(tmp_path / "drawing.png")
    return tmp_path / "drawing.png"


def found(search, index, *words):
    """[(file name, similarity)] for one query."""
    code, out, err = search("query", *words, "--index", index, "--json")
    assert code == 0, err
    (answer,) = json.loads(out)
    return [(os.path.basename(hit["path"]), hit["similarity"]) for hit in answer["results"]]


def test_a_photo_finds_itself_and_the_order_is_by_similarity(photos, index, search):
    hits = found(search, index, photos / "old/3.png", "--photo", "-k", 5)
    assert hits[0][0] == "3.png" and hits[0][1] == pytest.approx(1, abs=1e-5)
    assert len(hits) == 5 and hits == sorted(hits, key=lambda hit: -hit[1])


def test_a_drawing_is_compared_with_every_photo_as_the_network_does(photos, index, network_file, drawing, search):
    network = open_once(network_file)
    query = network.embed_sketches(as_training_sketch(opened(drawing), 32)[None])[0]
    files = sorted(photos.rglob("*.png"))
    vectors = network.embed_photos(np.stack([decode(file, 32) for file in files]))
    expected = sorted(
        ((file.name, float(vector @ query)) for file, vector in zip(files, vectors, strict=True)), key=lambda x: -x[1]
    )
    hits = found(search, index, drawing, "-k", 20)
    assert [name for name, _ in hits] == [name for name, _ in expected]
    np.testing.assert_allclose([value for _, value in hits], [value for _, value in expected], atol=1e-5)


def test_only_what_is_new_or_changed_is_embedded(photos, index, search):
    assert "0 photos embedded, 0 gone; 12 in" in search("index", "-o", index)[1]
    (photos / "old/1.png").write_bytes(picture(77, side=44))
    (photos / "old/new.png").write_bytes(picture(78))
    (photos / "new/0.png").unlink()
    assert "2 photos embedded, 1 gone; 12 in the index" in search("index", "-o", index, "--num_workers", 0)[1]
    names = {name for name, _ in found(search, index, photos / "old/1.png", "--photo")}
    assert "new.png" in names and "0.png" not in names


def names_in(index):
    return sorted(Path(path).name for path in FolderStore(index).known())


def test_what_was_taken_out_stays_out_until_it_is_named(photos, index, search):
    code, out, err = search("index", "-o", index, "--remove", photos / "new")
    assert code == 0 and "removed 6 photos" in out and (photos / "new/2.png").exists(), err
    for words in ((), (photos,)):
        search("index", *words, "-o", index, "--num_workers", 0)
        assert names_in(index) == sorted(f"{number}.png" for number in range(1, 12, 2))
    search("index", photos / "new/2.png", "-o", index, "--num_workers", 0)
    assert len(names_in(index)) == 7
    search("index", photos / "new", "-o", index, "--num_workers", 0)
    assert len(names_in(index)) == 12
    assert "no photo is left" in search("index", "-o", index, "--remove", photos)[1]
    assert search("index", "-o", index, "--num_workers", 0)[0] == 2  # nothing is named any more
    code, _, err = search("query", photos / "old/3.png", "--index", index)
    assert code == 2 and "no photo is in the index" in err
    search("index", photos, "-o", index, "--num_workers", 0)
    assert len(names_in(index)) == 12


def test_taking_out_what_is_not_there_takes_out_nothing(photos, index, search):
    code, _, err = search("index", "-o", index, "--remove", photos / "new", photos / "nwe")
    assert code == 2 and "nwe: no photo of the index" in err and len(names_in(index)) == 12


def test_a_drive_that_is_away_loses_nothing(photos, index, tmp_path, search):
    (photos / "old").rename(tmp_path / "aside")
    (photos / "new").rename(tmp_path / "aside too")
    code, _, err = search("index", "-o", index, "--num_workers", 0)
    assert code == 2 and "is a drive away?" in err and len(names_in(index)) == 12
    (photos).rmdir()
    code, _, err = search("index", "-o", index, "--num_workers", 0)
    assert code == 2 and "no such file or folder" in err and len(names_in(index)) == 12


def test_a_folder_that_cannot_be_looked_into_loses_nothing(photos, index, run_script, monkeypatch):
    original = os.scandir

    def scandir(path):
        if str(path).endswith("old"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        _, out, err = run_script("search.py", "index", "-o", index, "--num_workers", 0)
    assert "old: cannot be read (Permission denied), left as it was" in err and "0 gone; 12 in the index" in out


def test_photos_that_cannot_be_read_just_now_are_tried_again(photos, index, search, monkeypatch):
    (photos / "old/more.png").write_bytes(picture(80))

    def denied(path, *_):
        try:
            raise PermissionError(13, "Permission denied")
        except PermissionError as error:
            raise InputError(f"{path}: not a readable image") from error

    with monkeypatch.context() as patch:
        patch.setattr("photo_search.indexing.decode", denied)
        out = search("index", "-o", index, "--num_workers", 0)[1]
    assert "1 photo could not be read just now" in out and "12 in the index" in out
    assert "1 photo embedded, 0 gone; 13 in the index" in search("index", "-o", index, "--num_workers", 0)[1]


def test_a_file_that_was_named_and_has_gone_is_gone(photos, index, search):
    search("index", photos / "old/1.png", "-o", index, "--num_workers", 0)
    (photos / "old/1.png").unlink()
    assert "1 gone; 11 in the index" in search("index", "-o", index, "--num_workers", 0)[1]
    assert search("index", "-o", index, "--num_workers", 0)[0] == 0


def test_an_index_made_again_beside_an_old_search_file(photos, index, network_file, search):
    (index / "photos.sqlite").unlink()
    for number in range(12):
        (photos / ("old" if number % 2 else "new") / f"{number}.png").write_bytes(picture(100 + number))
    search("index", photos, "--checkpoint", network_file, "-o", index, "--num_workers", 0)
    assert found(search, index, photos / "old/3.png", "--photo", "-k", 1)[0][0] == "3.png"


def test_the_kind_asked_for_stays_and_auto_goes_by_size(photos, index, search, monkeypatch):
    def kind():
        return up_to_date(FolderStore(index)).kind

    search("index", "-o", index, "--kind", "ivf")
    (photos / "new/more.png").write_bytes(picture(81))
    assert "searched by ivf: 100.0% of the 20" in search("index", "-o", index, "--num_workers", 0)[1] and kind() == "ivf"
    assert "searched exactly" in search("index", "-o", index, "--kind", "auto")[1] and kind() == "exact"
    monkeypatch.setattr("photo_search.index.LARGEST_EXACT", 13 * 16)
    (photos / "new/one more.png").write_bytes(picture(82))
    assert "searched by ivf" in search("index", "-o", index, "--num_workers", 0)[1] and kind() == "ivf"
    code, _, err = search("index", "-o", index, "--kind", "hnsw")
    assert code == 2 and "invalid choice: 'hnsw'" in err


def test_an_index_of_an_earlier_version_is_read(photos, index, search):
    """Its files of vectors are not, and a kind that no longer exists is chosen by size."""
    expected = found(search, index, photos / "old/3.png", "--photo")
    (index / "vectors.index").write_bytes(b"DSNINDEX" + bytes(5000))
    FolderStore(index).keep_facts(kind="hnsw")
    assert found(search, index, photos / "old/3.png", "--photo") == expected


def test_what_changes_while_an_index_is_updated_is_found_later(photos, index, monkeypatch):
    store, other = FolderStore(index), FolderStore(index)
    store.remove([store.known()[str(photos / "old/1.png")]])
    original = FolderStore.vectors

    def meanwhile(self, *words, **more):
        rows = original(self, *words, **more)
        if len(other) == 11:
            other.remove([other.known()[str(photos / "old/3.png")]])
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "vectors", meanwhile)
        up_to_date(store)
    assert len(up_to_date(store)) == len(up_to_date(FolderStore(index))) == 10


def test_a_running_search_sees_what_another_process_changed(photos, index, network_file):
    searcher = Searcher(FolderStore(index), open_once(network_file))
    query, other = str(photos / "old/3.png"), FolderStore(index)
    assert len(searcher.of_photo(query, 20)) == 12
    id_ = searcher.of_photo(query, 1)[0].id
    vector = other.vectors_of([id_])[id_]
    (photos / "copy.png").write_bytes(picture(3))
    status = (photos / "copy.png").stat()
    other.add([PhotoFile(str(photos / "copy.png"), status.st_size, status.st_mtime_ns)], vector[None], {})
    assert [os.path.basename(hit.path) for hit in searcher.of_photo(query, 2)] == ["3.png", "copy.png"]  # the lower id first
    other.remove([other.known()[query]])
    assert os.path.basename(searcher.of_photo(query, 20)[0].path) == "copy.png"
    other.remove(other.known().values())
    assert searcher.of_photo(query, 20) == []


def test_a_checkpoint_with_escape_bytes_in_its_name_is_printed_without_them(photos, network_file, tmp_path, search):
    odd = tmp_path / "\x1b[31mred.pth.tar"
    shutil.copy(network_file, odd)
    code, out, _ = search("index", photos, "--checkpoint", odd, "-o", tmp_path / "odd", "--num_workers", 0)
    assert code == 0 and "\x1b" not in out and r"\x1b[31mred.pth.tar, at " in out


def test_a_checkpoint_that_was_moved_is_remembered_where_it_is(photos, index, network_file, tmp_path, search):
    (tmp_path / "network").mkdir()
    moved = tmp_path / "network" / "moved.pth.tar"
    shutil.copy(network_file, moved)
    FolderStore(index).keep_facts(checkpoint=str(tmp_path / "was here.pth.tar"))
    assert search("query", photos / "old/3.png", "--index", index)[0] == 2
    assert search("index", "-o", index, "--checkpoint", moved)[0] == 0
    assert search("query", photos / "old/3.png", "--index", index)[0] == 0


def test_photos_in_a_format_whose_library_is_missing_are_counted_and_indexed_later(photos, index, tmp_path, search, monkeypatch):
    pytest.importorskip("pillow_heif")
    assert is_read("HEIC")
    for name in ("old/phone.HEIC", "new/exported.jpg"):
        opened(photos / "old/3.png").convert("RGB").save(photos / name, "HEIF", quality=-1, chroma=444)
    status = (photos / "new/exported.jpg").stat()
    fault = PhotoFile(str(photos / "new/exported.jpg"), status.st_size, status.st_mtime_ns)
    FolderStore(index).add([], np.empty((0, 16)), {fault: "exported.jpg: HEIC and AVIF images are not read here"})
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)
        out = search("index", "-o", index, "--num_workers", 0)[1]
        missing = "a library that is missing or too old: pip install 'pillow-heif>=1.5'"
        assert f"1 HEIC or AVIF photo needs {missing}, then run this again" in out
        assert "0 photos embedded, 0 gone; 12 in the index" in out
        code, _, err = search("query", photos / "old/phone.HEIC", "--index", index)
        assert code == 2 and f"phone.HEIC: reading HEIC images needs {missing}; or save it" in err
    out = search("index", "-o", index, "--num_workers", 0)[1]
    assert "2 photos embedded, 0 gone; 14 in the index" in out and "library" not in out and "cannot be read" not in out
    hits = found(search, index, photos / "old/phone.HEIC", "--photo", "-k", 3, "--all")
    assert {name for name, _ in hits} == {"3.png", "phone.HEIC", "exported.jpg"}
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (photos / "new/0.png").unlink()
    assert "1 gone; 13 in the index" in search("index", "-o", index, "--num_workers", 0)[1]  # they stay, though not readable


def answer(search, index, *words):
    """[(file name, file names of its near-duplicates)] for one query."""
    (one,) = json.loads(search("query", *words, "--index", index, "--json")[1])
    return [(Path(hit["path"]).name, [Path(each["path"]).name for each in hit["duplicates"]]) for hit in one["results"]]


@pytest.mark.parametrize("codes", [[], ["--codes"]])
def test_near_duplicates_are_shown_as_one(photos, index, search, codes, monkeypatch):
    for number in range(9):
        shutil.copy(photos / "old/3.png", photos / f"new/copy {number}.png")
    search("index", "-o", index, "--num_workers", 0)
    words = [photos / "old/3.png", "--photo", *codes]
    same = {"3.png", *(f"copy {number}.png" for number in range(9))}  # their order is left to rounding
    first, *others = answer(search, index, *words, "-k", 12)
    assert {first[0], *first[1]} == same and len(others) == 11 and not any(more for _, more in others)
    assert answer(search, index, *words, "-k", 1) == [first]
    with monkeypatch.context() as patch:
        patch.setattr("photo_search.searching.CANDIDATES", 1)  # so that those looked at first are copies
        assert answer(search, index, *words, "-k", 2) == [first, others[0]]
    apart = answer(search, index, *words, "-k", 3, "--all")
    assert {name for name, _ in apart} < same and not any(more for _, more in apart)
    out = search("query", *words, "--index", index, "-k", 2)[1].splitlines()
    assert out[1].endswith(f"{first[0]}  (near-duplicates: 9)") and out[2].endswith(first[1][0]) and len(out) == 12


def test_photos_that_are_all_copies_are_one(photos, index, search):
    for path in photos.rglob("*.png"):
        path.write_bytes(picture(3))
    search("index", "-o", index, "--num_workers", 0)
    ((_, copies),) = answer(search, index, photos / "old/3.png", "--photo", "-k", 2)
    assert len(copies) == 11


def test_near_duplicates_are_grouped_as_by_nested_loops():
    """In several blocks, whose groups go on in later blocks."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((80, 1, 16))
    vectors = unit((centres + 0.08 * rng.standard_normal((80, 10, 16))).reshape(800, 16)[rng.permutation(800)])
    expected = []
    for row, vector in enumerate(vectors):
        group = next((rows for rows in expected if vectors[rows[0]] @ vector >= NEAR_DUPLICATE), None)
        if group is None:
            expected.append([row])
        else:
            group.append(row)
    assert BLOCK < len(expected) < 600 and any(group[-1] - group[0] > BLOCK for group in expected)
    for most in (800, BLOCK + 10, 30):
        assert near_duplicates(vectors, most) == expected[:most]
    assert near_duplicates(vectors[:0], 30) == []


def test_photos_below_a_similarity_are_hidden(photos, index, search, tmp_path):
    shutil.copy(photos / "old/3.png", photos / "new/copy.png")
    search("index", "-o", index, "--num_workers", 0)
    query = [photos / "old/5.png", "--photo"]
    hits = found(search, index, *query)
    least = hits[4][1] - 1e-6
    assert found(search, index, *query, "--least", least) == hits[:5]
    assert found(search, index, *query, "--least", -1) == hits
    words = ["query", photos / "old/3.png", photos / "old/5.png", "--photo", "--index", index, "--least", 0.99999, "--codes"]
    assert search(*words)[1].count("\n") == 5
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    words = ["query", tmp_path / "red.png", "--photo", "--index", index, "--least"]
    code, out, err = search(*words, 1, "--grid", tmp_path / "a.png")
    assert code == 0 and out == f"{tmp_path}/red.png:\n" and (tmp_path / "a.png").exists()
    assert "red.png: no photo has a similarity of 1.0 or more; the most similar photo has 0." in err
    code, _, err = search(*words, "1.1")
    assert code == 2 and "must be a number from -1 to 1, not '1.1'" in err


def test_photos_that_went_never_break_a_query(photos, index, search):
    for number in (1, 5, 7):
        (photos / f"old/{number}.png").unlink()
    (photos / "new").rename(photos / "moved")
    hits = found(search, index, photos / "old/3.png", "--photo", "-k", 3)
    assert sorted(name for name, _ in hits) == ["11.png", "3.png", "9.png"]


def test_an_interrupted_run_keeps_what_it_had_and_goes_on(photos, network_file, tmp_path, search, monkeypatch):
    folder, calls = tmp_path / "index", []

    def interrupted(path, side, fit):
        calls.append(path)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return decode(path, side, fit)

    words = ["index", photos, "--checkpoint", network_file, "-o", folder, "--num_workers", 0, "--batch_size", 4]
    with monkeypatch.context() as patch:
        patch.setattr("photo_search.indexing.decode", interrupted)
        assert search(*words)[0] == 130
    assert "4 photos embedded, 0 gone; 12 in the index" in search(*words)[1]


@pytest.mark.slow
def test_a_killed_run_keeps_what_it_had_and_goes_on(photos, network_file, tmp_path, search):
    for number in range(100, 200):
        (photos / f"{number}.png").write_bytes(picture(number))
    words = ["index", photos, "--checkpoint", network_file, "-o", tmp_path / "index", "--num_workers", "0", "--batch_size", "1"]
    process = subprocess.Popen([sys.executable, ROOT / "search.py", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kept, deadline = 0, time.monotonic() + 120
    while kept < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
        with contextlib.suppress(InputError):
            kept = len(names_in(tmp_path / "index"))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    kept = len(names_in(tmp_path / "index"))
    assert 5 <= kept < 112
    assert f"{112 - kept} photos embedded, 0 gone; 112 in the index" in search(*words)[1]


def test_codes_are_searched_too_and_their_recall_is_told(photos, index, search, monkeypatch):
    out = search("index", "-o", index, "--codes", "--num_workers", 0)[1]
    assert "codes of 16 bits: " in out
    monkeypatch.setattr("photo_search.index.fitted", lambda *_: pytest.fail("was fitted again"))
    hits = found(search, index, photos / "new/4.png", "--photo", "--codes", "-k", 4)
    assert hits[0] == ("4.png", 1.0)
    assert all(round(value * 8) == value * 8 for _, value in hits)  # 1 - 2 · distance / 16


def test_a_photo_like_another(index, photos):
    store = FolderStore(index)
    searcher = Searcher(store, open_once(Path(store.fact("checkpoint"))))
    itself = searcher.of_photo(str(photos / "old/3.png"), 1)[0]
    others = searcher.like(itself.id, 3)
    assert len(others) == 3 and itself not in others


def test_unreadable_photos_are_told_and_not_tried_again(photos, index, search, monkeypatch):
    (photos / "old/broken.jpg").write_bytes(b"no image")
    out = search("index", "-o", index, "--num_workers", 0)[1]
    assert "1 photo cannot be read (the first: " in out and "broken.jpg" in out
    monkeypatch.setattr("photo_search.indexing.decode", lambda *_: pytest.fail("was tried again"))
    assert "0 photos embedded" in search("index", "-o", index, "--num_workers", 0)[1]


def test_a_picture_of_what_was_found(photos, index, drawing, tmp_path, search):
    assert search("query", drawing, drawing, "--index", index, "-k", 4, "--grid", tmp_path / "grid.png")[0] == 0
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width > 4 * 112 and grid.height > 2 * 112


def test_no_folder_is_made_for_a_picture_of_what_was_found(index, drawing, tmp_path, search):
    code, _, err = search("query", drawing, "--index", index, "--grid", tmp_path / "nowhere" / "grid.png")
    assert code == 2 and f"--grid {tmp_path}/nowhere/grid.png: there is no folder {tmp_path}/nowhere" in err
    assert not (tmp_path / "nowhere").exists()


def test_a_checkpoint_that_cannot_be_read_leaves_nothing_behind(photos, tmp_path, search):
    (tmp_path / "bad.pth.tar").write_bytes(b"no checkpoint")
    for name, message in [
        ("bad.pth.tar", "bad.pth.tar: damaged or not a PyTorch file"),
        ("photos", "photos: is a folder, not a file"),
        ("nowhere.pth", "nowhere.pth: no such file"),
    ]:
        code, _, err = search("index", photos, "--checkpoint", tmp_path / name, "-o", tmp_path / "new")
        assert code == 2 and message in err and not (tmp_path / "new").exists()


def test_a_checkpoint_that_cannot_be_read_changes_nothing(photos, index, tmp_path, search):
    (tmp_path / "bad.pth.tar").write_bytes(b"no checkpoint")
    words = ["index", "-o", index, "--remove", photos / "new", "--kind", "ivf", "--checkpoint", tmp_path / "bad.pth.tar"]
    code, _, err = search(*words)
    assert code == 2 and "bad.pth.tar: damaged" in err and len(names_in(index)) == 12
    assert FolderStore(index).fact("kind") is None


def limited_pages(monkeypatch, pages):
    """SQLite takes no more than so many pages of 4 kB, as on a full disk."""
    original = sqlite3.connect

    def connect(*words, **more):
        connection = original(*words, **more)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)


def test_on_a_full_disk_indexing_says_so_and_goes_on_later(photos, network_file, tmp_path, search, monkeypatch):
    for number in range(100, 160):
        (photos / f"{number}.png").write_bytes(picture(number))
    words = ["index", photos, "--checkpoint", network_file, "-o", tmp_path / "index", "--num_workers", 0, "--batch_size", 4]
    with monkeypatch.context() as patch:
        limited_pages(patch, 12)
        code, _, err = search(*words)
    assert code == 2 and f"{tmp_path / 'index'}: the disk is full; free some space, then run the same command again" in err
    kept = len(names_in(tmp_path / "index"))
    assert 0 < kept < 72
    assert f"{72 - kept} photos embedded, 0 gone; 72 in the index" in search(*words)[1]


def test_what_cannot_be_stored_is_fitted_for_each_search(photos, index, drawing, search, monkeypatch):
    """On a full disk, or where nothing can be written."""
    FolderStore(index).keep_facts(kind="ivf")
    expected = search("query", drawing, "--index", index)
    FolderStore(index).keep_facts(**{"fit of ivf": (0, [])})
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "keep_facts", lambda *_, **__: (_ for _ in ()).throw(InputError(f"{index}: the disk is full")))
        code, out, err = search("query", drawing, "--index", index)
    assert code == 0 and out == expected[1] and "the disk is full; every search fits the index again" in err


@pytest.mark.parametrize("kind", ["ivf", "codes"])
@pytest.mark.parametrize(
    "stored",
    [None, 7, (3, 4), (12, []), (12, [[1, 2]]), (12, [["a"] * 16]), (2, [[0.5] * 16] * 17), (12, [[float("nan")] * 16] * 4)],
)
def test_a_damaged_fit_is_made_again(photos, index, kind, stored):
    store = FolderStore(index)
    store.keep_facts(**{"kind": "ivf", f"fit of {kind}": stored})
    assert up_to_date(store, kind == "codes").search(store.vectors()[1][:1], 12)[0].shape == (1, 12)
    rows, values = FolderStore(index).fact(f"fit of {kind}")
    assert rows == 12 and len(values[0]) == 16 + (kind == "codes")


def test_names_that_a_terminal_would_obey_are_written_out(photos, index, search):
    odd = photos / "new" / "a\nb\x1b[31m.png"
    odd.write_bytes(picture(80))
    (photos / "new" / "c\nd\x1b[31m.png").write_bytes(b"no image")
    out = search("index", "-o", index, "--num_workers", 0)[1]
    assert "c\\nd\\x1b[31m.png" in out and "\x1b" not in out
    code, out, err = search("query", odd, "--photo", "--index", index, "-k", 3)
    assert code == 0 and len(out.splitlines()) == 4 and "\x1b" not in out + err
    assert out.count("a\\nb\\x1b[31m.png") == 2  # the query, and what it found
    assert found(search, index, odd, "--photo", "-k", 1)[0][0] == odd.name


@pytest.mark.parametrize("k", ["0", "10001", "many"])
def test_how_many_photos_may_be_found_is_said(index, drawing, search, k):
    code, _, err = search("query", drawing, "--index", index, f"-k={k}")
    assert code == 2 and f"must be a whole number from 1 to 10000, not '{k}' (see search.py query --help)" in err


def mistakes():
    def damaged(index):
        (index / "photos.sqlite").write_bytes(b"x" * 5000)

    def of_another_version(index):
        with sqlite3.connect(index / "photos.sqlite") as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES ('format', '99')")

    return {
        "no index": (shutil.rmtree, [], "no index there; check the name, or make one with"),
        "damaged": (damaged, [], "photos.sqlite: damaged"),
        "another version": (of_another_version, [], "was made by another version"),
        "another checkpoint": (None, ["--checkpoint", "OTHER"], "was made with another checkpoint"),
        "no checkpoint": (None, ["--checkpoint", "nowhere.pth"], "nowhere.pth: no such file; name the network"),
        "a folder as checkpoint": (None, ["--checkpoint", "."], ".: is a folder, not a file; name the network"),
    }


@pytest.mark.parametrize("what", mistakes())
def test_an_index_that_cannot_be_asked_is_one_clear_line(index, drawing, tmp_path, search, what):
    damage, options, message = mistakes()[what]
    if damage:
        damage(index)
    other = write_checkpoint(tmp_path / "other.pth.tar", seed=1)
    code, _, err = search("query", drawing, "--index", index, *(other if word == "OTHER" else word for word in options))
    assert code == 2 and message in err


def test_queries_that_cannot_be_asked_are_one_clear_line(index, photos, tmp_path, search):
    Image.new("RGB", (60, 60), "white").save(tmp_path / "empty.png")
    Image.new("L", (20_000, 20_000)).save(tmp_path / "huge.png")
    (tmp_path / "text.png").write_text("no image")
    for name, message in [
        ("empty.png", "empty.png: the drawing is empty"),
        ("huge.png", "huge.png: too large"),
        ("text.png", "text.png: not a readable image"),
        ("nothing.png", "nothing.png: not a readable image (no such file)"),
        ("photos", "photos: not a readable image (it is a folder)"),
    ]:
        code, _, err = search("query", tmp_path / name, "--index", index)
        assert code == 2 and message in err
    code, _, err = search("index", tmp_path / "nowhere", "-o", index)
    assert code == 2 and "nowhere: no such file or folder" in err
    code, _, err = search("index", photos, "-o", tmp_path / "new")
    assert code == 2 and "no index there" in err
    code, _, err = search("indx")
    assert code == 2 and "invalid choice" in err
