"""The engine that computes embeddings: PyTorch on a GPU, OpenVINO on a CPU where it is installed, else PyTorch.

This file and `models.openvino_engine` import no PyTorch, so that a query need not wait for it.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from datasets.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

FLOAT32, BF16, FP16 = "float32", "bf16", "fp16"


def precision_of(amp: str) -> str:
    """The precision that a resolved `--amp` (bf16, fp16 or off) names."""
    return FLOAT32 if amp == "off" else amp


class Engine(ABC):
    """A network ready to embed images as vectors of `width` numbers and length 1.

    name: library and version. precision: what it computes in, FLOAT32, BF16 or FP16.
    """

    name: str
    precision: str
    width: int
    preprocessing: Preprocessing

    @abstractmethod
    def embed(self, images: np.ndarray, domain: float) -> np.ndarray:
        """images (B, S, S, 3) uint8 RGB of S = preprocessing.image_size, all SKETCH or all PHOTO → (B, width) float32."""

    @abstractmethod
    def embed_tensor(self, images: "torch.Tensor", domain: float) -> "torch.Tensor":
        """images (B, 3, S, S) uint8 RGB on the CPU → (B, width) float32 on the engine's device."""

    def start(self) -> None:  # noqa: B027  # most have nothing to do
        """Do now what would otherwise delay the first images."""

    def __str__(self) -> str:
        return f"{self.name}, {self.precision}"


class LazyEngine(Engine):
    """An engine that `start` opens when something is first embedded: it may take seconds, and cached vectors need none."""

    def __init__(self, width: int, preprocessing: Preprocessing, start: Callable[[], Engine]):
        self.width, self.preprocessing, self._start = width, preprocessing, start

    @functools.cached_property
    def started(self) -> Engine:
        engine = self._start()
        del self._start  # it holds the network that was converted
        return engine

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.started.name

    @property
    def precision(self) -> str:  # type: ignore[override]
        return self.started.precision

    def start(self) -> None:
        self.started  # noqa: B018

    def embed(self, images: np.ndarray, domain: float) -> np.ndarray:
        return self.started.embed(images, domain)

    def embed_tensor(self, images: "torch.Tensor", domain: float) -> "torch.Tensor":
        return self.started.embed_tensor(images, domain)
