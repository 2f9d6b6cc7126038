"""The three views of a training image (base, contrast 1, contrast 2), made on the device for a whole batch at once.

Random parameters are drawn for each image on the CPU from a seeded generator and applied by a few kernels for the batch.
The augmentations are those of DSN (Wang et al., IJCAI 2021).

Why not kornia: its ColorJitter (0.9.0) draws one order of operations for the whole batch, where torchvision draws one for each
image, and takes 1.7 s for 96 images of 224 px on two CPU threads; this module takes 0.9 s, torchvision image by image 1.2 s.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch.nn import functional as F

from datasets import colour
from datasets.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Triple

WARP_CHANCE = 0.7  # probability that an image is warped
PART_CHANCE = 0.5  # probability of each part of a warp: flip, scale, rotation, shift
SCALE_RANGE = (0.7, 1.3)
LARGEST_ANGLE = 30.0  # degrees
LARGEST_SHIFT = 10 / 256  # times the side of the image

MIRROR_CHANCE = 0.5
JITTER_CHANCE = 0.8
GREY_CHANCE = 0.2
JITTER_STRENGTH = (0.4, 0.4, 0.4, 0.1)  # of JITTER_OPERATIONS, as the arguments of torchvision's ColorJitter
JITTER_CENTRE = (1.0, 1.0, 1.0, 0.0)  # factors that change nothing
JITTER_OPERATIONS = (
    colour.adjust_brightness_,
    colour.adjust_contrast_,
    colour.adjust_saturation_,
    colour.adjust_hue_,
)


Step = tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], torch.Tensor, torch.Tensor]  # operation, rows, factors


@dataclass(frozen=True)
class ViewParameters:
    """Random parameters for B images, as CPU tensors. A part of the warp that is not applied has its neutral value.

    The three views of an image share the warp; the other parameters have one row for each of the two contrast views.
    """

    flip: torch.Tensor  # (B,) bool, swap left and right before the affine map
    scale: torch.Tensor  # (B, 2) in x and y; neutral 1
    angle: torch.Tensor  # (B,) degrees; neutral 0
    shift: torch.Tensor  # (B, 2) in x and y, times the side; neutral 0
    mirror: torch.Tensor  # (2, B) bool
    jitter: torch.Tensor  # (2, B) bool
    factor: torch.Tensor  # (2, B, 4) brightness, contrast, saturation, hue
    order: torch.Tensor  # (2, B, 4) int64, permutation of the four operations
    grey: torch.Tensor  # (2, B) bool

    def subset(self, rows: list[int]) -> "ViewParameters":
        """The parameters of these images."""
        shared = {"flip", "scale", "angle", "shift"}  # the others have the contrast view as first dimension
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return ViewParameters(**{name: value[rows] if name in shared else value[:, rows] for name, value in values.items()})

    @property
    def warped(self) -> torch.Tensor:
        """(B,) bool: whether the warp changes the image."""
        return self.flip | (self.scale != 1).any(1) | (self.angle != 0) | (self.shift != 0).any(1)


def draw_parameters(count: int, generator: torch.Generator) -> ViewParameters:
    """Draw the parameters of `count` images from a CPU generator; they do not depend on the training device."""

    def chance(probability: float, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator) < probability

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    def drawn_or(neutral: float, drawn: torch.Tensor) -> torch.Tensor:
        chosen = is_warped & chance(PART_CHANCE, count)
        return torch.where(chosen.view(-1, *[1] * (drawn.ndim - 1)), drawn, neutral)

    is_warped = chance(WARP_CHANCE, count)
    strength, centre = torch.tensor(JITTER_STRENGTH), torch.tensor(JITTER_CENTRE)
    return ViewParameters(
        flip=is_warped & chance(PART_CHANCE, count),
        scale=drawn_or(1.0, uniform(*SCALE_RANGE, count, 2)),
        angle=drawn_or(0.0, uniform(-LARGEST_ANGLE, LARGEST_ANGLE, count)),
        shift=drawn_or(0.0, uniform(-LARGEST_SHIFT, LARGEST_SHIFT, count, 2)),
        mirror=chance(MIRROR_CHANCE, 2, count),
        jitter=chance(JITTER_CHANCE, 2, count),
        factor=centre + strength * uniform(-1, 1, 2, count, 4),
        order=torch.rand(2, count, 4, generator=generator).argsort(dim=-1),  # random permutations
        grey=chance(GREY_CHANCE, 2, count),
    )


def normalise(images: torch.Tensor, mean: Triple = IMAGENET_MEAN, std: Triple = IMAGENET_STD) -> torch.Tensor:
    """Subtract mean and divide by standard deviation, per channel: (B, 3, H, W) uint8, or float in [0, 1] → float32."""
    slope, offset = _to_device(normalisation(mean, std, 1.0 if images.is_floating_point() else 255.0), images.device)
    return torch.addcmul(offset, images.float(), slope)


def normalisation(mean: Triple, std: Triple, full_scale: float) -> torch.Tensor:
    """(2, 3, 1, 1): slope and offset of `normalise`, per channel, for pixels from 0 to `full_scale`."""
    centre, spread = torch.tensor(mean), torch.tensor(std)
    return torch.stack([1 / (full_scale * spread), -centre / spread]).view(2, 3, 1, 1)


@torch.no_grad()
def make_views(
    images: torch.Tensor,
    parameters: ViewParameters,
    image_size: int,
    contrast: bool = True,
    normalise: Callable[[torch.Tensor], torch.Tensor] = normalise,
) -> tuple[torch.Tensor, ...]:
    """uint8 (B, 3, S, S) on any device → base view, contrast view 1, contrast view 2, or without `contrast` the base view.

    Each view is (B, 3, image_size, image_size) float32, normalised. The host never waits for the device, because all choices
    come from parameters on the CPU. Unlike in a chain of PIL operations, no intermediate result is rounded to 8 bits.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"expected uint8 images of shape (B, 3, S, S), got {images.dtype} {tuple(images.shape)}")
    if len(parameters.flip) != len(images):
        raise ValueError(f"parameters drawn for {len(parameters.flip)} images, got {len(images)}")
    with torch.autocast(images.device.type, enabled=False):
        base = resize(warp(images, parameters), image_size)
        if not contrast:
            return (normalise(base),)
        return normalise(base), *normalise(recolour(base, parameters)).chunk(2)


