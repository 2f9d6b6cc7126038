"""A campaign of damaged and hostile files: each is refused by name or read right; no code runs, nothing hangs or is printed.

FAULTS=1000 pytest -s tests/faults      files of each kind (default 60), and how many were refused and read
FAULTS_SEED=7                           other files than usual
"""

import contextlib
import io
import itertools
import os
import pickle
import pickletools
import resource
import signal
import sys
import types
import warnings
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from datasets.catalog import SKETCHY
from datasets.file_lists import Split, read_class_names, read_list, read_semantic_mask
from datasets.images import decode
from losses.memory_bank import MemoryBank
from tests.helpers.tiny_dataset import SEEN
from training.checkpointing import restore
from utils.checkpoints import load_state, read_checkpoint, read_tensors, write_checkpoint
from utils.errors import InputError

EXAMPLES, SEED = int(os.environ.get("FAULTS", 40)), os.environ.get("FAULTS_SEED")
SECONDS, MEGABYTES = 20, 500  # what one file may take
COUNTS: dict[str, Counter] = defaultdict(Counter)
LEAVES_THE_PROCESS = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "webbrowser.", "tempfile.", "pty.")
HARMLESS = ("os.listdir", "os.scandir", "os.putenv", "os.unsetenv")


class Hang(BaseException):
    """Not to be caught by what reads a file."""


class Watch:
    """Hears of everything Python audits, once it is installed, and notes what leaves the process while it is `on`."""

    on = False
    heard: tuple[str, ...] = ()
    is_installed = False

    def __call__(self, event: str, arguments: tuple) -> None:
        if not self.on:
            return
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and arguments[0] != os.devnull
        if writes or (event.startswith(LEAVES_THE_PROCESS) and event not in HARMLESS):
            self.heard += (f"{event}{arguments}",)


