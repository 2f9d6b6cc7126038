"""Pickles of numbers: read as Python reads them, or refused without running anything and without taking much memory."""

import collections
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.hostile import Hostile
from utils.unpickling import CodeInPickle, NumberArray, as_vector, load_numbers

TYPES = ["<f8", ">f4", "<f2", "<i8", "|u1", "|b1"]
ARRAYS = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in TYPES}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numbers_arrays_and_containers_are_read(protocol):
    content = {0: 1.5, "ordered": collections.OrderedDict(a=[1, (2, None)])}
    assert load_numbers(pickle.dumps(content, protocol)) == content
    for array in (*ARRAYS.values(), np.asfortranarray(ARRAYS["<f8"])):
        found = load_numbers(pickle.dumps(array, protocol))
        assert isinstance(found, NumberArray) and found.values.dtype == array.dtype
        assert np.array_equal(found.values, array) and np.array_equal(as_vector(found), array.reshape(-1))
        assert load_numbers(pickle.dumps(array[0, 1], protocol)) == array[0, 1]


def test_vectors_are_numbers_in_one_dimension():
    assert as_vector(2).tolist() == [2] and as_vector([1, 2.5]).tolist() == [1, 2.5]
    for other in ("text", [[1], [2]], {1: 2}, None):
        with pytest.raises(TypeError):
            as_vector(other)
    with pytest.raises(ValueError, match="without content"):
        as_vector(NumberArray())


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_not_run(tmp_path, protocol):
    with pytest.raises(CodeInPickle, match="mkdir"):
        load_numbers(pickle.dumps([Hostile(tmp_path / "victim")], protocol))
    assert not (tmp_path / "victim").exists()


def test_state_is_set_on_numbers_and_arrays_only():
    with pytest.raises(CodeInPickle, match="state of a dict"):
        load_numbers(b"\x80\x02ccollections\nOrderedDict\n)R}b.")


@pytest.mark.parametrize("kind", ["O", "V8", "U4", "M8[s]"])
def test_other_types_than_numbers_are_refused(kind):
    content = pickle.dumps(np.zeros(2, "<f8"), 2).replace(
        b"X\x02\x00\x00\x00f8", b"X" + bytes([len(kind), 0, 0, 0]) + kind.encode()
    )
    with pytest.raises(ValueError, match="not a type of numbers"):
        load_numbers(content)


@pytest.mark.parametrize(
    "claim", [b"\x8e" + (1 << 60).to_bytes(8, "little"), b"B\xff\xff\xff\xff", b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R"]
)
def test_a_claimed_length_takes_no_memory(claim):
    tracemalloc.start()
    with pytest.raises((ValueError, TypeError, CodeInPickle)):
        load_numbers(b"\x80\x04" + claim + b".")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


@given(position=st.integers(0, 10**6), byte=st.integers(0, 255), protocol=st.sampled_from([0, 2, 4]), kind=st.sampled_from(TYPES))
def test_a_changed_byte_raises_an_ordinary_error_or_is_read(position, byte, protocol, kind):
    content = bytearray(pickle.dumps({0: ARRAYS[kind], 1: [1.5, 2]}, protocol))
    content[position % len(content)] = byte
    try:
        load_numbers(bytes(content))
    except Exception as error:
        assert not isinstance(error, MemoryError)
