"""Pictures of noise, without files."""

import numpy as np
from torch.utils.data import Dataset

from datasets.batches import as_batch


class Pictures(Dataset):
    """`count` pictures of `side` pixels, each of noise of its own."""

    def __init__(self, count: int = 10, side: int = 8):
        self.count, self.side = count, side

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, rows):
        pictures = [np.random.default_rng(row).integers(0, 256, (self.side, self.side, 3), np.uint8) for row in rows]
        return as_batch(np.stack(pictures), np.array(rows))