WATCH = Watch()


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Fails if the block warns, takes long or much memory, writes a file, starts a program or opens a connection."""
    if not WATCH.is_installed:
        sys.addaudithook(WATCH)
        WATCH.is_installed = True

    def stop(*_) -> None:
        raise Hang

    before, WATCH.heard = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, ()
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        WATCH.on = True
        try:
            yield
        finally:
            WATCH.on = False
            signal.alarm(0)
            taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert not WATCH.heard
            assert not [str(warning.message) for warning in said]
            assert taken < MEGABYTES * 1024


@pytest.fixture(scope="module", autouse=True)
def report():
    yield
    for kind, counts in COUNTS.items():
        print(f"\n{kind:28s} {sum(counts.values()):6d} files  {counts['refused']:6d} refused  {counts['read']:6d} read", end="")


def campaign(test: Callable) -> Callable:
    """Run a test on EXAMPLES mutations, the same ones each time unless another seed is asked for."""
    chosen = settings(
        max_examples=EXAMPLES,
        derandomize=SEED is None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )(test)
    return chosen if SEED is None else seed(int(SEED))(chosen)


def try_file(kind: str, path: Path, read: Callable[[Path], object]) -> object:
    """What `read` gives, or None if it refuses the file in one line that names it."""
    result = None
    with guarded():
        try:
            result = read(path)
        except InputError as error:
            refusal = str(error)
    if result is None:
        assert path.name in refusal
        assert "\n" not in refusal
    COUNTS[kind]["refused" if result is None else "read"] += 1
    return result


@st.composite
def edits(draw) -> list[tuple[str, float, float, int]]:
    """What to do, where (as a share of the whole), with how much or whither, and with which byte."""
    share = st.integers(0, 9999).map(lambda number: number / 10000)
    action = st.sampled_from(["flip", "flip", "set", "cut", "delete", "insert", "repeat", "swap", "zero"])
    return draw(st.lists(st.tuples(action, share, share, st.integers(0, 255)), min_size=1, max_size=3))


def mutated(whole, changes, filler: Callable[[int], object] = lambda byte: bytes([byte])):
    """`whole` (bytes, or a list of parts) after some edits; `filler` makes what is put in, of the same kind."""
    for action, where, other, byte in changes:
        first, second = sorted((int(where * len(whole)), int(other * len(whole))))
        block = slice(first, min(second, first + 64))
        if action == "flip" and isinstance(whole, bytes) and whole:
            whole = whole[:first] + bytes([whole[first] ^ (1 << byte % 8)]) + whole[first + 1 :]
        elif action in ("flip", "set"):
            whole = whole[:first] + filler(byte) + whole[first + 1 :]
        elif action == "cut":
            whole = whole[:second]
        elif action == "delete":
            whole = whole[: block.start] + whole[block.stop :]
        elif action == "insert":
            whole = whole[:first] + filler(byte) * (1 + byte % 4) + whole[first:]
        elif action == "repeat":
            whole = whole[:second] + whole[block] + whole[second:]
        elif action == "swap":
            length = min(32, second - first, len(whole) - second)
            a, b = whole[first : first + length], whole[second : second + length]
            whole = whole[:first] + b + whole[first + length : second] + a + whole[second + length :]
        elif action == "zero":
            whole = whole[: block.start] + filler(0) * (block.stop - block.start) + whole[block.stop :]
    return whole


# What to put into a pickle: calls, state, numbers out of range, and names from within and without what is admitted.
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
PARTS = [b"c%s\n%s\n" % tuple(name.encode().split()) for name in NAMES] + [
    b"R", b"b", b"\x81", b"o", b"(", b"t", b"0", b"1", b"2", b"N", b"\x88", b"]", b"}", b")", b"\x8f", b"\x85", b"\x86", b"\x87",
    b"a", b"e", b"s", b"u", b"Q", b"\x93", b"K\x00", b"K\xff", b"M\xff\xff", b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff",
    b"J\x00\x00\x00\x80", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"\x8a\x05\0\0\0\0\x10", b"G\x7f\xf8\0\0\0\0\0\0",
    b"G\x7f\xf0\0\0\0\0\0\0", b"G\x7e\x37\xe4\x3c\x88\0\x75\x9c", b"X\x00\x00\x00\x00", b"X\x02\x00\x00\x00f8",
    b"X\x02\x00\x00\x00O8", b"X\x03\x00\x00\x00\xed\xa0\x80", b"X\xff\xff\xff\x7f", b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff",
    b"h\x00", b"h\x02", b"h\x05", b"q\x00", b"q\x01", b"\x96\xff\xff\xff\xff\x0f\0\0\0", b"\x8e\xff\xff\xff\xff\x0f\0\0\0",
    b"\x95\xff\xff\xff\xff\x0f\0\0\0", b"\x80\x02", b"\x80\x05", b".", b"\x82\x01",
]  # fmt: skip


def mutated_pickle(whole: bytes, changes) -> bytes:
    """The same edits to the list of operations."""
    starts = [position for _, _, position in pickletools.genops(whole)] + [len(whole)]
    parts = [whole[start:stop] for start, stop in itertools.pairwise(starts)]
    changed = mutated(parts, [(*edit[:3], edit[3] * 7919) for edit in changes], lambda byte: [PARTS[byte % len(PARTS)]])
    return b"".join(changed)


def with_record(archive: bytes, ending: str, change: Callable[[bytes], bytes]) -> bytes:
    """The archive with one record changed, and its checksum right."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as before, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as after:
        for name in before.namelist():
            content = before.read(name)
            after.writestr(name, change(content) if name.endswith(ending) else content)
    return stream.getvalue()


# checkpoints


class Batches:
    """What is asked of batches when a state within an epoch is taken up."""

    order = types.SimpleNamespace(identity=[18, 36, 2, 4, 1])

    def __len__(self) -> int:
        return 9


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "checkpoint.pth.tar"
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    step(model, optimizer)
    extra = {
        "options": {"lr": 1e-4, "savedir": "runs"},
        "random_state": {"cpu": torch.get_rng_state()},
        "number": np.float64(0.5),
        "progress": {
            "steps": 2,
            "sums": torch.ones(5),
            "bank": MemoryBank(3, 2, 4).state_dict(),
            "order": Batches.order.identity,
        },
    }
    write_checkpoint(path, epoch=3, arch="small", state=model.state_dict(), best=0.5, optimizer=optimizer.state_dict(), **extra)
    return path


