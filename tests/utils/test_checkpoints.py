"""Checkpoints in the released form: read, written, and refused where they are damaged or hostile."""

import contextlib
import os
import pickletools
import re
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.hostile import Hostile
from utils.checkpoints import load_state, read_checkpoint, read_tensors, write_checkpoint
from utils.errors import InputError


def released(best) -> dict:
    """What the released training script saved: DataParallel keys and an optimizer that has stepped."""
    model = nn.DataParallel(nn.Linear(2, 3)) if torch.cuda.is_available() else nn.Linear(2, 3)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = {f"module.{key.removeprefix('module.')}": value for key, value in model.state_dict().items()}
    return {"epoch": 7, "arch": "cse_resnet50", "state_dict": state, "best_acc1": best, "optimizer": optimizer.state_dict()}


@pytest.mark.parametrize("best", [torch.tensor(0.5), torch.tensor([0.5]), 0.5, np.float64(0.5), np.float32(0.5)])
@pytest.mark.parametrize("zipped", [True, False])
def test_released_files_are_read_whatever_their_age(tmp_path, best, zipped):
    path = tmp_path / "model_best.pth.tar"
    torch.save(released(best), path, _use_new_zipfile_serialization=zipped)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = read_checkpoint(path)
    assert content["epoch"] == 7
    assert float(content["best_acc1"]) == 0.5
    assert set(content["state_dict"]) == {"weight", "bias"}


def test_what_is_written_has_the_released_form(tmp_path):
    path = tmp_path / "checkpoint.pth.tar"
    layer = nn.Linear(2, 3)
    optimizer = torch.optim.Adam(layer.parameters())
    write_checkpoint(
        path,
        epoch=3,
        arch="cse_resnet50",
        state=layer.state_dict(),
        best=0.25,
        optimizer=optimizer.state_dict(),
        options={"lr": 1},
    )
    content = torch.load(path, weights_only=True)
    assert {"epoch", "arch", "state_dict", "best_acc1", "optimizer"} <= set(content)
    assert list(content["state_dict"]) == ["module.weight", "module.bias"]
    assert content["best_acc1"].shape == ()
    assert content["epoch"] == 3
    assert os.listdir(tmp_path) == ["checkpoint.pth.tar"]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_calls_code_is_refused_and_the_code_not_run(tmp_path, zipped):
    path, victim = tmp_path / "evil.pth.tar", tmp_path / "victim"
    torch.save(released(0.5) | {"extra": Hostile(victim)}, path, _use_new_zipfile_serialization=zipped)
    for read in (read_checkpoint, read_tensors):
        with pytest.raises(InputError) as error:
            read(path)
        message = str(error.value)
        assert message.startswith(f"{path}: refused, because its pickle names `") and "mkdir`" in message and "\n" not in message
        assert not re.search("safe_globals|weights_only|allow|trust|WeightsUnpickler", message)  # no advice to load it anyway
    assert not victim.exists()


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_checkpoint_is_named(tmp_path, share, zipped):
    path = tmp_path / "cut.pth.tar"
    torch.save(released(0.5), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"cut\.pth\.tar") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [[1, 2], {"weights": 3}, {"state_dict": 5}, torch.zeros(2)])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=r"odd\.pth"):
        read_checkpoint(tmp_path / "odd.pth")


def test_an_absent_file_names_the_option(tmp_path):
    with pytest.raises(InputError, match="--resume"):
        read_checkpoint(tmp_path / "absent.pth.tar", option="--resume")


def test_load_state_names_what_is_wrong_and_returns_what_it_ignores(tmp_path):
    layer = nn.Linear(2, 3)
    good = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    assert load_state(layer, good | {"head.weight": torch.ones(1)}, tmp_path) == ["head.weight"]
    assert layer.weight.sum() == 6
    for bad, said in (
        ({"weight": torch.ones(3, 2)}, "`bias` is missing or not a tensor"),
        (good | {"weight": torch.ones(4, 2)}, r"`weight` is \(4, 2\)"),
        (good | {"bias": "text"}, "`bias` is missing or not a tensor"),
    ):
        with pytest.raises(InputError, match=said):
            load_state(layer, bad, tmp_path)
    assert load_state(layer, {"weight": torch.zeros(3, 2)}, tmp_path, optional=("bias",)) == []


