"""Colour operations on a batch with one factor for each image; the results equal torchvision's on single images.

They take images float32 (n, 3, height, width) in [0, 1] and factors (n,). A trailing underscore means that the operation works in
place and returns the images. Definitions: torchvision.transforms.v2.functional on float tensors.
"""

import torch

GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # red, green, blue, rounded as in torchvision


def grey_level(images: torch.Tensor) -> torch.Tensor:
    """Perceived brightness: (n, 3, height, width) → (n, 1, height, width)."""
    red, green, blue = images.split(1, dim=1)
    return (red * GREY_WEIGHTS[0]).add_(green, alpha=GREY_WEIGHTS[1]).add_(blue, alpha=GREY_WEIGHTS[2])


def adjust_brightness_(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Factor 0 makes the image black, 1 changes nothing."""
    return images.mul_(_per_image(factor)).clamp_(0, 1)


def adjust_contrast_(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Factor 0 makes all pixels the mean grey level, 1 changes nothing."""
    mean_grey = grey_level(images).mean(dim=(1, 2, 3), keepdim=True)
    return images.lerp_(mean_grey, 1 - _per_image(factor)).clamp_(0, 1)


def adjust_saturation_(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Factor 0 makes the image grey, 1 changes nothing."""
    return images.lerp_(grey_level(images), 1 - _per_image(factor)).clamp_(0, 1)


def adjust_hue_(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Rotate the hue by `factor` of the full circle; 0 changes nothing. Largest and smallest channel values stay.

    With chroma = largest − smallest and the hue in sixths of the circle, a channel is largest − chroma·clip(min(k, 4 − k), 0, 1),
    where k = (offset + hue) mod 6 and the offset is 5 for red, 3 for green, 1 for blue: torchvision's way to HSV and back.
    """
    red, green, blue = images.unbind(dim=1)
    largest = torch.maximum(torch.maximum(red, green), blue)
    chroma = largest - torch.minimum(torch.minimum(red, green), blue)
    # A grey pixel has chroma 0, so that its hue does not matter; the minimum avoids 0/0.
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
