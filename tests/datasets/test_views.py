"""The batched views against slow per-image oracles: PIL, nested loops, torchvision."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from datasets import views
from datasets.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from datasets.views import ThreeViews, ViewParameters, draw_parameters, make_views, normalise


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def neutral(count: int, **changes) -> ViewParameters:
    """Parameters that change nothing, except for the fields given."""
    parameters = ViewParameters(
        flip=torch.zeros(count, dtype=torch.bool),
        scale=torch.ones(count, 2),
        angle=torch.zeros(count),
        shift=torch.zeros(count, 2),
        mirror=torch.zeros(2, count, dtype=torch.bool),
        jitter=torch.zeros(2, count, dtype=torch.bool),
        factor=torch.tensor(views.JITTER_CENTRE).repeat(2, count, 1),
        order=torch.arange(4).repeat(2, count, 1),
        grey=torch.zeros(2, count, dtype=torch.bool),
    )
    return dataclasses.replace(parameters, **changes)


def drawn(count: int, seed: int = 0, **changes) -> ViewParameters:
    return dataclasses.replace(draw_parameters(count, torch.Generator().manual_seed(seed)), **changes)


def smooth_images(count: int, side: int, seed: int = 0) -> torch.Tensor:
    """uint8 (count, 3, side, side): coarse noise, enlarged."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 8, 8, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 255).round().byte()


def every_warp(count: int, seed: int = 0) -> ViewParameters:
    """All parts of the warp on every image, with and without the flip, and no colours."""
    generator = torch.Generator().manual_seed(seed)
    return neutral(
        count,
        flip=torch.arange(count) % 2 == 0,
        scale=0.7 + 0.6 * torch.rand(count, 2, generator=generator),
        angle=-30 + 60 * torch.rand(count, generator=generator),
        shift=(20 * torch.rand(count, 2, generator=generator) - 10) / 256,
    )


def forward_matrix(parameters: ViewParameters, index: int, side: int) -> np.ndarray:
    """(3, 3): the affine map of one image, from where a pixel was (after the flip) to where it goes."""
    angle = math.radians(float(parameters.angle[index]))
    (sx, sy), (tx, ty) = parameters.scale[index].tolist(), parameters.shift[index].tolist()
    return np.array(
        [
            [sx * math.cos(angle), -sy * math.sin(angle), tx * side],
            [sx * math.sin(angle), sy * math.cos(angle), ty * side],
            [0, 0, 1],
        ]
    )


# --- the warp ---------------------------------------------------------------------------------------------------------


def test_warp_equals_nested_loops():
    side, count = 9, 6
    images, parameters = torch.randint(0, 256, (count, 3, side, side)).byte(), every_warp(count)
    ours = views.warp(images, parameters)
    for index in range(count):
        pixels = images[index].numpy().astype(np.float64) / 255
        if parameters.flip[index]:
            pixels = pixels[:, :, ::-1]
        inverse = np.linalg.inv(forward_matrix(parameters, index, side))
        expected = np.zeros((3, side, side))
        for y in range(side):
            for x in range(side):
                source_x, source_y, _ = inverse @ (x, y, 1)
                left, top = math.floor(source_x), math.floor(source_y)
                for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
                    weight = (1 - abs(source_x - column)) * (1 - abs(source_y - row))
                    if 0 <= column < side and 0 <= row < side:
                        expected[:, y, x] += weight * pixels[:, row, column]
        np.testing.assert_allclose(ours[index].numpy(), expected, atol=1e-5)


def test_warp_equals_pil_inside_and_is_black_outside():
    side, count = 96, 8
    images, parameters = smooth_images(count, side), every_warp(count, seed=1)
    ours = views.warp(images, parameters).numpy()
    for index in range(count):
        picture = Image.fromarray(images[index].permute(1, 2, 0).numpy())
        if parameters.flip[index]:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        (a, b, c), (d, e, f), _ = np.linalg.inv(forward_matrix(parameters, index, side))
        # PIL's coordinates are those of pixel corners: a pixel's centre lies at its index + 1/2, in both images.
        corners = (a, b, c + (1 - a - b) / 2, d, e, f + (1 - d - e) / 2)
        warped = picture.transform((side, side), Image.Transform.AFFINE, corners, Image.Resampling.BILINEAR)
        expected = np.asarray(warped).transpose(2, 0, 1) / 255

        y, x = np.mgrid[:side, :side]
        source_x, source_y = a * x + b * y + c, d * x + e * y + f
        nearest_edge = np.minimum.reduce([source_x, source_y, side - 1 - source_x, side - 1 - source_y])
        inside, outside = nearest_edge > 1e-3, nearest_edge < -1.001
        assert inside.mean() > 0.3
        assert np.abs(ours[index] - expected)[:, inside].max() <= 1.01 / 255  # PIL cuts to 8 bits
        assert (ours[index][:, outside] == 0).all()