def rebuilt(path, change) -> None:
    """Rewrite the archive, with right checksums, after `change(name, content) -> content` of its records."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records.items():
            archive.writestr(name, change(name, content))


def with_pickle(path, old: bytes, new: bytes) -> None:
    """Exchange some bytes of the pickle, and mend the checksums."""

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return content
        assert old in content
        return content.replace(old, new, 1)

    rebuilt(path, change)


def refused(path, said: str, read=read_checkpoint) -> None:
    with pytest.raises(InputError, match=path.name) as error, warnings.catch_warnings():
        warnings.simplefilter("error")
        read(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("record", ["data.pkl", "data/0", "data/1", "version"])
def test_one_changed_bit_of_any_record_is_noticed(tmp_path, record):
    path = tmp_path / "a.pth.tar"
    torch.save(released(0.5), path)
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith(record))
        found = path.read_bytes().index(archive.read(name), archive.getinfo(name).header_offset + 30 + len(name))
    content = bytearray(path.read_bytes())
    content[found] ^= 1
    path.write_bytes(content)
    refused(path, f"damaged: the checksum of {name.partition('/')[2]} does not match its content")


def test_a_rewritten_archive_is_read(tmp_path):
    path = tmp_path / "a.pth.tar"
    torch.save(released(0.5), path)
    before = read_checkpoint(path)["state_dict"]
    rebuilt(path, lambda name, content: content)
    after = read_checkpoint(path)["state_dict"]
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "bomb.pth.tar"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(50_000_000))
    refused(path, "compressed records")


def test_two_records_of_one_name_are_refused(tmp_path):
    path = tmp_path / "twice.pth.tar"
    torch.save(released(0.5), path)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(archive.namelist()[0], b"")
    refused(path, "two of one name")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_asks_for_all_memory_is_refused(tmp_path, zipped):
    class Greedy:
        def __reduce__(self):
            return bytearray, (1 << 30,)

    path = tmp_path / "greedy.pth"
    torch.save(released(0.5) | {"extra": Greedy()}, path, _use_new_zipfile_serialization=zipped)
    refused(path, "bytearray")


CLAIMS = {  # instructions of a pickle, and lengths of their arguments
    "BINBYTES8": b"\x8e" + (1 << 60).to_bytes(8, "little"),
    "BINUNICODE8": b"\x8d" + (1 << 60).to_bytes(8, "little"),
    "BYTEARRAY8": b"\x96" + (1 << 60).to_bytes(8, "little"),
    "BINBYTES": b"B\xff\xff\xff\xff",
    "BINUNICODE": b"X\xff\xff\xff\xff",
    "BINSTRING": b"T\xff\xff\xff\x7f",
    "LONG4": b"\x8b\xff\xff\xff\x7f",
    "FRAME": b"\x95" + (1 << 60).to_bytes(8, "little"),
    "just too long": b"\x8e" + (2).to_bytes(8, "little"),
}
BEFORE_THE_CONTENT = 3  # pickles of an old file: magic number, version, system


def with_claim(path: Path, claim: bytes, place: str) -> None:
    """A file whose pickle claims an argument longer than the file: alone, in an archive, or in a file as of before 2020."""
    bad = b"\x80\x04" + claim + b"."
    if place == "archive":
        torch.save(released(0.5), path)
        rebuilt(path, lambda name, content: bad if name.endswith("data.pkl") else content)
        return
    start = b""
    if place == "old file":
        torch.save(released(0.5), path, _use_new_zipfile_serialization=False)
        with path.open("rb") as file:
            for _ in range(BEFORE_THE_CONTENT):
                list(pickletools.genops(file))
            end = file.tell()
        start = path.read_bytes()[:end]
    path.write_bytes(start + bad)


@pytest.mark.parametrize("place", ["pickle alone", "archive", "old file"])
def test_a_claim_of_more_bytes_than_the_file_has_takes_no_memory(tmp_path, place):
    path = tmp_path / "claims.pth"
    for claim in CLAIMS.values():
        with_claim(path, claim, place)
        tracemalloc.start()
        refused(path, "damaged or not a PyTorch file")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 50e6


def test_a_number_whose_type_has_made_up_flags_is_read_as_a_number(tmp_path):
    """NumPy itself would take the flags, which say here that the number is an object's address."""
    path = tmp_path / "a.pth.tar"
    torch.save(released(np.float64(0.5)), path)
    plain, made_up = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t", b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ft"
    with_pickle(path, plain, made_up)
    assert read_checkpoint(path)["best_acc1"] == 0.5


