"""Damaged and hostile files: each is refused in one line that names it or read correctly; no code in it runs, nothing hangs.

FAULTS=1000 pytest -s tests/faults      files of each kind (default 40), and how many were refused and read
FAULTS_SEED=7                           other files than by default
"""

import contextlib
import io
import os
import pickle
import types
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from PIL import Image
from torch import nn

from datasets.catalog import SKETCHY
from datasets.file_lists import Split, read_class_names, read_list, read_semantic_mask
from datasets.images import decode
from losses.memory_bank import MemoryBank
from tests.helpers.guard import guarded
from tests.helpers.hostile import EDITS, damaged, damaged_pickle, hostile_pickles, with_pickle
from tests.helpers.tiny_dataset import SEEN
from training.checkpointing import restore
from utils.checkpoints import load_state, read_checkpoint, read_tensors, write_checkpoint
from utils.errors import InputError

pytestmark = pytest.mark.slow
EXAMPLES, SEED = int(os.environ.get("FAULTS", 40)), os.environ.get("FAULTS_SEED")
COUNTS: dict[str, Counter] = defaultdict(Counter)
IMAGES = {  # format, mode, options of Pillow
    "JPEG": ("JPEG", "RGB", {}),
    "JPEG, progressive CMYK": ("JPEG", "CMYK", {"progressive": True}),
    "PNG": ("PNG", "RGB", {}),
    "PNG, palette": ("PNG", "P", {"transparency": 3}),
    "PNG, 16 bits": ("PNG", "I;16", {}),
    "GIF": ("GIF", "RGB", {"save_all": True, "append_images": [Image.new("RGB", (40, 30))]}),
    "BMP": ("BMP", "RGB", {}),
    "WEBP": ("WEBP", "RGB", {}),
    "TIFF": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "TIFF, JPEG within": ("TIFF", "RGB", {"compression": "jpeg"}),
    "PPM": ("PPM", "RGB", {}),
}
MASKS = [f"mask, {what}, protocol {number}" for number in (0, 2, 4, 5) for what in ("bytes", "operations")]
CHECKPOINTS = ["checkpoint", "checkpoint, old form", "checkpoint, bytes of pickle", "checkpoint, operations of pickle"]
KINDS = [*CHECKPOINTS, "safetensors", "list of photos", "list of sketches", "class names", *MASKS, *IMAGES]


class Case(NamedTuple):
    """A kind of file: its name, a valid content, how to damage it, how to read it, and whether the result is valid."""

    name: str
    content: bytes
    damage: Callable[[bytes, list], bytes]
    read: Callable[[Path], object]
    is_valid: Callable[[object], bool]


class Batches:
    """The attributes of batches that restoring a state within an epoch reads."""

    order = types.SimpleNamespace(identity=[18, 36, 2, 4, 1])

    def __len__(self) -> int:
        return 9


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()


def read_and_resume(path: Path) -> dict:
    """Read by each way a checkpoint is read; the restored state must do for another step."""
    content, tensors, model = read_checkpoint(path), read_tensors(path), network()
    optimizer = torch.optim.Adam(model.parameters())
    step = types.SimpleNamespace(student=model, device=torch.device("cpu"), optimizer=optimizer, bank=MemoryBank(3, 2, 4))
    with torch.random.fork_rng(devices=[]):
        state = restore(path, read_checkpoint(path), step, Batches())  # changes the content
    assert state.epochs >= 0 and state.steps in range(10) and np.isfinite(state.best)
    assert all(type(value) in (torch.Tensor, nn.Parameter) and value.device.type == "cpu" for value in tensors.values())
    load_state(network(), content["state_dict"], path)
    train_step(model, optimizer)
    return content


