"""OpenVINO as the engine on a CPU: a network that was converted once, read from a folder of `network.xml` and `network.bin`."""

import functools
import json
import mmap
import os
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.preprocessing import Preprocessing
from models.engine import BF16, FLOAT32, Engine
from utils.cores import compute_threads
from utils.errors import InputError
from utils.files import atomic_folder, read_json
from utils.fingerprints import fingerprint, versions_of

if TYPE_CHECKING:
    import torch

FOLDER = "engine"  # within an index
FACTS, LARGEST_FACTS = "engine.json", 1 << 16
FILES = "network.xml", "network.bin"
CODE = (  # a conversion by other code, or of a trunk by another timm, is made again
    "datasets/views.py",
    "models/cse_resnet.py",
    "models/domain_tag.py",
    "models/embedding.py",
    "models/engines.py",
    "models/pixels.py",
    "models/timm_trunk.py",
)
CHUNK = 16  # images at once: the activations of more leave the cache
PRECISIONS = {FLOAT32: "f32", BF16: "bf16"}


@functools.cache
def openvino_version() -> str | None:
    """The version of OpenVINO; None if it cannot be imported."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # else conversions are reported to its makers
    try:
        import openvino
    except Exception:  # besides ImportError what its native libraries raise
        return None
    return openvino.__version__.split("-")[0]


class OpenVinoEngine(Engine):
    """model: an `openvino.Model` that takes images (B, S, S, 3) uint8 and domains (B,) float32."""

    def __init__(self, model: Any, width: int, preprocessing: Preprocessing, precision: str):
        import openvino

        self.name, self.width, self.preprocessing = f"OpenVINO {openvino_version()}", width, preprocessing
        settings = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": compute_threads(),
            "ENABLE_CPU_PINNING": False,  # two processes would be tied to the same cores
        }
        self._compiled = _core().compile_model(model, "CPU", settings)
        computes_bf16 = self._compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.bf16
        self.precision = BF16 if computes_bf16 else FLOAT32  # a CPU without bf16 ignores the hint

    def embed(self, images: np.ndarray, domain: float) -> np.ndarray:
        vectors = np.empty((len(images), self.width), np.float32)
        for start in range(0, len(images), CHUNK):
            chunk = np.ascontiguousarray(images[start : start + CHUNK])
            domains = np.full(len(chunk), domain, np.float32)
            vectors[start : start + CHUNK] = self._compiled([chunk, domains], share_inputs=True)[0]
        return vectors

    def embed_tensor(self, images: "torch.Tensor", domain: float) -> "torch.Tensor":
        import torch

        return torch.from_numpy(self.embed(images.permute(0, 2, 3, 1).numpy(), domain))


def kept_engine(folder: Path, digest: str, side: int, precision: str) -> OpenVinoEngine | None:
    """The engine that `keep_engine` kept of the network with this digest, for images of `side` pixels.

    None if there is none, or it is of another network, another version of OpenVINO, timm (if that is installed) or the
    conversion, or damaged.
    """
    try:
        facts = read_json(folder / FACTS, LARGEST_FACTS)
        if facts["made_of"] != _made_of(digest) or facts["crc32"] != _checksums(folder):
            return None
        if _timm_version() not in (None, facts["timm"]):
            return None
        preprocessing = Preprocessing.from_dict(facts["preprocessing"])
        if preprocessing.image_size != side:
            return None
        model = _core().read_model(folder / "network.xml")
        return OpenVinoEngine(model, int(facts["width"]), preprocessing, precision)
    except Exception:  # whatever a damaged file leads to
        return None


def can_keep(folder: Path) -> bool:
    """Whether a converted network can be kept in `folder`: nothing of somebody else's is there, and it can be written."""
    is_free = not folder.exists() or (folder / FACTS).is_file()
    return is_free and os.access(folder.parent, os.W_OK)


def keep_engine(folder: Path, digest: str, model: Any, width: int, preprocessing: Preprocessing) -> None:
    """Keep a converted network in `folder`, in place of an earlier one; nothing happens where nothing can be written."""
    import openvino

    if not can_keep(folder):
        return
    try:
        with atomic_folder(folder) as temporary:
            openvino.save_model(model, temporary / "network.xml", compress_to_fp16=False)
            facts = {"made_of": _made_of(digest), "timm": _timm_version(), "crc32": _checksums(temporary), "width": width}
            text = json.dumps({**facts, "preprocessing": preprocessing.as_dict()}, indent=1)
            (temporary / FACTS).write_text(text + "\n", encoding="utf-8")
    except (InputError, RuntimeError):  # OpenVINO raises RuntimeError on a full disk
        return


@functools.cache
def _core() -> Any:
    """One for the process. On CPUs with AMX each sets up a stack for signal handlers, and when one of several is freed, signals
    may be handled on freed memory."""
    openvino_version()  # imports it without its telemetry
    import openvino

    return openvino.Core()


def _made_of(digest: str) -> str:
    return fingerprint(CODE, network=digest, versions=versions_of(["openvino"]))


def _timm_version() -> str | None:
    return versions_of(["timm"])["timm"]


def _checksums(folder: Path) -> list[int]:
    """Of mapped files: reading them would take three times as long, and their size in memory."""
    checksums = []
    for name in FILES:
        with (folder / name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            checksums.append(zlib.crc32(content))
    return checksums