ODD_TENSORS = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "meta device": lambda: torch.ones(3, device="meta"),
    "larger than the file": lambda: torch.ones(1).expand(10**12),
}
ODD = "no dense array of real numbers"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD_TENSORS)
def test_tensors_that_are_no_plain_arrays_are_refused(tmp_path, kind):
    for place in ("state_dict", "optimizer"):
        content = released(0.5)
        content[place] |= {"module.odd": [{"deep": ODD_TENSORS[kind]()}]}
        torch.save(content, tmp_path / "odd.pth.tar")
        for read in (read_checkpoint, read_tensors):
            refused(tmp_path / "odd.pth.tar", ODD, read)


def test_a_tensor_with_attributes_of_its_own_is_refused(tmp_path):
    content = released(0.5)
    content["state_dict"]["module.bias"] = tensor = nn.Parameter(torch.ones(3))
    tensor.numel = 3
    torch.save(content, tmp_path / "odd.pth.tar")
    refused(tmp_path / "odd.pth.tar", ODD)


def test_containers_that_hold_themselves_are_walked_once(tmp_path):
    content = released(0.5)
    content["self"] = [content]
    torch.save(content, tmp_path / "round.pth.tar")
    assert set(read_checkpoint(tmp_path / "round.pth.tar")["state_dict"]) == {"weight", "bias"}


def test_an_epoch_that_is_no_count_is_refused(tmp_path):
    for epoch in (float("nan"), float("inf"), -1, 2.5, "seven", None, 1 << 40, torch.zeros(2), {}):
        torch.save(released(0.5) | {"epoch": epoch}, tmp_path / "odd.pth.tar")
        refused(tmp_path / "odd.pth.tar", "no count of epochs")


def test_keys_that_are_no_names_are_refused(tmp_path):
    for key in (3, None, "two\nlines", "\ud800"):
        content = released(0.5)
        content["state_dict"][key] = torch.ones(1)
        torch.save(content, tmp_path / "odd.pth.tar")
        for read in (read_checkpoint, read_tensors):
            refused(tmp_path / "odd.pth.tar", "no names", read)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, bad):
    state = {"weight": torch.tensor([[1, 2], [3, 4], [5, bad]]), "bias": torch.ones(3)}
    with pytest.raises(InputError, match="`weight` is not finite"):
        load_state(nn.Linear(2, 3), state, tmp_path)


def test_integers_where_floats_belong_are_refused(tmp_path):
    state = {"weight": torch.ones(3, 2), "bias": torch.ones(3, dtype=torch.int64)}
    with pytest.raises(InputError, match="`bias` is int64, not floats"):
        load_state(nn.Linear(2, 3), state, tmp_path)


def test_a_damaged_or_odd_safetensors_file_is_refused(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "a.safetensors"
    safetensors.save_file({"weight": torch.ones(3)}, path)
    assert read_tensors(path)["weight"].tolist() == [1, 1, 1]
    path.write_bytes(path.read_bytes()[:-4])
    refused(path, "damaged", read_tensors)
    with contextlib.suppress(KeyError):  # an older library knows no complex numbers
        safetensors.save_file({"weight": torch.ones(3, dtype=torch.complex64)}, path)
        refused(path, ODD, read_tensors)
