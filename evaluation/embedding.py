"""Lists of images → features of a student."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
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
    """A student and how to feed it; `pooled` gives the 2048-d feature instead of the embedding."""

    student: Student
    device: torch.device
    image_size: int
    batch_size: int
    num_workers: int
    amp: str = "off"
    pooled: bool = False
    bar_every: int = 1
    cache: FeatureCache | None = None
    distributed: Distributed | None = None

    def __call__(self, files: FileList, domain: float, title: str) -> torch.Tensor:
        """(n, d) float32 on the device, L2-normalised, in the list's order; `domain` is SKETCH or PHOTO.

        In a team the work is shared; what the cache holds only its first process gets, the others (0, d).
        """
        if self.cache is None:
            return self._embed(files, domain, title)
        distributed = self.distributed or Distributed()
        place = self._place(files, domain) if distributed.is_main else None
        features = self.cache.load(place, len(files)) if distributed.is_main else None
        if distributed.any(features is not None):
            print(f"{title}: features from {place}")
            return torch.empty(0, self._width, device=self.device) if features is None else features.to(self.device)
        features = self._embed(files, domain, title)
        if distributed.is_main:
            self.cache.store(place, features)
        return features

    def _place(self, files: FileList, domain: float) -> Path:
        return self.cache.path(
            files,
            domain=domain,
            image_size=self.image_size,
            pooled=self.pooled,
            bf16=uses_bf16(self.device, self.amp),
            device=self.device.type,
        )

    @property
    def _width(self) -> int:
        return FEATURE_DIM if self.pooled else self.student.original_model.second_last_linear.out_features

    @torch.inference_mode()
    def _embed(self, files: FileList, domain: float, title: str) -> torch.Tensor:
        distributed = self.distributed or Distributed()
        self.student.eval()
        own = files.subset(np.arange(len(files))[distributed.shard_slice(len(files))])
        batches = plain_batches(
            own,
            side=self.image_size,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            pin_memory=self.device.type == "cuda",
        )
        features = [torch.empty(0, self._width, device=self.device)]  # of a process that has no share in a short list
        with progress_bar(len(own), title, "img", miniters=self.bar_every * self.batch_size) as bar:
            for batch in batches if len(own) else ():
                images = normalise(batch.images.to(self.device, non_blocking=True))
                tags = torch.full((len(images),), domain, device=self.device)
                with autocast(self.device, self.amp):
                    output = self.student(images, tags)
                features.append((output.pooled if self.pooled else output.embedding).float())
                bar.update(len(images))
        return F.normalize(distributed.all_gather(torch.cat(features), distributed.shard_sizes(len(files))), dim=1)
