"""Damaged files, and pickles that run code."""

import io
import itertools
import os
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st


class Hostile:
    """Unpickled, it makes a folder at `victim`."""

    def __init__(self, victim: Path):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)


def hostile_pickles(canary: Path) -> dict[str, bytes]:
    """Pickles that create a folder at `canary` when Python's unpickler reads them, by one operation or another."""
    name = str(canary).encode()
    text = b"X" + len(name).to_bytes(4, "little") + name
    short = b"\x8c" + bytes([len(name)]) + name
    code = b"__import__('os').mkdir('" + name + b"')"
    return {
        "REDUCE": b"\x80\x02cos\nmkdir\n" + text + b"\x85R.",
        "REDUCE of posix": b"\x80\x02cposix\nmkdir\n" + text + b"\x85R.",
        "INST": b"(S'" + name + b"'\nios\nmkdir\n.",
        "OBJ": b"(cos\nmkdir\n" + text + b"o.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93" + short + b"\x85R.",
        "NEWOBJ": b"\x80\x02cfunctools\npartial\ncos\nmkdir\n\x85\x81" + text + b"\x85R.",
        "NEWOBJ_EX": b"\x80\x04cfunctools\npartial\ncos\nmkdir\n\x85}\x92" + short + b"\x85R.",
        "map": b"\x80\x02cbuiltins\nlist\ncbuiltins\nmap\ncos\nmkdir\n]" + text + b"a\x86R\x85R.",
        "eval": b"\x80\x02cbuiltins\neval\nX" + len(code).to_bytes(4, "little") + code + b"\x85R.",
        "getattr": b"\x80\x02cbuiltins\ngetattr\ncbuiltins\n__import__\nX\x02\0\0\0os\x85RX\x05\0\0\0mkdir\x86R"
        + text
        + b"\x85R.",
        "BUILD": b"\x80\x02ccollections\nOrderedDict\n)R}X\x03\0\0\0runcos\nmkdir\n" + text + b"\x85Rsb.",
        "in a dict": b"\x80\x02}K\x00cos\nmkdir\n" + text + b"\x85Rs.",
    }


# what damage puts into a pickle: calls, state, numbers out of range, and globals that are and are not admitted
NAMES = [
    "os system", "os mkdir", "posix system", "subprocess Popen", "builtins eval", "builtins exec", "builtins getattr",
    "builtins bytearray", "__builtin__ bytearray", "builtins set", "builtins complex", "builtins __import__", "socket socket",
    "numpy ndarray", "numpy dtype", "numpy.core.multiarray scalar", "numpy._core.multiarray _reconstruct", "_codecs encode",
    "numpy._core.numeric _frombuffer", "collections OrderedDict", "collections Counter", "torch FloatStorage",
    "torch LongStorage", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_sparse_tensor",
    "torch._utils _rebuild_meta_tensor_no_storage", "torch._utils _rebuild_wrapper_subclass", "torch._utils _rebuild_qtensor",
    "torch._tensor _rebuild_from_type_v2", "torch Tensor", "torch Size", "torch device", "torch float64", "torch complex64",
    "torch.nn.parameter Parameter", "torch.storage UntypedStorage", "torch.serialization _get_layout", "torch sparse_coo",
]  # fmt: skip
OPERATIONS = [b"c%s\n%s\n" % tuple(name.encode().split()) for name in NAMES] + [
    b"R", b"b", b"\x81", b"o", b"(", b"t", b"0", b"1", b"2", b"N", b"\x88", b"]", b"}", b")", b"\x8f", b"\x85", b"\x86", b"\x87",
    b"a", b"e", b"s", b"u", b"Q", b"\x93", b"K\x00", b"K\xff", b"M\xff\xff", b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff",
    b"J\x00\x00\x00\x80", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"\x8a\x05\0\0\0\0\x10", b"G\x7f\xf8\0\0\0\0\0\0",
    b"G\x7f\xf0\0\0\0\0\0\0", b"G\x7e\x37\xe4\x3c\x88\0\x75\x9c", b"X\x00\x00\x00\x00", b"X\x02\x00\x00\x00f8",
    b"X\x02\x00\x00\x00O8", b"X\x03\x00\x00\x00\xed\xa0\x80", b"X\xff\xff\xff\x7f", b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff",
    b"h\x00", b"h\x02", b"h\x05", b"q\x00", b"q\x01", b"\x96\xff\xff\xff\xff\x0f\0\0\0", b"\x8e\xff\xff\xff\xff\x0f\0\0\0",
    b"\x95\xff\xff\xff\xff\x0f\0\0\0", b"\x80\x02", b"\x80\x05", b".", b"\x82\x01",
]  # fmt: skip
ACTIONS = ("flip", "flip", "fill", "insert", "delete", "cut", "repeat", "reverse", "zero")
EDITS = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 9999), st.sampled_from([1, 1, 4, 32]), st.integers(0, 255)),
    min_size=1,
    max_size=3,
)


def damaged(whole: Any, edits: list, filler: Callable[[int], Any] = lambda byte: bytes([byte])) -> Any:
    """`whole` (bytes, or a list of operations) after some edits; `filler` makes what is inserted, of the same type."""
    for action, where, length, byte in edits:
        start = where * len(whole) // 10000
        block, rest = whole[start : start + length], whole[start + length :]
        if action == "flip":
            is_bytes = isinstance(whole, bytes) and block
            block = (bytes([block[0] ^ 1 << byte % 8]) if is_bytes else filler(byte)) + block[1:]
        else:
            block = {
                "fill": filler(byte) * len(block),
                "insert": filler(byte) + block,
                "delete": whole[:0],
                "cut": whole[:0],
                "repeat": block + block,
                "reverse": block[::-1],
                "zero": filler(0) * len(block),
            }[action]
        whole = whole[:start] + block + (whole[:0] if action == "cut" else rest)
    return whole


def damaged_pickle(whole: bytes, edits: list) -> bytes:
    """The same edits to the list of operations."""
    starts = [position for _, _, position in pickletools.genops(whole)] + [len(whole)]
    operations = [whole[start:stop] for start, stop in itertools.pairwise(starts)]
    edits = [(*edit[:3], edit[3] * 7919) for edit in edits]
    return b"".join(damaged(operations, edits, lambda byte: [OPERATIONS[byte % len(OPERATIONS)]]))


def with_pickle(archive: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The checkpoint with its pickle changed and the checksums right."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as before, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as after:
        for name in before.namelist():
            content = before.read(name)
            after.writestr(name, change(content) if name.endswith("data.pkl") else content)
    return stream.getvalue()
