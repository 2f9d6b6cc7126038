"""A timm network with its initial weights: downloaded, from a file, or random."""

import contextlib
import os
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datasets.catalog import IMAGENET_CLASSES
from models.names import DOWNLOAD, NONE
from models.timm_models import config_of, create
from utils.checkpoints import read_tensors, require_finite_floats, without_prefix
from utils.errors import InputError
from utils.text import one_line

OPTION = "--pretrained_weights"
KEYS_IN_ERROR = re.compile(r"Missing key\(s\) in state_dict: (.*?)\. |size mismatch for (\S+):", re.DOTALL)


@dataclass(frozen=True)
class LoadedNetwork:
    """A network without its classifier. classifier: the linear layer (D → 1000) of ImageNet's classes, if there were weights
    for it. licence: that of downloaded weights, where timm knows it."""

    network: nn.Module
    classifier: nn.Linear | None
    licence: str | None


def load_network(name: str, image_size: int, source: str = DOWNLOAD, option: str = OPTION) -> LoadedNetwork:
    """source: `imagenet` (timm's download), `none` (random weights) or a file in timm's, the hub's or the original naming.

    Raises InputError if the download fails, or if the file does not hold this network with finite weights.
    """
    if source == NONE:
        network = create(name, image_size)
    elif source == DOWNLOAD:
        network = _downloaded(name, image_size, option)
    else:
        network = _from_file(name, image_size, Path(source), option)
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            require_finite_floats(key, value, source)
    classifier = network.get_classifier()
    is_imagenet = isinstance(classifier, nn.Linear) and classifier.out_features == IMAGENET_CLASSES and source != NONE
    network.reset_classifier(0)
    return LoadedNetwork(network, classifier if is_imagenet else None, config_of(name).license if source == DOWNLOAD else None)


def _downloaded(name: str, image_size: int, option: str) -> Any:
    config = config_of(name)
    if not config.has_weights:
        raise InputError(f"timm/{name}: timm has no weights for it; pass {_with_file(name, option)}")
    require_cache_folder(option)
    try:
        with offline_if_unreachable():
            return create(name, image_size, pretrained=True)
    except InputError:
        raise
    except Exception as error:  # timm raises any error of its transport: URLError, OSError, hub errors, RuntimeError
        failure = download_failure(f"the weights of timm/{name}", config, error)
        raise InputError(f"{failure}, then pass {_with_file(name, option)}") from error


def _with_file(name: str, option: str) -> str:
    """How the option is given a file of this model."""
    return f"{option} FILE" if option == OPTION else f"{option} timm/{name}=FILE"


@contextlib.contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Without a network, let the hub's client use its cache at once, instead of retrying for a minute and warning each time."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    host = urllib.parse.urlsplit(constants.ENDPOINT).hostname
    try:
        if not urllib.request.getproxies():
            socket.getaddrinfo(host, None)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def require_cache_folder(option: str) -> None:
    """Raise InputError if there is no folder to download to."""
    if not os.path.isabs(os.path.expanduser(torch.hub.get_dir())):
        raise InputError(
            "the ImageNet weights cannot be downloaded: this user has no home folder. Set HOME or TORCH_HOME to a folder that "
            f"can be written, or pass {option} FILE"
        )


def download_failure(what: str, config: Any, error: Exception) -> str:
    """Why a download failed, and where the file is."""
    where = f"https://huggingface.co/{config.hf_hub_id} (model.safetensors)" if config.hf_hub_id else config.url
    reason = one_line(error).split(". ")[0][:150]
    return f"{what} cannot be downloaded ({type(error).__name__}: {reason}). Fetch {where} on a machine that can"


def _from_file(name: str, image_size: int, path: Path, option: str) -> Any:
    """timm maps names of the hub's and the original files to its own, and resamples position embeddings.

    The classifier may be missing or of other classes; it is then left out.
    """
    state = without_prefix(read_tensors(path, option=option), "module.")

    def load(**more: Any) -> Any:
        return create(name, image_size, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(state)}, **more)

    try:
        return load()
    except InputError:
        raise
    except Exception as error:  # of load_state_dict, or of timm's conversion of another network's names
        if not (misfits := _keys_that_do_not_fit(error)):
            if isinstance(error, RuntimeError) and "Unexpected key" in str(error):
                return load(num_classes=0)
            raise InputError(f"{path}: does not fit timm/{name} ({one_line(error)[:200]}); pass weights of that model") from error
        classifiers = config_of(name).classifier or ()
        heads = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
        for key in misfits:
            if key.rpartition(".")[0] not in heads:
                raise InputError(f"{path}: `{key}` is missing or of another shape; pass weights of timm/{name}") from error
        return load(num_classes=0)


def _keys_that_do_not_fit(error: Exception) -> list[str]:
    """Keys that an error of load_state_dict names as missing or of another shape."""
    found = KEYS_IN_ERROR.findall(f"{error}. ") if isinstance(error, RuntimeError) else []
    return [key.strip('"') for missing, mismatched in found for key in (missing.split(", ") if missing else [mismatched])]
