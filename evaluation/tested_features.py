"""The embeddings that a zero-shot test ranks.

ITQ amplifies rounding: features that differ by 1e-7 may give other hash codes, and a small test another mAP in its second digit.
In float32, the images that codes are fitted to are therefore embedded by plain PyTorch, and only the others by an engine.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from datasets.file_lists import Split
from evaluation.config import ZeroShotConfig
from evaluation.embedding import Embedder
from evaluation.feature_cache import FeatureCache
from evaluation.protocols import Protocol, training_samples
from evaluation.resources import Resources
from evaluation.tested_network import TestedNetwork
from models.engine import FLOAT32, Engine, LazyEngine, precision_of
from models.engines import open_engine
from models.names import PHOTO, SKETCH
from models.torch_engine import TorchEngine

FeaturePair = tuple[torch.Tensor, torch.Tensor]


class Features(NamedTuple):
    """Unit vectors (n, d) float32 on the device. training: those that hash codes are fitted to, of the domain of the queries and
    of photos; None if they are fitted to queries or gallery. embedded_by: the engines; none if all features were cached."""

    queries: torch.Tensor
    gallery: torch.Tensor
    training: FeaturePair | None
    embedded_by: list[str]


def embed_protocol(
    split: Split, tested: TestedNetwork, protocol: Protocol, config: ZeroShotConfig, resources: Resources
) -> Features:
    """Embed a test's images, or read their cached features. It may change the weights of the network."""
    fitted_to, is_exact = config.codes.itq_fit, precision_of(resources.amp) == FLOAT32
    lists = {
        "queries": (protocol.queries, protocol.query_domain, "queries"),
        "gallery": (protocol.gallery, PHOTO, "gallery photos"),
    }
    others = sum(len(files) for name, (files, *_) in lists.items() if not is_exact or name != fitted_to)
    used: list[str] = []
    by_engine = _embedder(tested, others, used, config, resources)
    fitted = _exact_embedder(tested, used, config, resources) if is_exact else by_engine
    training = _embed_training_images(split, fitted, protocol) if fitted_to == "train" else None
    found = {}
    for name in sorted(lists, key=lambda name: name != fitted_to):  # the exact ones first: an engine may change the network
        found[name] = (fitted if name == fitted_to else by_engine)(*lists[name])
    return Features(found["queries"], found["gallery"], training, used)


def _embedder(tested: TestedNetwork, images: int, used: list[str], config: ZeroShotConfig, resources: Resources) -> Embedder:
    """By the fastest engine for so many images, which is added to `used` when it starts."""

    def start() -> Engine:
        own = images // resources.distributed.world_size
        engine = open_engine(tested.network, resources.device, precision_of(resources.amp), images=own)
        used.append(str(engine))
        print(f"embedding by {engine}")
        return engine

    return _embedder_of(start, precision_of(resources.amp), tested, config, resources)


def _exact_embedder(tested: TestedNetwork, used: list[str], config: ZeroShotConfig, resources: Resources) -> Embedder:
    """By plain PyTorch in float32."""

    def start() -> Engine:
        network = tested.network.to(resources.device, memory_format=torch.channels_last)
        engine = TorchEngine(network, resources.device)
        used.append(str(engine))
        print(f"embedding by {engine}: hash codes are fitted to these")
        return engine

    return _embedder_of(start, "exact", tested, config, resources)


def _embedder_of(
    start: Callable[[], Engine], how: str, tested: TestedNetwork, config: ZeroShotConfig, resources: Resources
) -> Embedder:
    identity = {**tested.identity, "how": how, "device": resources.device.type}
    return Embedder(
        LazyEngine(tested.network.width, tested.network.preprocessing, start),
        resources.device,
        config.runtime.batch_size,
        resources.num_workers,
        bar_every=config.runtime.print_freq,
        cache=None if config.output.no_cache else FeatureCache(tested.folder / "features", **identity),
        distributed=resources.distributed,
    )


def _embed_training_images(split: Split, embed: Embedder, protocol: Protocol) -> FeaturePair:
    """Features of training images from the domain of the queries, and of training photos."""
    sketches, photos = training_samples(split)
    photo_features = embed(photos, PHOTO, "training photos")
    has_sketch_queries = protocol.query_domain == SKETCH
    return (embed(sketches, SKETCH, "training sketches") if has_sketch_queries else photo_features), photo_features
