"""The per-query file: what is written comes back, and what no test wrote is refused in one line."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluation.per_query import read_per_query, write_per_query
from retrieval.metrics import PER_QUERY
from retrieval.scores import evaluate_ranking
from utils.errors import InputError

NAMES = ["sketch/été 1.png", "sketch/été 2.png", "sketch/b.png", "sketch/c.png", "sketch/a.png", "sketch/lost.png"]


@pytest.fixture(scope="module")
def scores():
    """Both rankings of six queries, the last of a class that the gallery lacks."""
    generator = torch.Generator().manual_seed(0)
    query, gallery = torch.randn(6, 8, generator=generator), torch.randn(30, 8, generator=generator)
    query_labels, labels = torch.tensor([1, 1, 0, 2, 0, 9]), torch.arange(30) % 3
    real = evaluate_ranking("euclidean", query, query_labels, gallery, labels)
    return {"real": real, "hash": evaluate_ranking("hamming", query > 0, query_labels, gallery > 0, labels)}


@pytest.fixture
def file(scores, tmp_path):
    """A good file, which tests damage."""
    write_per_query(tmp_path / "run" / "results.npz", scores, NAMES)
    return tmp_path / "run" / "results.npz"


def arrays_of(path):
    with np.load(path, allow_pickle=False) as content:
        return dict(content)


def rewrite(path, drop=(), compression=zipfile.ZIP_DEFLATED, raw=None, **changed):
    """The file again with some arrays left out or changed; raw: {member: bytes} as they are, in the place of an array."""
    arrays = {name: array for name, array in arrays_of(path).items() if name not in drop} | changed
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            if name not in (raw or {}):
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=True)
                archive.writestr(f"{name}.npy", buffer.getvalue())
        for name, data in (raw or {}).items():
            archive.writestr(f"{name}.npy", data)


def member(header, data=b""):
    """An `.npy` file with this header, true or not."""
    text = repr(header).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def test_what_is_written_comes_back(scores, file):
    read = read_per_query(file)
    assert read.names.tolist() == NAMES
    assert read.labels.tolist() == [1, 1, 0, 2, 0, 9] and read.labels.dtype == np.int64
    assert read.has_positive.tolist() == [True] * 5 + [False] and read.has_positive.dtype == bool
    assert list(read.values) == ["real", "hash"]
    for ranking, found in read.values.items():
        assert set(found) == set(PER_QUERY)
        for name, values in found.items():
            assert values.dtype == np.float64
            np.testing.assert_array_equal(values, scores[ranking].per_query[name])
    assert os.listdir(file.parent) == ["results.npz"]


def test_one_ranking_and_any_file_name(scores, tmp_path):
    write_per_query(tmp_path / "values", {"hash": scores["hash"]}, NAMES)
    assert os.listdir(tmp_path) == ["values"]
    assert list(read_per_query(tmp_path / "values").values) == ["hash"]


def test_a_place_that_cannot_be_written_is_named(scores, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"results\.npz: cannot be written"):
        write_per_query(tmp_path / "file" / "results.npz", scores, NAMES)


def test_a_missing_file_says_why_and_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"results\.npz: no such file; .* are older than per-query files: repeat the test"):
        read_per_query(tmp_path / "results.npz")


VALUE = "real/ap"
ONES = np.ones(6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"drop": ["names"]}, "has no array `names`"),
        ({"drop": [f"{ranking}/{name}" for ranking in ("real", "hash") for name in PER_QUERY]}, "has no array `real/…`"),
        ({"names": np.arange(6)}, "`names` is int64 of shape (6,), not str_"),
        ({"names": np.array(NAMES).astype(object)}, "`names` holds object"),
        ({"names": np.array(NAMES[:5])}, "`labels` is int64 of shape (6,), not int64 of shape (5,)"),
        ({"names": np.array([*NAMES[:5], NAMES[1]])}, "`names` holds a query twice"),
        ({"names": np.array(NAMES).reshape(2, 3)}, "of shape (2, 3), not str_ of shape (6,)"),
        ({"labels": np.ones(6, dtype=np.int32)}, "`labels` is int32"),
        ({"has_positive": np.ones(6, dtype=np.int64)}, "`has_positive` is int64"),
        ({"has_positive": np.zeros(6, dtype=bool)}, "no query has a photo of its class"),
        ({"has_positive": np.full(6, 2, dtype=np.uint8).view(bool)}, "neither true nor false"),
        ({VALUE: np.ones(6, dtype=np.float32)}, "`real/ap` is float32"),
        ({VALUE: np.ones((6, 2))}, "`real/ap` is float64 of shape (6, 2)"),
        ({VALUE: ONES * np.nan}, "`real/ap` has values outside 0 to 1"),
        ({VALUE: ONES * 1.01}, "`real/ap` has values outside 0 to 1"),
        ({"compression": zipfile.ZIP_LZMA}, "packed in a way NumPy does not pack"),
    ],
)
def test_arrays_that_no_test_writes_are_named(file, changes, said):
    rewrite(file, **changes)
    with pytest.raises(InputError) as error:
        read_per_query(file)
    message = str(error.value)
    assert message.startswith(f"{file}: ") and said in message and "repeat the test" in message and "\n" not in message


@pytest.mark.parametrize(
    ("name", "header", "said"),
    [
        (
            VALUE,
            {"descr": "<f8", "fortran_order": False, "shape": (10**13,)},
            "declares shape (10000000000000,), and has 0 bytes",
        ),
        (VALUE, {"descr": "<f8", "fortran_order": False, "shape": (0,)}, "`real/ap` is float64 of shape (0,)"),
        ("names", {"descr": "<U0", "fortran_order": False, "shape": (10**13,)}, "not plain numbers or text"),
        ("names", {"descr": "<U500000000", "fortran_order": False, "shape": (6,)}, "declares shape (6,), and has 0 bytes"),
        (VALUE, {"descr": [("x", "<f8")], "fortran_order": False, "shape": (6,)}, "not plain numbers or text"),
        (VALUE, {"descr": "<f8", "fortran_order": False, "shape": (10**4000,)}, "declares shape (10000000000000000000"),
    ],
)
def test_a_header_is_not_believed(file, name, header, said):
    """NumPy would reserve what it declares: terabytes here."""
    rewrite(file, raw={name: member(header)})
    with pytest.raises(InputError) as error:
        read_per_query(file)
    assert said in str(error.value)


def test_names_that_are_no_text(file):
    header = {"descr": "<U1", "fortran_order": False, "shape": (6,)}
    rewrite(file, raw={"names": member(header, b"\xff" * 24)})
    with pytest.raises(InputError, match="`names` is not text"):
        read_per_query(file)


def test_nothing_in_a_file_is_run(file, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "run_by_a_pickle"),)

    header, good = {"descr": "|O", "fortran_order": False, "shape": (6,)}, file.read_bytes()
    for name in ("names", VALUE):
        file.write_bytes(good)
        rewrite(file, raw={name: member(header, pickle.dumps(Payload()))})
        with pytest.raises(InputError, match=f"`{name}` holds object"):
            read_per_query(file)
    file.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(InputError, match="damaged, or not a"):
        read_per_query(file)
    assert not (tmp_path / "run_by_a_pickle").exists()


def test_a_zip_bomb_is_refused_unopened(file):
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open("real/bomb.npy", "w") as bomb:
        for _ in range(257):
            bomb.write(bytes(2**20))
    assert file.stat().st_size < 5e6
    tracemalloc.start()
    with pytest.raises(InputError, match="declares more than 256 MiB"):
        read_per_query(file)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_file_far_too_large_is_refused(file):
    os.truncate(file, 2**30)
    with pytest.raises(InputError, match="damaged, or not a"):
        read_per_query(file)


def test_arrays_of_other_names_are_left_alone(file):
    """A later version may keep more; a ranking's name is printed, so it has to be plain."""
    rewrite(file, later=np.zeros((2, 2)), **{"real/\x1b[2J": ONES, "Real/ap": ONES, "real/new_metric": ONES})
    read = read_per_query(file)
    assert list(read.values) == ["real", "hash"] and "new_metric" in read.values["real"]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_escapes_as_another_error(file, data):
    whole = file.read_bytes()
    damaged = bytearray(whole[: data.draw(st.just(len(whole)) | st.integers(0, len(whole)))])
    # the first header is at the beginning, the directory at the end
    places = st.integers(0, len(whole) - 1) | st.integers(len(whole) - 1200, len(whole) - 1)
    for place in data.draw(st.lists(places, max_size=4)):
        damaged[place : place + 1] = bytes([data.draw(st.integers(0, 255))])
    file.write_bytes(damaged)
    try:
        read = read_per_query(file)
    except InputError as error:
        assert str(error).startswith(str(file)) and "repeat the test" in str(error)
    else:  # the changed bytes do not matter, a time stamp for example
        assert len(read.names) == 6
    finally:
        file.write_bytes(whole)
