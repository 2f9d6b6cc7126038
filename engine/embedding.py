"""Lists of images → features of a student."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from datasets.batches import plain_batches
from datasets.file_lists import FileList
from datasets.views import normalise
from engine.feature_cache import FeatureCache
from models.dsn import Student
from utils.devices import autocast, uses_bf16
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

    def __call__(self, files: FileList, domain: float, title: str) -> torch.Tensor:
        """(n, d) float32 on the device, L2-normalised, in the list's order; `domain` is SKETCH or PHOTO."""
        if self.cache is None:
            return self._embed(files, domain, title)
        place = self.cache.path(
            files,
            domain=domain,
            image_size=self.image_size,
            pooled=self.pooled,
            bf16=uses_bf16(self.device, self.amp),
            device=self.device.type,
        )
        features = self.cache.load(place, len(files))
        if features is not None:
            print(f"{title}: features from {place}")
            return features.to(self.device)
        features = self._embed(files, domain, title)
        self.cache.store(place, features)
        return features

    @torch.inference_mode()
    def _embed(self, files: FileList, domain: float, title: str) -> torch.Tensor:
        self.student.eval()
        batches = plain_batches(
            files,
            side=self.image_size,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            pin_memory=self.device.type == "cuda",
        )
        features = []
        with progress_bar(len(files), title, "img", miniters=self.bar_every * self.batch_size) as bar:
            for batch in batches:
                images = normalise(batch.images.to(self.device, non_blocking=True))
                tags = torch.full((len(images),), domain, device=self.device)
                with autocast(self.device, self.amp):
                    output = self.student(images, tags)
                features.append((output.pooled if self.pooled else output.embedding).float())
                bar.update(len(images))
        return F.normalize(torch.cat(features), dim=1)