def test_warp_moves_a_dot_where_the_formula_says():
    images = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    images[:, :, 12, 20] = 255  # y = 12, x = 20
    parameters = neutral(
        4,
        flip=torch.tensor([False, False, True, False]),
        scale=torch.tensor([[1.0, 1.0], [2.0, 3.0], [1.0, 1.0], [1.0, 1.0]]),
        shift=torch.tensor([[3.0, 5.0], [0.0, 0.0], [0.0, 0.0], [60.0, 0.0]]) / 64,
        angle=torch.tensor([0.0, 0.0, 0.0, 90.0]),
    )
    warped = views.warp(images, parameters)
    # shift by (3, 5); scale by (2, 3); flip; a quarter turn about the corner, clockwise as seen, then 60 to the right
    for image, (x, y) in zip(warped, [(23, 17), (40, 36), (43, 12), (48, 20)], strict=True):
        assert divmod(int(image[0].argmax()), 64) == (y, x)
        torch.testing.assert_close(image[:, y, x], torch.ones(3), atol=1e-4, rtol=0)


def test_only_warped_images_are_touched():
    images = torch.randint(0, 256, (3, 3, 50, 50)).byte()
    parameters = neutral(3, angle=torch.tensor([0.0, 20.0, 0.0]))
    warped = views.warp(images, parameters)
    assert torch.equal(warped[[0, 2]], images[[0, 2]].float() / 255)
    assert not torch.allclose(warped[1], images[1].float() / 255, atol=0.1)


# --- resizing and normalising -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side, image_size", [(256, 224), (100, 64), (48, 64), (64, 64)])
def test_resize_equals_torchvision(side, image_size):
    images = torch.rand(2, 3, side, side)
    expected = tv.resize(images, [image_size, image_size], antialias=True)
    torch.testing.assert_close(views.resize(images, image_size), expected, atol=1e-6, rtol=0)


def test_normalise_equals_torchvision():
    images = torch.randint(0, 256, (4, 3, 20, 20)).byte()
    reference = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    for ours in (normalise(images), normalise(images.float() / 255)):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, reference(images), atol=2e-6, rtol=0)


# --- the three views --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side, image_size", [(256, 224), (96, 64), (64, 64)])
def test_nothing_drawn_gives_three_times_the_resized_image(side, image_size):
    images = torch.randint(0, 256, (2, 3, side, side)).byte()
    base, first, second = make_views(images, neutral(2), image_size)
    assert base.shape == (2, 3, image_size, image_size)
    assert torch.equal(base, normalise(views.resize(images.float() / 255, image_size)))
    assert torch.equal(first, base) and torch.equal(second, base)


def test_contrast_views_equal_torchvision_in_each_images_own_order():
    count, image_size = 40, 48
    images, parameters = smooth_images(count, 64), drawn(count, seed=5)
    base, *contrast = make_views(images, parameters, image_size)
    operations = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue]
    orders = set()
    warped = tv.resize(views.warp(images, parameters), [image_size, image_size], antialias=True)
    finish = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)
    torch.testing.assert_close(base, finish(warped), atol=1e-5, rtol=0)
    for view in range(2):
        for index in range(count):
            image = warped[index]
            if parameters.mirror[view, index]:
                image = tv.horizontal_flip(image)
            if parameters.jitter[view, index]:
                order = parameters.order[view, index].tolist()
                orders.add(tuple(order))
                for operation in order:
                    image = operations[operation](image, float(parameters.factor[view, index, operation]))
            if parameters.grey[view, index]:
                image = tv.rgb_to_grayscale(image, num_output_channels=3)
            torch.testing.assert_close(contrast[view][index], finish(image), atol=1e-4, rtol=0)
    assert len(orders) > 12  # the test means something only if the images differ in their order


def test_warp_is_shared_by_the_three_views_and_colours_are_not():
    count = 24
    images = smooth_images(count, 64)
    off = torch.zeros(2, count, dtype=torch.bool)
    base, first, second = make_views(images, drawn(count, mirror=off, jitter=off, grey=off), 64)
    assert torch.equal(first, base) and torch.equal(second, base)
    base, first, second = make_views(images, drawn(count, mirror=off, jitter=~off, grey=off), 64)
    for one, other in ((base, first), (base, second), (first, second)):
        assert ((one - other).abs().amax(dim=(1, 2, 3)) > 0.01).all()