def warp(images: torch.Tensor, parameters: ViewParameters) -> torch.Tensor:
    """Warp uint8 images (B, 3, S, S) → float32 in [0, 1]: bilinear, black outside. Images without a warp stay exact.

    Samples up to one pixel outside the image fade to black; PIL's are cut off half a pixel outside.
    """
    side = images.shape[-1]
    warped_rows = parameters.warped.nonzero().flatten()  # on the CPU, so that the host knows the length
    output = images.to(torch.float32, memory_format=torch.contiguous_format).div_(255)  # decoded with channels last
    if len(warped_rows) == 0:
        return output
    source = source_positions(parameters, side)[warped_rows]
    # From pixel positions 0 … S−1 to grid_sample's −1 … 1, which span the outer edges of the outer pixels.
    source = source * 2 / side
    source[:, :, 2] += 1 / side - 1
    warped_rows, source = _to_device(warped_rows, images.device), _to_device(source.float(), images.device)

    # Not affine_grid: its matrix product may run in TF32 and round by a twentieth of a pixel.
    position = torch.arange(side, device=images.device, dtype=torch.float32)
    along_x = position.view(1, 1, side, 1) * source[:, None, None, :, 0]
    along_y = position.view(1, side, 1, 1) * source[:, None, None, :, 1] + source[:, None, None, :, 2]
    selected = output.index_select(0, warped_rows)
    sampled = F.grid_sample(selected, along_x + along_y, mode="bilinear", padding_mode="zeros", align_corners=False)
    return output.index_copy_(0, warped_rows, sampled)


