"""Any image model of timm as the trunk: `timm/NAME`."""

import contextlib
import copy
import threading
from typing import Any

import torch

from datasets.preprocessing import Preprocessing
from models.domain_tag import DomainTag
from models.names import TIMM
from models.timm_models import has_fixed_size, skeleton
from models.trunk import Trunk
from utils.errors import InputError

ONE_AT_A_TIME = threading.RLock()  # a tag holds the domains of one batch


class TimmTrunk(Trunk):
    """network: a model without its classifier, for images of `preprocessing.image_size`. Raises InputError if it has no place
    for a domain tag that it is to have."""

    def __init__(
        self, name: str, network: Any, preprocessing: Preprocessing, domain_tag: bool = True, licence: str | None = None
    ):
        super().__init__()
        self.arch, self.preprocessing, self.licence = TIMM + name, preprocessing, licence
        self.feature_dim = getattr(network, "head_hidden_size", None) or network.num_features
        self.takes_any_size, self.has_domain_tag = not has_fixed_size(name), domain_tag
        self.network = network
        self.domain_tag = self._new_tag(name) if domain_tag else None

    def _new_tag(self, name: str) -> DomainTag:
        try:
            _require_effect(copy.deepcopy(skeleton(name, self.preprocessing.image_size)), self.preprocessing.image_size)
            return DomainTag(self.network)
        except Exception as error:  # some families list no stages, have several patch sizes, or lists as outputs
            raise InputError(f"--domain_tag: {self.arch} has no place for it; pass --domain_tag off") from error

    def features(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        if self.domain_tag is None:
            return self.network(images)
        with contextlib.nullcontext() if torch.compiler.is_compiling() else ONE_AT_A_TIME:
            self.domain_tag.domain = domain
            return self.network(images)

    def train_domain_tag(self) -> None:
        if self.domain_tag is not None:
            self.domain_tag.requires_grad_(True)

    def checkpoint_activations(self) -> None:
        try:
            self.network.set_grad_checkpointing(True)
        except (AssertionError, AttributeError) as error:
            raise NotImplementedError from error


def _require_effect(network: Any, image_size: int) -> None:
    """Raise an error of any kind unless the feature of a network on the meta device depends on all of a domain tag."""
    with torch.device("meta"), torch.enable_grad():
        tag = DomainTag(network)
        tag.domain = torch.zeros(1)
        network(torch.zeros(1, 3, image_size, image_size)).sum().backward()
    if any(parameter.grad is None for parameter in tag.parameters()):
        raise TypeError("no effect")