def test_same_seed_epoch_and_step_give_the_same_bits_and_nothing_else_does():
    images = smooth_images(8, 64)
    global_state = torch.get_rng_state()
    expected = ThreeViews(48, seed=1)(images, epoch=2, step=34)
    assert torch.equal(torch.get_rng_state(), global_state)
    torch.rand(5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = ThreeViews(48, seed=1)(images, epoch=2, step=34)
    assert all(torch.equal(one, other) and one.dtype == torch.float32 for one, other in zip(expected, again, strict=True))
    for seed, epoch, step in [(1, 2, 35), (1, 34, 2), (2, 2, 34), (12, 3, 4), (1, 23, 4)]:
        for one, other in zip(expected, ThreeViews(48, seed)(images, epoch, step), strict=True):
            assert not torch.equal(one, other)


def test_wrong_images_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        make_views(torch.rand(2, 3, 64, 64), neutral(2), 64)
    with pytest.raises(ValueError, match=r"\(2, 3, 64, 60\)"):
        make_views(torch.zeros(2, 3, 64, 60, dtype=torch.uint8), neutral(2), 64)
    with pytest.raises(ValueError, match="drawn for 3"):
        make_views(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), neutral(3), 64)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_views_without_waiting():
    images, parameters = smooth_images(16, 96), drawn(16, seed=7)
    on_device = images.cuda()
    make_views(on_device, parameters, 64)  # first call: libraries load, which may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        ours = make_views(on_device, parameters, 64)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for one, other in zip(ours, make_views(images, parameters, 64), strict=True):
        torch.testing.assert_close(one.cpu(), other, atol=1e-3, rtol=0)


# --- what is drawn ----------------------------------------------------------------------------------------------------


def share(condition: torch.Tensor) -> float:
    return condition.float().mean().item()


def test_warp_parameters_have_the_stated_chances_and_ranges():
    p = drawn(20_000, seed=11)
    scaled, turned, shifted = p.scale[:, 0] != 1, p.angle != 0, p.shift[:, 0] != 0
    parts = [p.flip, scaled, turned, shifted]
    for index, part in enumerate(parts):
        assert share(part) == pytest.approx(0.35, abs=0.015)
        for other in parts[:index]:  # .7·.5·.5: one gate for all parts, each part for itself behind it
            assert share(part & other) == pytest.approx(0.175, abs=0.012)
    assert share(p.warped) == pytest.approx(0.7 * (1 - 0.5**4), abs=0.015)
    assert torch.equal(p.warped, p.flip | scaled | turned | shifted)
    assert torch.equal(scaled, p.scale[:, 1] != 1) and torch.equal(shifted, p.shift[:, 1] != 0)
    assert_uniform(p.scale[scaled], 0.7, 1.3)
    assert_uniform(p.angle[turned], -30, 30)
    assert_uniform(p.shift[shifted], -10 / 256, 10 / 256)
    for pair in (p.scale[scaled], p.shift[shifted]):
        assert abs(torch.corrcoef(pair.T)[0, 1].item()) < 0.05


def test_colour_parameters_have_the_stated_chances_and_ranges():
    p = drawn(20_000, seed=12)
    for drawn_flags, chance in ((p.mirror, 0.5), (p.jitter, 0.8), (p.grey, 0.2)):
        assert drawn_flags.shape == (2, 20_000)
        for view in drawn_flags:
            assert share(view) == pytest.approx(chance, abs=0.015)
        # Drawn apart for the two views.
        assert share(drawn_flags[0] & drawn_flags[1]) == pytest.approx(chance**2, abs=0.015)
    for index, (low, high) in enumerate([(0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1)]):
        assert_uniform(p.factor[..., index].flatten(), low, high)
        assert abs(torch.corrcoef(p.factor[..., index])[0, 1].item()) < 0.03
    codes = p.order @ torch.tensor([64, 16, 4, 1])
    for view in codes:
        _, counts = view.unique(return_counts=True)
        assert len(counts) == 24
        assert (counts / 20_000 - 1 / 24).abs().max() < 0.007
    assert share(codes[0] == codes[1]) == pytest.approx(1 / 24, abs=0.007)


def assert_uniform(values: torch.Tensor, low: float, high: float) -> None:
    width = high - low
    assert low - 1e-6 <= values.min() and values.max() <= high + 1e-6
    quantiles = torch.quantile(values.flatten().double(), torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).double())
    expected = low + width * torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).double()
    torch.testing.assert_close(quantiles, expected, atol=0.02 * width, rtol=0)


def test_same_generator_state_draws_the_same_parameters():
    one, same, other = drawn(50, seed=3), drawn(50, seed=3), drawn(50, seed=4)
    for field in dataclasses.fields(ViewParameters):
        assert torch.equal(getattr(one, field.name), getattr(same, field.name))
        assert not torch.equal(getattr(one, field.name), getattr(other, field.name))
        assert getattr(one, field.name).device.type == "cpu"


def test_without_contrast_the_base_view_is_the_same_and_alone():
    images = torch.randint(0, 256, (5, 3, 37, 37), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    views = ThreeViews(32, seed=4)
    (alone,) = views(images, 1, 2, contrast=False)
    assert torch.equal(alone, views(images, 1, 2)[0])