def source_positions(parameters: ViewParameters, side: int) -> torch.Tensor:
    """Matrices (B, 2, 3) float64 from output to input pixels: (x, y)_in = matrix · (x, y, 1)_out.

    The inverse of out = [[sx·cos r, −sy·sin r, tx], [sx·sin r, sy·cos r, ty]] · in, applied after the flip x → side − 1 − x, with
    the top-left pixel as origin.
    """
    angle = parameters.angle.double().deg2rad()
    scale_x, scale_y = parameters.scale.double().unbind(1)
    shift_x, shift_y = (parameters.shift.double() * side).unbind(1)
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)

    def matrix(*rows: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return torch.stack([torch.stack(row, dim=1) for row in (*rows, (zero, zero, one))], dim=1)  # (B, 3, 3)

    affine = matrix(
        (scale_x * angle.cos(), -scale_y * angle.sin(), shift_x),
        (scale_x * angle.sin(), scale_y * angle.cos(), shift_y),
    )
    flip = matrix(
        (torch.where(parameters.flip, -one, one), zero, parameters.flip * (side - 1.0)),
        (zero, one, zero),
    )
    return torch.linalg.inv(affine @ flip)[:, :2]


def resize(images: torch.Tensor, image_size: int) -> torch.Tensor:
    """Float (B, 3, S, S) → (B, 3, image_size, image_size): torchvision's antialiased bilinear resize."""
    if images.shape[-1] == image_size:
        return images
    return F.interpolate(images, (image_size, image_size), mode="bilinear", antialias=True, align_corners=False)


def recolour(images: torch.Tensor, parameters: ViewParameters) -> torch.Tensor:
    """Mirror, jitter and grey the images: float (B, 3, s, s) in [0, 1] → (2B, 3, s, s), contrast views 1, then 2.

    Each view gets the four jitter operations in a random order, as with torchvision's ColorJitter. In each of four
    turns, every operation runs once, on all the views whose order has it in this turn.
    """
    jitter, grey = parameters.jitter.flatten(), parameters.grey.flatten()
    order, factor = parameters.order.flatten(0, 1), parameters.factor.flatten(0, 1)  # (2B, 4) each
    steps: list[Step] = [(_mirror, parameters.mirror.flatten(), factor[:, 0])]  # _mirror and _grey ignore the factor
    for turn in order.unbind(1):
        for index, operation in enumerate(JITTER_OPERATIONS):
            steps.append((operation, jitter & (turn == index), factor[:, index]))
    steps.append((_grey, grey, factor[:, 0]))

    # Rows are found on the CPU, so that the host knows all shapes, and copied to the device together.
    rows = [chosen.nonzero().flatten() for _, chosen, _ in steps]
    factors = [values[chosen] for _, chosen, values in steps]
    sizes = [len(chosen) for chosen in rows]
    rows = _to_device(torch.cat(rows), images.device).split(sizes)
    factors = _to_device(torch.cat(factors), images.device).split(sizes)
    views = torch.cat([images, images])
    for (apply, _, _), chosen, values in zip(steps, rows, factors, strict=True):
        if len(chosen):
            views.index_copy_(0, chosen, apply(views.index_select(0, chosen), values))
    return views


def _mirror(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return images.flip(3)


def _grey(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return colour.grey_level(images).expand_as(images)


class ThreeViews:
    """`views(images, epoch, step)` → (base, contrast 1, contrast 2); the random parameters depend on seed, epoch and step alone.

    So a resumed run continues with the same views without a saved generator. A process that holds the images `rows` of a batch
    of `count` makes the same views as a single process.
    """

    def __init__(self, image_size: int, seed: int, normalise: Callable[[torch.Tensor], torch.Tensor] = normalise):
        self.image_size, self.seed, self.normalise = image_size, seed, normalise

    def __call__(
        self,
        images: torch.Tensor,
        epoch: int,
        step: int,
        contrast: bool = True,
        count: int | None = None,
        rows: list[int] | None = None,
    ) -> tuple[torch.Tensor, ...]:
        # not hash(), which may differ between Python versions
        digest = hashlib.blake2b(f"{self.seed} {epoch} {step}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        parameters = draw_parameters(len(images) if count is None else count, generator)
        parameters = parameters if rows is None else parameters.subset(rows)
        return make_views(images, parameters, self.image_size, contrast, self.normalise)


def _to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a small CPU tensor to the device without waiting for it (on CUDA, from pinned memory)."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
