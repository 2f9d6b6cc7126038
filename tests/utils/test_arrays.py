"""Arrays from elsewhere: read as they are, or refused in one line."""

import io
import zipfile

import numpy as np
import pytest

from tests.helpers.hostile import Hostile
from utils.arrays import read_npz
from utils.errors import InputError


def test_arrays_come_back_and_others_are_passed_over(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "yé"]), "c": np.array(5), "d": np.empty((0, 3), np.float16)}
    for save, name in ((np.savez, "plain.npz"), (np.savez_compressed, "packed.npz")):
        save(tmp_path / name, e=np.ones(3), **arrays)
        found = read_npz(tmp_path / name, ["a", "b"], "c|d|f")
        assert found.keys() == arrays.keys()
        assert all(np.array_equal(found[key], arrays[key]) and found[key].dtype == arrays[key].dtype for key in arrays)


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def npy_bytes(array, **kwargs):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **kwargs)
    return file.getvalue()


def test_what_is_no_plain_array_is_refused(tmp_path):
    whole = npy_bytes(np.zeros(100))
    declares_more = whole.replace(b"(100,)", b"(999,)")
    cases = {
        "no such file": tmp_path / "missing.npz",
        "is a folder": tmp_path,
        "no array `a`": archive(tmp_path / "1.npz", b=whole),
        "declares shape": archive(tmp_path / "2.npz", a=declares_more),
        "holds object": archive(
            tmp_path / "3.npz", a=npy_bytes(np.array([Hostile(tmp_path / "victim")], dtype=object), allow_pickle=True)
        ),
        "damaged": archive(tmp_path / "4.npz", a=b"\x93NUMPY\x09\x09"),
    }
    (tmp_path / "5.npz").write_bytes((tmp_path / "1.npz").read_bytes()[:60])
    (tmp_path / "6.npz").write_bytes(b"")
    for message, path in [*cases.items(), ("damaged", tmp_path / "5.npz"), ("damaged", tmp_path / "6.npz")]:
        with pytest.raises(InputError, match=message) as caught:
            read_npz(path, ["a"], advice="do better")
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "victim").exists()
