"""The network of an index: drawings and photos → unit vectors. It imports no PyTorch: OpenVINO searches without it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.images import Fit
from models.engine import BF16, FLOAT32, Engine
from models.names import PHOTO, SKETCH
from utils.cores import has_bf16
from utils.errors import InputError


@dataclass(frozen=True)
class Computing:
    """How to compute vectors: the options --device and --precision; folder: where a converted network is kept, if anywhere.

    images: how many are to be embedded; where no conversion can be kept, few do not repay one.
    """

    device: str = "auto"
    precision: str = "auto"
    folder: Path | None = None
    images: int | None = None


DEFAULT = Computing()


@dataclass(frozen=True)
class Network:
    """Embeds images of `side` pixels as vectors of `width` numbers. `digest` identifies its weights.

    weights: where they are: the absolute path of a file, or `imagenet` (download).
    untrained: value of `--arch` of a trunk with its initial weights; None if the weights are a trained checkpoint. licence: that
    of initial weights, where timm states one.
    """

    engine: Engine
    digest: str
    weights: str
    untrained: str | None = None
    licence: str | None = None

    @property
    def side(self) -> int:
        return self.engine.preprocessing.image_size

    @property
    def width(self) -> int:
        return self.engine.width

    @property
    def fit(self) -> Fit | None:
        """How `datasets.images.decode` makes a photo as large as the network expects."""
        return self.engine.preprocessing.fit

    def embed_sketches(self, images: np.ndarray) -> np.ndarray:
        """(B, side, side, 3) uint8 → (B, width) float32, L2-normalised."""
        return self.engine.embed(images, SKETCH)

    def embed_photos(self, images: np.ndarray) -> np.ndarray:
        """As `embed_sketches`."""
        return self.engine.embed(images, PHOTO)


def precision_on_cpu(precision: str) -> str:
    """FLOAT32 or BF16; `auto` is BF16 where the CPU has it natively. Raises InputError for BF16 elsewhere."""
    if precision == BF16 and not has_bf16():
        raise InputError("--precision bf16: this CPU is not known to compute in bfloat16; use --precision auto")
    return precision if precision != "auto" else BF16 if has_bf16() else FLOAT32
