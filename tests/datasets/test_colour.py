"""The batched colour operations against torchvision's, one image at a time."""

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from datasets import colour

OPERATIONS = [
    pytest.param(colour.adjust_brightness_, tv.adjust_brightness, 1.0, id="brightness"),
    pytest.param(colour.adjust_contrast_, tv.adjust_contrast, 1.0, id="contrast"),
    pytest.param(colour.adjust_saturation_, tv.adjust_saturation, 1.0, id="saturation"),
    pytest.param(colour.adjust_hue_, tv.adjust_hue, 0.0, id="hue"),
]


@pytest.fixture
def images() -> torch.Tensor:
    """(12, 3, 16, 16) in [0, 1]: noise, 8-bit noise, greys, and the flat colours where the hue changes its sector."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(4, 3, 16, 16, generator=generator)
    eight_bits = torch.randint(0, 5, (2, 3, 16, 16), generator=generator) / 4  # many equal channels
    grey = torch.rand(1, 1, 16, 16, generator=generator).expand(1, 3, 16, 16)
    flat = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [1, 1, 0]]).float()
    return torch.cat([noise, eight_bits, grey, flat[:, :, None, None].expand(-1, -1, 16, 16)])


@pytest.mark.parametrize("operation, reference, neutral", OPERATIONS)
def test_operation_equals_torchvision_on_each_image(images, operation, reference, neutral):
    spread = 0.4 if neutral else 0.1
    factors = neutral + spread * torch.linspace(-1, 1, len(images))
    expected = torch.stack([reference(image, float(factor)) for image, factor in zip(images, factors, strict=True)])
    ours = operation(images.clone(), factors)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    assert ours.min() >= 0 and ours.max() <= 1


@pytest.mark.parametrize("operation, reference, neutral", OPERATIONS)
def test_neutral_factor_changes_nothing(images, operation, reference, neutral):
    ours = operation(images.clone(), torch.full((len(images),), neutral))
    torch.testing.assert_close(ours, images, atol=1e-6, rtol=0)


def test_hue_goes_round_the_circle(images):
    third = torch.full((len(images),), 1 / 3)
    turned = colour.adjust_hue_(images.clone(), third)
    # A third of the circle takes red to green, green to blue, blue to red.
    torch.testing.assert_close(turned, images.roll(1, dims=1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("operation, reference, neutral", OPERATIONS)
def test_operation_works_in_place_on_channels_last_too(images, operation, reference, neutral):
    factors = torch.full((len(images),), neutral - 0.1)
    transposed = images.clone(memory_format=torch.channels_last)
    operation(transposed, factors)
    torch.testing.assert_close(transposed, operation(images.clone(), factors), atol=1e-6, rtol=0)


def test_grey_level_equals_torchvision(images):
    torch.testing.assert_close(colour.grey_level(images), tv.rgb_to_grayscale(images), atol=1e-6, rtol=0)
