"""The value of `--arch` → the trunk, new or of a checkpoint."""

from typing import Any, TypeGuard

import torch
from torch import nn

from datasets.preprocessing import Preprocessing
from models.cse_resnet import IMAGE_SIZE, CSEResNet50
from models.names import NONE, TIMM, is_timm
from models.pretrained import imagenet_state, load_trunk
from models.timm_models import preprocessing_of, require_image_size, require_model, skeleton
from models.timm_trunk import TimmTrunk
from models.timm_weights import LoadedNetwork, load_network
from models.trunk import Trunk
from utils.errors import InputError

LONGEST_TEXT = 200  # letters of a name or licence in a checkpoint
BUFFER_BYTES = 1 << 25  # of tables that networks compute, and checkpoints do not hold


def preprocessing_for(arch: str, image_size: int | None = None) -> Preprocessing:
    """How the trunk's own images were prepared, at `image_size` pixels (default: its native size).

    Raises InputError if the trunk cannot take images of this size.
    """
    if is_timm(arch):
        return preprocessing_of(arch.removeprefix(TIMM), image_size)
    return Preprocessing(image_size or IMAGE_SIZE)


def load_timm(arch: str, source: str, preprocessing: Preprocessing) -> LoadedNetwork:
    """The network of `timm/NAME` with initial weights from `source`; see `load_network`."""
    return load_network(arch.removeprefix(TIMM), preprocessing.image_size, source)


def timm_trunk(arch: str, loaded: LoadedNetwork, preprocessing: Preprocessing, domain_tag: bool = True) -> TimmTrunk:
    """The trunk around a loaded network, which it changes: copy the network before, if it is needed without a domain tag."""
    return TimmTrunk(arch.removeprefix(TIMM), loaded.network, preprocessing, domain_tag, loaded.licence)


def initial_trunk(arch: str, source: str, image_size: int | None = None) -> Trunk:
    """An untrained trunk without a domain tag, for its own images as timm prepares them.

    Raises InputError if the weights cannot be read, or the trunk cannot take the image size.
    """
    preprocessing = preprocessing_for(arch, image_size)
    if is_timm(arch):
        return timm_trunk(arch, load_timm(arch, source, preprocessing), preprocessing, domain_tag=False).eval()
    trunk = CSEResNet50()
    trunk.preprocessing = preprocessing
    if source != NONE:
        load_trunk(trunk, imagenet_state(source))
    return trunk.eval()


def record_of(trunk: Trunk, preprocessing: Preprocessing) -> dict[str, Any]:
    """What a checkpoint holds besides weights to build the trunk again offline; {} for cse_resnet50, as in released files."""
    if not is_timm(trunk.arch):
        return {}
    how = {"preprocessing": preprocessing.as_dict(), "domain_tag": trunk.has_domain_tag, "licence": trunk.licence}
    return {"trunk": {"arch": trunk.arch, **how}}


def recorded_trunk(content: dict[str, Any], source: object) -> Trunk:
    """A trunk of the kind that a checkpoint records, with random weights. Raises InputError if the record is not possible.

    source: the checkpoint's file, for messages.
    """
    record = content.get("trunk")
    if record is None:
        return CSEResNet50()
    try:
        if not isinstance(record, dict):
            raise ValueError("no record")
        name, preprocessing = _name(record["arch"]), Preprocessing.from_dict(record["preprocessing"])
        domain_tag, licence = record["domain_tag"], record["licence"]
        if type(domain_tag) is not bool or not (licence is None or _is_short_text(licence)):
            raise ValueError("domain tag or licence")
        _require_held(skeleton(name, preprocessing.image_size), content["state_dict"])
        require_image_size(name, preprocessing.image_size)
        network = load_network(name, preprocessing.image_size, NONE).network
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise InputError(f"{source}: its trunk cannot be built ({error}); get a whole checkpoint, or update timm") from error
    return TimmTrunk(name, network, preprocessing, domain_tag, licence)


def recorded_licence(content: dict[str, Any]) -> str | None:
    """The licence of the initial weights that a checkpoint's run started from, if it records one."""
    record = content.get("trunk")
    licence = record.get("licence") if isinstance(record, dict) else None
    return licence if _is_short_text(licence) else None


def _name(arch: object) -> str:
    """The name in `timm/NAME`."""
    if not _is_short_text(arch) or not is_timm(arch):
        raise ValueError("its name is not timm/NAME")
    require_model(arch.removeprefix(TIMM))
    return arch.removeprefix(TIMM)


def _is_short_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.isprintable() and len(value) <= LONGEST_TEXT


def _require_held(network: nn.Module, state: dict[str, Any]) -> None:
    """Raise ValueError if a network needs far more memory than the weights in a checkpoint, as no whole checkpoint's does."""
    storages = [value.untyped_storage() for value in state.values() if isinstance(value, torch.Tensor)]
    held = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    needed = sum(value.nbytes for value in (*network.parameters(), *network.buffers()))
    if needed > 2 * held + BUFFER_BYTES:
        raise ValueError("it lacks most of its weights")
