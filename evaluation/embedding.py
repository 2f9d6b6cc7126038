"""Embedding lists of images with a student."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from datasets.batches import plain_batches
from datasets.file_lists import FileList
from datasets.views import normalise
from evaluation.feature_cache import FeatureCache
from models.cse_resnet import FEATURE_DIM
from models.dsn import Student
from utils.devices import autocast, uses_bf16
from utils.distributed import Distributed
from utils.progress import progress_bar


@dataclass(frozen=True)
class Embedder:
    """`embed(files, domain, title)` returns the embeddings of images, or with `pooled` their 2048-d features.

    Several processes embed a shard each.
    """

    student: Student
    device: torch.device
    image_size: int
    batch_size: int
    num_workers: int
    amp: str = "off"
    pooled: bool = False
    bar_every: int = 1  # batches between two updates of the progress bar
    cache: FeatureCache | None = None
    distributed: Distributed = field(default_factory=Distributed)

    def __call__(self, files: FileList, domain: float, title: str) -> torch.Tensor:
        """(n, d) float32 on the device, L2-normalised, in the list's order; `domain` is SKETCH or PHOTO.

        If the cache holds the features, only the main process gets them, and the others (0, d).
        """
        if self.cache is None:
            return self._embed(files, domain, title)
        is_main, bf16 = self.distributed.is_main, uses_bf16(self.device, self.amp)
        fed = {"image_size": self.image_size, "pooled": self.pooled, "bf16": bf16, "device": self.device.type}
        path = self.cache.path(files, domain=domain, **fed) if is_main else None
        cached = None if path is None else self.cache.load(path, len(files))
        if self.distributed.any(cached is not None):
            print(f"{title}: features from {path}")
            return torch.empty(0, self._width, device=self.device) if cached is None else cached.to(self.device)
        features = self._embed(files, domain, title)
        if path is not None:
            self.cache.store(path, features)
        return features

    @property
    def _width(self) -> int:
        return FEATURE_DIM if self.pooled else self.student.original_model.second_last_linear.out_features

    @torch.inference_mode()
    def _embed(self, files: FileList, domain: float, title: str) -> torch.Tensor:
        self.student.eval()
        shard = files.subset(self.distributed.own_positions(len(files)))
        batches = plain_batches(
            shard,
            side=self.image_size,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            pin_memory=self.device.type == "cuda",
        )
        features = [torch.empty(0, self._width, device=self.device)]  # the shard of a short list may be empty
        with progress_bar(len(shard), title, "img", miniters=self.bar_every * self.batch_size) as bar:
            for batch in batches if len(shard) else ():
                images = normalise(batch.images.to(self.device, non_blocking=True))
                domains = torch.full((len(images),), domain, device=self.device)
                with autocast(self.device, self.amp):
                    output = self.student(images, domains)
                features.append((output.pooled if self.pooled else output.embedding).float())
                bar.update(len(images))
        return F.normalize(self.distributed.gather(torch.cat(features), len(files)), dim=1)
