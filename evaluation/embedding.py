"""Embedding lists of images."""

from dataclasses import dataclass, field

import torch

from datasets.batches import plain_batches
from datasets.file_lists import FileList
from evaluation.feature_cache import FeatureCache
from models.engine import Engine
from utils.distributed import Distributed
from utils.progress import progress_bar


@dataclass(frozen=True)
class Embedder:
    """`embed(files, domain, title)` returns the embeddings of images. Several processes embed a shard each."""

    engine: Engine
    device: torch.device
    batch_size: int
    num_workers: int
    bar_every: int = 1  # batches between two updates of the progress bar
    cache: FeatureCache | None = None
    distributed: Distributed = field(default_factory=Distributed)

    def __call__(self, files: FileList, domain: float, title: str) -> torch.Tensor:
        """(n, d) float32 on the device, L2-normalised, in the list's order; `domain` is SKETCH or PHOTO.

        If the cache holds the features, only the main process gets them, and the others (0, d).
        """
        if self.cache is None:
            return self._embed(files, domain, title)
        path = self.cache.path(files, domain) if self.distributed.is_main else None
        cached = None if path is None else self.cache.load(path, len(files))
        if self.distributed.any(cached is not None):
            print(f"{title}: features from {path}")
            return torch.empty(0, self.engine.width, device=self.device) if cached is None else cached.to(self.device)
        features = self._embed(files, domain, title)
        if path is not None:
            self.cache.store(path, features)
        return features

    def _embed(self, files: FileList, domain: float, title: str) -> torch.Tensor:
        shard = files.subset(self.distributed.own_positions(len(files)))
        preprocessing = self.engine.preprocessing
        batches = plain_batches(
            shard,
            side=preprocessing.image_size,
            fit=preprocessing.fit,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            pin_memory=self.device.type == "cuda",
        )
        features = [torch.empty(0, self.engine.width, device=self.device)]  # the shard of a short list may be empty
        with progress_bar(len(shard), title, "img", miniters=self.bar_every * self.batch_size) as bar:
            for batch in batches if len(shard) else ():
                features.append(self.engine.embed_tensor(batch.images, domain))
                bar.update(len(batch.images))
        return self.distributed.gather(torch.cat(features), len(files))
