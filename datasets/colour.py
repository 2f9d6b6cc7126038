"""Colour operations on a whole batch, each image with a factor of its own, equal to torchvision's on each image alone.

All of them take images as float32 (n, 3, height, width) in [0, 1] with factors (n,). Those with a trailing underscore work
in place and return the images. Definitions: torchvision.transforms.v2.functional, on float tensors.
"""

import torch

GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # of red, green and blue, as torchvision rounds them


def grey_level(images: torch.Tensor) -> torch.Tensor:
    """The brightness seen by the eye: (n, 3, height, width) → (n, 1, height, width)."""
    red, green, blue = images.split(1, dim=1)
    return (red * GREY_WEIGHTS[0]).add_(green, alpha=GREY_WEIGHTS[1]).add_(blue, alpha=GREY_WEIGHTS[2])


def adjust_brightness_(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Factor 0 is black, 1 changes nothing."""
    return images.mul_(_per_image(factor)).clamp_(0, 1)


def adjust_contrast_(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Factor 0 is the image's mean grey level everywhere, 1 changes nothing."""
    mean_grey = grey_level(images).mean(dim=(1, 2, 3), keepdim=True)
    return images.lerp_(mean_grey, 1 - _per_image(factor)).clamp_(0, 1)


def adjust_saturation_(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Factor 0 is the grey image, 1 changes nothing."""
    return images.lerp_(grey_level(images), 1 - _per_image(factor)).clamp_(0, 1)


def adjust_hue_(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Turn the hue by `factor` of a whole circle (0 changes nothing), keeping the largest and smallest channel values.

    The HSV detour, without its saturation: with chroma = largest − smallest and the hue counted in sixths of the circle,
    each channel is largest − chroma·clip(min(k, 4 − k), 0, 1), where k = (offset + hue) mod 6 and the offset is 5 for red,
    3 for green, 1 for blue. This equals torchvision's six-way table without building the table's indices.
    """
    red, green, blue = images.unbind(dim=1)
    largest = torch.maximum(torch.maximum(red, green), blue)
    chroma = largest - torch.minimum(torch.minimum(red, green), blue)
    # A grey pixel has no hue; any will do, for its chroma is 0. The floor only keeps 0/0 away.
    divisor = chroma.clamp_min(1e-12)
    hue = (red - green).div_(divisor).add_(4)
    hue = torch.where(largest == green, (blue - red).div_(divisor).add_(2), hue)
    hue = torch.where(largest == red, (green - blue).div_(divisor), hue)
    hue.add_(6 * factor.view(-1, 1, 1))
    for channel, offset in ((red, 5), (green, 3), (blue, 1)):
        k = (hue + offset).remainder_(6)
        share = torch.minimum(k, 4 - k).clamp_(0, 1)
        torch.addcmul(largest, chroma, share, value=-1, out=channel)
    return images


def _per_image(factor: torch.Tensor) -> torch.Tensor:
    return factor.view(-1, 1, 1, 1)