def old_form(checkpoint: Path) -> bytes:
    stream = io.BytesIO()
    content = torch.load(checkpoint, weights_only=False)
    torch.save(content, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def taken_up(path: Path) -> dict:
    """Read by each way a checkpoint is read; what was taken up must do for another step."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    training = types.SimpleNamespace(student=model, device=torch.device("cpu"), optimizer=optimizer, bank=MemoryBank(3, 2, 4))
    content = read_checkpoint(path)
    tensors = read_tensors(path)
    load_state(network(), content["state_dict"], path)
    before = torch.get_rng_state()
    try:
        progress = restore(path, read_checkpoint(path), training, Batches())  # it keeps what it is given
    finally:
        torch.set_rng_state(before)
    assert progress.epochs >= 0 and progress.steps in range(10) and np.isfinite(progress.best)
    assert all(type(value) in (torch.Tensor, nn.Parameter) and value.device.type == "cpu" for value in tensors.values())
    step(model, optimizer)
    return content


def same(first: object, second: object) -> bool:
    if type(first) is not type(second):
        return False
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@campaign
@given(changes=edits())
def test_a_damaged_checkpoint_is_refused_or_is_what_was_written(checkpoint, tmp_path_factory, capfd, changes):
    whole, path = checkpoint.read_bytes(), tmp_path_factory.getbasetemp() / "mutated.pth.tar"
    content = mutated(whole, changes)
    assume(content != whole)
    path.write_bytes(content)
    found = try_file("checkpoint", path, taken_up)
    assert found is None or same(found, read_checkpoint(checkpoint))
    assert not capfd.readouterr().err


@campaign
@given(changes=edits())
def test_an_old_damaged_checkpoint_is_refused_or_is_one(checkpoint, tmp_path_factory, capfd, changes):
    path = tmp_path_factory.getbasetemp() / "mutated.pth.tar"
    path.write_bytes(mutated(old_form(checkpoint), changes))
    try_file("checkpoint, old form", path, taken_up)
    assert not capfd.readouterr().err


@campaign
@given(changes=edits())
def test_a_checkpoint_of_another_pickle_is_refused_or_is_one(checkpoint, tmp_path_factory, capfd, changes):
    path = tmp_path_factory.getbasetemp() / "mutated.pth.tar"
    path.write_bytes(with_record(checkpoint.read_bytes(), "data.pkl", lambda content: mutated(content, changes)))
    try_file("checkpoint, bytes of pickle", path, taken_up)
    path.write_bytes(with_record(checkpoint.read_bytes(), "data.pkl", lambda content: mutated_pickle(content, changes)))
    try_file("checkpoint, steps of pickle", path, taken_up)
    assert not capfd.readouterr().err


@campaign
@given(changes=edits())
def test_damaged_safetensors_are_refused_or_are_tensors(tmp_path_factory, capfd, changes):
    save = pytest.importorskip("safetensors.torch").save
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    path.write_bytes(mutated(save(network().state_dict()), changes))
    found = try_file("safetensors", path, read_tensors)
    assert found is None or all(type(value) is torch.Tensor for value in found.values())
    assert not capfd.readouterr().err


# lists, class names and masks


@pytest.fixture(scope="module")
def split(shared_dataset) -> Split:
    return Split(SKETCHY, shared_dataset, "zeroshot1")


def assert_is_list(found, classes: int) -> None:
    assert len(found.paths) == len(found.labels) > 0
    assert found.labels.dtype == np.int64 and 0 <= found.labels.min() <= found.labels.max() < classes
    root = found.root.resolve()
    assert all((root / path).exists() and (root / path).resolve().is_relative_to(root) for path in found.paths)


@campaign
@given(changes=edits(), kind=st.sampled_from(["photos", "sketches"]))
def test_a_damaged_list_is_refused_or_is_one(split, tmp_path_factory, capfd, changes, kind):
    path = tmp_path_factory.getbasetemp() / "mutated_filelist.txt"
    path.write_bytes(mutated(getattr(split, kind)("train").source.read_bytes(), changes))
    found = try_file(f"list of {kind}", path, lambda path: read_list(path, split.root, len(SEEN)))
    assert found is None or assert_is_list(found, len(SEEN)) is None
    assert not capfd.readouterr().err


@campaign
@given(changes=edits())
def test_damaged_class_names_are_refused_or_are_names(split, tmp_path_factory, capfd, changes):
    path = tmp_path_factory.getbasetemp() / "mutated_cid.txt"
    path.write_bytes(mutated((split.folder / "cname_cid.txt").read_bytes(), changes))
    found = try_file("class names", path, read_class_names)
    assert found is None or (len(set(found)) == len(found) > 0 and all(isinstance(name, str) and name for name in found))
    assert not capfd.readouterr().err


def assert_is_mask(rows: np.ndarray) -> None:
    assert rows.dtype == np.float32 and rows.ndim == 2 and len(rows) == len(SEEN) and rows.shape[1] > 0
    assert ((rows >= 0) & (rows <= 1)).all()


@campaign
@given(changes=edits(), protocol=st.sampled_from([0, 2, 4, 5]), is_array=st.booleans())
def test_a_damaged_mask_is_refused_or_is_one(tmp_path_factory, capfd, changes, protocol, is_array):
    path = tmp_path_factory.getbasetemp() / "mutated_mask.pickle"
    rows = np.random.default_rng(0).uniform(0, 1, (len(SEEN), 20))
    whole = pickle.dumps({i: row if is_array else row.tolist() for i, row in enumerate(rows)}, protocol)
    for kind, change in (("mask, bytes", mutated), ("mask, steps of pickle", mutated_pickle)):
        path.write_bytes(change(whole, changes))
        found = try_file(kind, path, lambda path: read_semantic_mask(path, len(SEEN)))
        assert found is None or assert_is_mask(found) is None
    assert not capfd.readouterr().err


# images


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    """A photo as each kind of file that is read, with EXIF and a palette among them."""
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((40, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {}
    for name, kind, image, options in (
        ("JPEG", "JPEG", photo, {"exif": exif}),
        ("JPEG, progressive CMYK", "JPEG", photo.convert("CMYK"), {"progressive": True}),
        ("PNG", "PNG", photo, {"exif": exif}),
        ("PNG, palette", "PNG", photo.quantize(16), {"transparency": 3}),
        ("PNG, 16 bits", "PNG", Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257), {}),
        ("GIF", "GIF", photo, {"save_all": True, "append_images": [photo.rotate(90)]}),
        ("BMP", "BMP", photo, {}),
        ("WEBP", "WEBP", photo, {"exif": exif}),
        ("TIFF", "TIFF", photo, {"compression": "tiff_lzw"}),
        ("TIFF, JPEG within", "TIFF", photo, {"compression": "jpeg"}),
        ("PPM", "PPM", photo, {}),
    ):
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        found[name] = stream.getvalue()
    return found


KINDS = ["JPEG", "JPEG, progressive CMYK", "PNG", "PNG, palette", "PNG, 16 bits", "GIF", "BMP", "WEBP", "TIFF", "PPM"]
KINDS.append("TIFF, JPEG within")


@campaign
@given(changes=edits())
def test_a_damaged_image_is_refused_or_is_one(images, tmp_path_factory, capfd, changes):
    path = tmp_path_factory.getbasetemp() / "mutated.jpg"
    for kind in KINDS:
        path.write_bytes(mutated(images[kind], changes))
        found = try_file(f"image, {kind}", path, lambda path: decode(path, 16))
        assert found is None or (found.shape == (16, 16, 3) and found.dtype == np.uint8)
    assert not capfd.readouterr().err


# pickles that call code


def hostile_pickles(canary: Path) -> dict[str, bytes]:
    """Each makes a folder at `canary` if Python's own unpickler reads it, by one operation or another."""
    name = str(canary).encode()
    text = b"X" + len(name).to_bytes(4, "little") + name
    short = b"\x8c" + bytes([len(name)]) + name
    return {
        "REDUCE": b"\x80\x02cos\nmkdir\n" + text + b"\x85R.",
        "REDUCE of posix": b"\x80\x02cposix\nmkdir\n" + text + b"\x85R.",
        "INST": b"(S'" + name + b"'\nios\nmkdir\n.",
        "OBJ": b"(cos\nmkdir\n" + text + b"o.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93" + short + b"\x85R.",
        "NEWOBJ": b"\x80\x02cfunctools\npartial\ncos\nmkdir\n\x85\x81" + text + b"\x85R.",
        "NEWOBJ_EX": b"\x80\x04cfunctools\npartial\ncos\nmkdir\n\x85}\x92" + short + b"\x85R.",
        "map": b"\x80\x02cbuiltins\nlist\ncbuiltins\nmap\ncos\nmkdir\n]" + text + b"a\x86R\x85R.",
        "eval": b"\x80\x02cbuiltins\neval\nX" + len(b"__import__('os').mkdir('" + name + b"')").to_bytes(4, "little")
        + b"__import__('os').mkdir('" + name + b"')\x85R.",
        "getattr": b"\x80\x02cbuiltins\ngetattr\ncbuiltins\n__import__\nX\x02\0\0\0os\x85RX\x05\0\0\0mkdir\x86R"
        + text + b"\x85R.",
        "BUILD": b"\x80\x02ccollections\nOrderedDict\n)R}X\x03\0\0\0runcos\nmkdir\n" + text + b"\x85Rsb.",
        "in a dict": b"\x80\x02}K\x00cos\nmkdir\n" + text + b"\x85Rs.",
    }  # fmt: skip


NAMES_OF_HOSTILE = list(hostile_pickles(Path("/")))


@pytest.mark.parametrize("name", NAMES_OF_HOSTILE)
def test_pythons_own_unpickler_would_run_the_code(tmp_path, name):
    """Or the tests below would show nothing."""
    with contextlib.suppress(Exception):
        pickle.loads(hostile_pickles(tmp_path / "canary")[name])
    assert (tmp_path / "canary").is_dir()


@pytest.mark.parametrize("name", NAMES_OF_HOSTILE)
@pytest.mark.parametrize("form", ["checkpoint", "old checkpoint", "bare checkpoint", "mask"])
def test_no_code_is_run(checkpoint, tmp_path, name, form):
    content = hostile_pickles(tmp_path / "canary")[name]
    path = tmp_path / {"mask": "evil.pickle"}.get(form, "evil.pth.tar")
    if form == "checkpoint":
        path.write_bytes(with_record(checkpoint.read_bytes(), "data.pkl", lambda _: content))
    elif form == "old checkpoint":
        start = io.BytesIO(old_form(checkpoint))
        for _ in range(3):
            pickle.load(start)
        path.write_bytes(start.getvalue()[: start.tell()] + content)
    else:
        path.write_bytes(content)
    read = (lambda path: read_semantic_mask(path, 1)) if form == "mask" else taken_up
    assert try_file("pickle that calls code", path, read) is None
    assert not (tmp_path / "canary").exists()


# whole scripts

TRAIN, TEST = "train_cse_resnet_sketchy_ext.py", "test_cse_resnet_sketchy_zeroshot.py"
SMALL = ["--device", "cpu", "--image_size", "32", "--num_workers", "0", "--batch_size", "6", "--amp", "off"]


def assert_is_one_line_about(name: str, ended: tuple[int, str, str]) -> None:
    code, _, err = ended
    line = err.rpartition("\r")[2]  # what is left when a progress bar is gone
    assert code == 2
    assert name in line and line.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err


def test_a_script_ends_on_a_damaged_list_or_mask_in_one_line(tiny_dataset, tmp_path, run_script):
    split = Split(SKETCHY, tiny_dataset, "zeroshot1")
    source, mask = split.photos("train").source, split.folder / "cid_mask.pickle"
    words = [TRAIN, *SMALL, "--pretrained_weights", "none", "--epochs", "1", "--data_root", tiny_dataset, "-s", tmp_path / "runs"]
    whole = source.read_bytes()
    source.write_bytes(whole[:200] + b"\0" + whole[200:])
    assert_is_one_line_about(source.name, run_script(*words))
    source.write_bytes(whole)
    mask.write_bytes(hostile_pickles(tmp_path / "canary")["STACK_GLOBAL"])
    assert_is_one_line_about(mask.name, run_script(*words))
    assert not (tmp_path / "canary").exists()


def test_a_script_ends_on_a_damaged_checkpoint_in_one_line(checkpoint, tiny_dataset, tmp_path, run_script):
    whole, path = checkpoint.read_bytes(), tmp_path / "damaged.pth.tar"
    words = [TEST, *SMALL, "--data_root", tiny_dataset, "--checkpoint", path]
    for content in (
        whole[:-100],
        whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:],
        whole,
    ):  # the last is not of the network
        path.write_bytes(content)
        assert_is_one_line_about(path.name, run_script(*words))


def test_a_script_ends_on_a_damaged_image_in_one_line(tiny_dataset, tmp_path, run_script):
    image = tiny_dataset / "Sketchy/photo/fish/3.jpg"
    image.write_bytes(image.read_bytes()[:-300])
    words = [*SMALL, "--pretrained_weights", "none", "--epochs", "1", "--data_root", tiny_dataset, "-s", tmp_path / "runs"]
    assert_is_one_line_about("fish/3.jpg", run_script(TRAIN, *words))
