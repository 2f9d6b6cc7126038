"""Which parameters of a student a run trains (`--train`)."""

from collections.abc import Iterator

from torch import nn

from models.dsn import Student
from models.names import ALL, NORMS


def choose_trainable(student: Student, which: str) -> None:
    """`all` parameters, the `heads` only, or `norms`: the heads, the domain tag and the trunk's normalisation layers.

    `norms` keeps what a pretrained transformer knows, where training all of it forgets: Sain et al. ("CLIP for All Things
    Zero-Shot Sketch-Based Image Retrieval", CVPR 2023) train CLIP's LayerNorms and prompts only.
    """
    if which == ALL:
        return
    for part in student.trunk_parts():
        part.requires_grad_(False)
    if which == NORMS:
        for layer in _normalisation_layers(student):
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(True)
        student.original_model.train_domain_tag()


def _normalisation_layers(student: Student) -> Iterator[nn.Module]:
    """BatchNorm, LayerNorm, GroupNorm and timm's variants, all of which have `Norm` in the name of their class."""
    for part in student.trunk_parts():
        yield from (
            layer for layer in part.modules() if "Norm" in type(layer).__name__ and "NormFree" not in type(layer).__name__
        )