def same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second) and first.dtype == second.dtype
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> dict[str, bytes]:
    """The content of a checkpoint file in the present and in PyTorch's old form."""
    path = tmp_path_factory.mktemp("whole") / "checkpoint.pth.tar"
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    train_step(model, optimizer)
    progress = {"steps": 2, "sums": torch.ones(5), "bank": MemoryBank(3, 2, 4).state_dict(), "order": Batches.order.identity}
    extra = {
        "options": {"lr": 1e-4, "savedir": "runs"},
        "random_state": {"cpu": torch.get_rng_state()},
        "number": np.float64(0.5),
    }
    states = {"state": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": progress}
    write_checkpoint(path, epoch=3, arch="small", best=0.5, **states, **extra)
    stream = io.BytesIO()
    torch.save(torch.load(path, weights_only=False), stream, _use_new_zipfile_serialization=False)
    return {"new": path.read_bytes(), "old": stream.getvalue()}


@pytest.fixture(scope="module")
def cases(checkpoint, shared_dataset, tmp_path_factory) -> dict[str, Case]:
    path = tmp_path_factory.mktemp("whole") / "checkpoint.pth.tar"
    path.write_bytes(checkpoint["new"])
    written = read_checkpoint(path)
    resumed = ("damaged.pth.tar", checkpoint["new"])
    found = {
        "checkpoint": Case(*resumed, damaged, read_and_resume, lambda content: same(content, written)),
        "checkpoint, old form": Case("damaged.pth.tar", checkpoint["old"], damaged, read_and_resume, bool),
    }
    for name, damage in (("bytes", damaged), ("operations", damaged_pickle)):
        change = lambda whole, edits, damage=damage: with_pickle(whole, lambda content: damage(content, edits))  # noqa: E731
        found[f"checkpoint, {name} of pickle"] = Case(*resumed, change, read_and_resume, bool)

    def is_state(state):
        return all(type(value) is torch.Tensor for value in state.values())

    tensors = pytest.importorskip("safetensors.torch").save(network().state_dict())
    found["safetensors"] = Case("damaged.safetensors", tensors, damaged, read_tensors, is_state)

    split = Split(SKETCHY, shared_dataset, "zeroshot1")
    root = split.root.resolve()

    def is_list(files):
        inside = all((root / path).exists() and (root / path).resolve().is_relative_to(root) for path in files.paths)
        return inside and len(files.paths) == len(files.labels) > 0 and set(files.labels.tolist()) <= set(range(len(SEEN)))

    for kind, files in (("photos", split.photos("train")), ("sketches", split.sketches("train"))):
        read = lambda path: read_list(path, split.root, len(SEEN))  # noqa: E731
        found[f"list of {kind}"] = Case("damaged_filelist.txt", files.source.read_bytes(), damaged, read, is_list)
    content = (split.folder / "cname_cid.txt").read_bytes()
    found["class names"] = Case(
        "damaged_cid.txt", content, damaged, read_class_names, lambda names: len(set(names)) == len(names) > 0 and all(names)
    )

    def is_mask(rows):
        return (
            rows.dtype == np.float32 and len(rows) == len(SEEN) and rows.shape[1] > 0 and bool(((rows >= 0) & (rows <= 1)).all())
        )

    rows = np.random.default_rng(0).uniform(0, 1, (len(SEEN), 20))
    for name in MASKS:
        protocol = int(name[-1])
        content = pickle.dumps(dict(enumerate(rows if protocol in (2, 5) else rows.tolist())), protocol)
        damage = damaged_pickle if "operations" in name else damaged
        found[name] = Case("damaged_mask.pickle", content, damage, lambda path: read_semantic_mask(path, len(SEEN)), is_mask)

    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((40, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, (form, mode, options) in IMAGES.items():
        stream = io.BytesIO()
        image = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257) if mode == "I;16" else photo.convert(mode)
        image.save(stream, form, **({"exif": exif} if name in ("JPEG", "PNG", "WEBP") else {}), **options)
        found[name] = Case(
            "damaged.jpg", stream.getvalue(), damaged, lambda path: decode(path, 16), lambda pixels: pixels.shape == (16, 16, 3)
        )
    assert list(found) == KINDS
    return found


@pytest.fixture(scope="module", autouse=True)
def report():
    yield
    for kind, counts in COUNTS.items():
        print(f"\n{kind:36s} {sum(counts.values()):6d} files  {counts['refused']:6d} refused  {counts['read']:6d} read", end="")


def try_file(kind: str, path: Path, read: Callable[[Path], object]) -> object:
    """The result of `read`, or None if it refuses the file in one line that names it."""
    with guarded():
        try:
            result = read(path)
        except InputError as error:
            result, refusal = None, str(error)
    if result is None:
        assert path.name in refusal and "\n" not in refusal
    COUNTS[kind]["refused" if result is None else "read"] += 1
    return result


def campaign(test: Callable) -> Callable:
    """Run a property test on EXAMPLES examples, always the same ones unless a seed is set."""
    phases = [Phase.generate, Phase.shrink]
    fixed = {"derandomize": SEED is None, "database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}
    chosen = settings(max_examples=EXAMPLES, phases=phases, **fixed)(test)
    return chosen if SEED is None else seed(int(SEED))(chosen)


@pytest.mark.parametrize("kind", KINDS)
@campaign
@given(edits=EDITS)
def test_a_damaged_file_is_refused_or_read_correctly(cases, tmp_path_factory, capfd, kind, edits):
    case = cases[kind]
    path = tmp_path_factory.getbasetemp() / case.name
    path.write_bytes(case.damage(case.content, edits))
    found = try_file(kind, path, case.read)
    assert found is None or case.is_valid(found)
    assert not capfd.readouterr().err


@pytest.mark.parametrize("name", hostile_pickles(Path("/")))
def test_no_code_in_a_pickle_runs(checkpoint, tmp_path, name):
    canary = tmp_path / "canary"
    content = hostile_pickles(canary)[name]
    start = io.BytesIO(checkpoint["old"])
    for _ in range(3):
        pickle.load(start)
    for file, whole, read in (
        ("hostile.pth.tar", with_pickle(checkpoint["new"], lambda _: content), read_and_resume),
        ("old.pth.tar", checkpoint["old"][: start.tell()] + content, read_and_resume),
        ("bare.pth.tar", content, read_and_resume),
        ("mask.pickle", content, lambda path: read_semantic_mask(path, 1)),
    ):
        (tmp_path / file).write_bytes(whole)
        assert try_file("pickle that calls code", tmp_path / file, read) is None
    assert not canary.exists()
    with contextlib.suppress(Exception):
        pickle.loads(content)
    assert canary.is_dir(), "Python's unpickler does not run it: the test proves nothing"
