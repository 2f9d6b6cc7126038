"""The network of an index: a new one's as options name it, later as the index records it."""

import argparse
from pathlib import Path

from models.model_folder import CONFIG
from models.names import DOWNLOAD, arch_name
from models.restore import require_arch
from photo_search.config import SUGGESTED, NetworkOptions
from photo_search.encoder import Network, open_network, open_untrained
from photo_search.store import Store
from utils.errors import InputError
from utils.files import why_no_file


def new_network(options: NetworkOptions, device: str) -> Network:
    """The network for a new index. Raises InputError if it cannot be read, or the options contradict each other."""
    if options.checkpoint is None:
        if options.arch is None:
            raise InputError(f"--pretrained_weights: name the network too, such as --arch {SUGGESTED}")
        return open_untrained(options.arch, options.pretrained_weights or DOWNLOAD, device, options.image_size)
    return _trained(options.checkpoint, options, device, options.image_size)


def recorded_network(store: Store, options: NetworkOptions, device: str) -> Network:
    """The network of an index, from the file that it records or another copy. Raises InputError if there is none."""
    if store.fact("network") is None:
        if options.is_named:
            return new_network(options, device)
        advice = f"`python search.py index PHOTOS --arch {SUGGESTED} -o {store.folder}` adds some"
        raise InputError(f"{store.folder}: holds no photos yet; {advice}")
    size = options.image_size or store.fact("side")
    if store.fact("untrained") is not None:
        return _recorded_untrained(store, options, device, size)
    file = options.checkpoint or Path(str(store.fact("checkpoint")))
    if not file.is_file() and not (file / CONFIG).is_file():
        raise InputError(f"{file}: {why_no_file(file)}; name the network that {store.folder} was made with by --checkpoint FILE")
    return _trained(file, options, device, size)


def _recorded_untrained(store: Store, options: NetworkOptions, device: str, size: int) -> Network:
    arch, weights = str(store.fact("untrained")), options.pretrained_weights or str(store.fact("weights"))
    if options.checkpoint is not None or options.arch not in (None, arch):
        named = f"--checkpoint {options.checkpoint}" if options.checkpoint is not None else f"--arch {options.arch}"
        raise InputError(f"{store.folder}: was made with {arch}, untrained; leave out {named}, or index into another folder")
    try:
        arch_name(arch)
    except argparse.ArgumentTypeError as error:
        advice = "install the version of timm that it was made with, or index into another folder"
        raise InputError(f"{store.folder}: its network cannot be built ({error}); {advice}") from error
    file = Path(weights)
    if weights != DOWNLOAD and not file.is_file():
        advice = f"name the weights of {arch} that {store.folder} was made with by --pretrained_weights FILE"
        raise InputError(f"{file}: {why_no_file(file)}; {advice}")
    return open_untrained(arch, weights, device, size)


def _trained(checkpoint: Path, options: NetworkOptions, device: str, image_size: int | None) -> Network:
    if options.pretrained_weights is not None:
        raise InputError(f"--pretrained_weights: {checkpoint} holds all weights; leave it out")
    network = open_network(checkpoint, device, image_size)
    require_arch(network.embedding.trunk, options.arch, checkpoint)
    return network
