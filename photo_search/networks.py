"""The network of an index: a new one's as options name it, later as the index records it.

PyTorch is imported only if there is no converted network beside the index.
"""

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from models.names import CONFIG, DOWNLOAD, arch_name
from models.openvino_engine import FACTS, kept_engine
from photo_search.config import SUGGESTED, NetworkOptions
from photo_search.network import Computing, Network, precision_on_cpu
from utils.errors import InputError
from utils.files import why_no_file
from utils.gpu_driver import has_gpu_driver

FACTS_OF_NETWORK = ("network", "side", "width", "untrained", "checkpoint", "weights")


class Recorded(Protocol):
    """A store, or the facts of one that another rank has opened."""

    @property
    def place(self) -> str: ...

    @property
    def options(self) -> str: ...

    def fact(self, name: str, default: Any = None) -> Any: ...

    @property
    def width(self) -> int: ...


@dataclass(frozen=True)
class Facts:
    """What rank 0 tells the others about the store."""

    place: str
    values: dict[str, Any]
    options: str = ""

    def fact(self, name: str, default: Any = None) -> Any:
        """The value under this name."""
        return self.values.get(name, default)

    @property
    def width(self) -> int:
        """The length of the vectors."""
        return int(self.values["width"])


def facts_of(store: Recorded) -> Facts:
    """What another rank must know to open the same network."""
    return Facts(store.place, {name: store.fact(name) for name in FACTS_OF_NETWORK}, store.options)


def network_of_rank(facts: Facts, options: NetworkOptions, computing: Computing) -> Network:
    """The network of rank 0 on another rank. Raises InputError if it is another one there."""
    network = _converted(facts, NetworkOptions(), computing) or _from_file(facts, options, computing)()
    if (network.digest, network.side) != (facts.fact("network"), facts.fact("side")):
        raise InputError(f"{network.weights}: differs from that of rank 0; copy the same file to all machines")
    return network


def new_network(options: NetworkOptions, computing: Computing) -> Network:
    """The network for a new index. Raises InputError if it cannot be read, or the options contradict each other."""
    if options.checkpoint is None:
        if options.arch is None:
            raise InputError(f"--pretrained_weights: name the network too, such as --arch {SUGGESTED}")
        return _untrained(options.arch, options.pretrained_weights or DOWNLOAD, computing, options.image_size)
    return _trained(options.checkpoint, options, computing, options.image_size)


def recorded_network(store: Recorded, options: NetworkOptions, computing: Computing) -> Network:
    """The network of an index: the converted one beside it, else from the file that it records, or a copy that options name.

    Raises InputError if there is none.
    """
    return _converted(store, options, computing) or _from_file(store, options, computing)()


def require_network(store: Recorded, options: NetworkOptions, computing: Computing) -> None:
    """Raise InputError where it is known at once that `recorded_network` will."""
    if options.is_named or computing.folder is None or not (computing.folder / FACTS).is_file():
        _from_file(store, options, computing)


def _converted(store: Recorded, options: NetworkOptions, computing: Computing) -> Network | None:
    """The network as OpenVINO runs it; None if options name a network, it may run on a GPU, or none was kept."""
    side, digest, untrained = (store.fact(name) for name in ("side", "network", "untrained"))
    on_cpu = computing.device == "cpu" or (computing.device == "auto" and not has_gpu_driver())
    if digest is None or options.is_named or options.image_size not in (None, side) or computing.folder is None or not on_cpu:
        return None
    engine = kept_engine(computing.folder, digest, side, precision_on_cpu(computing.precision))
    if engine is None or engine.width != store.width:
        return None
    return Network(engine, digest, str(store.fact("weights" if untrained else "checkpoint")), untrained)


def _from_file(store: Recorded, options: NetworkOptions, computing: Computing) -> Callable[[], Network]:
    """What reads the network. Raises InputError if options name none and the index records none, or its file is gone."""
    if store.fact("network") is None:
        if options.is_named:
            return functools.partial(new_network, options, computing)
        advice = f"`python search.py index PHOTOS --arch {SUGGESTED} {store.options}` adds some"
        raise InputError(f"{store.place}: holds no photos yet; {advice}")
    size = options.image_size or store.fact("side")
    if store.fact("untrained") is not None:
        return _untrained_from_file(store, options, computing, size)
    file = options.checkpoint or Path(str(store.fact("checkpoint")))
    if not file.is_file() and not (file / CONFIG).is_file():
        raise InputError(f"{file}: {why_no_file(file)}; name the network that {store.place} was made with by --checkpoint FILE")
    return functools.partial(_trained, file, options, computing, size)


def _untrained_from_file(store: Recorded, options: NetworkOptions, computing: Computing, size: int) -> Callable[[], Network]:
    arch, weights = str(store.fact("untrained")), options.pretrained_weights or str(store.fact("weights"))
    if options.checkpoint is not None or options.arch not in (None, arch):
        named = f"--checkpoint {options.checkpoint}" if options.checkpoint is not None else f"--arch {options.arch}"
        raise InputError(f"{store.place}: was made with {arch}, untrained; leave out {named}, or index into another folder")
    file = Path(weights)
    if weights != DOWNLOAD and not file.is_file():
        advice = f"name the weights of {arch} that {store.place} was made with by --pretrained_weights FILE"
        raise InputError(f"{file}: {why_no_file(file)}; {advice}")

    def read() -> Network:
        try:
            arch_name(arch)
        except argparse.ArgumentTypeError as error:
            advice = "install the version of timm that it was made with, or index into another folder"
            raise InputError(f"{store.place}: its network cannot be built ({error}); {advice}") from error
        return _untrained(arch, weights, computing, size)

    return read


def _untrained(arch: str, weights: str, computing: Computing, image_size: int | None) -> Network:
    from photo_search.encoder import open_untrained

    return open_untrained(arch, weights, computing, image_size)


def _trained(checkpoint: Path, options: NetworkOptions, computing: Computing, image_size: int | None) -> Network:
    if options.pretrained_weights is not None:
        raise InputError(f"--pretrained_weights: {checkpoint} holds all weights; leave it out")
    from photo_search.encoder import open_network

    return open_network(checkpoint, computing, image_size, options.arch)
