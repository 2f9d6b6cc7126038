"""A network without weights, for tests of what is indexed rather than of how."""

import hashlib

import numpy as np

from datasets.preprocessing import Preprocessing
from models.engine import FLOAT32, Engine
from photo_search.index import unit
from photo_search.network import Network


class _HashEngine(Engine):
    name, precision, width = "hashes", FLOAT32, 16

    def __init__(self):
        self.preprocessing = Preprocessing(32)

    def embed(self, images, domain):
        """A random vector of each image's own."""
        seeds = [int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "big") for image in images]
        return unit(np.stack([np.random.default_rng(seed).standard_normal(self.width) for seed in seeds]))

    def embed_tensor(self, images, domain):
        raise NotImplementedError


def fake_network():
    return Network(_HashEngine(), "digest", "weights")
