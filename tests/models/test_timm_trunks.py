"""Trunks of timm: what they compute, what they start from, and what a user sees when a model or a file does not fit."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from datasets.images import decode
from models.names import PHOTO, SKETCH
from models.trunks import initial_trunk
from tests.helpers.photos import asymmetric
from tests.helpers.timm_weights import as_dinov2, as_openclip, as_original_convnext, random_state, write_weights

SLOW = pytest.mark.slow
KINDS = [  # model, image size, file, naming
    pytest.param("test_vit", None, "w.pth", None, id="ViT with class token"),
    pytest.param("test_vit2", 96, "w.safetensors", None, id="ViT with average pooling, at another size"),
    pytest.param("vit_small_patch14_reg4_dinov2", 56, "w.pth", as_dinov2, id="DINOv2, at another size", marks=SLOW),
    pytest.param("vit_xsmall_patch16_clip_224", None, "w.pt", as_openclip, id="CLIP tower"),
    pytest.param("test_vit3", None, "w.safetensors", None, id="ViT with attention pooling"),
    pytest.param("vit_base_patch16_siglip_224", 64, "w.safetensors", None, id="SigLIP, at another size", marks=SLOW),
    pytest.param("test_convnext", None, "w.pth.tar", as_original_convnext, id="ConvNeXt"),
    pytest.param("test_resnet", 100, "w.pth", None, id="ResNet, at another size"),
]


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    """A wide and a tall PNG with detail."""
    paths = [tmp_path / "wide.png", tmp_path / "tall.png"]
    for path, size in zip(paths, ((310, 205), (150, 263)), strict=True):
        noise = np.random.default_rng(0).integers(0, 60, (size[1], size[0], 3), np.uint8)
        Image.fromarray(np.asarray(asymmetric(*size)) // 2 + noise).save(path)
    return paths


def timms_features(name: str, state: dict, size: int | None, paths: list[Path]) -> torch.Tensor:
    """By timm alone, with weights in its own naming."""
    is_vit, wanted = name.startswith(("vit", "test_vit")), {} if size is None else {"img_size": size}
    rules = {"weight_init": "skip", **wanted} if is_vit else {}
    overlay = {"state_dict": dict(state)}
    network = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay, **rules).eval()
    transform = create_transform(**resolve_data_config(wanted, model=network), is_training=False)
    with torch.no_grad():
        return network(torch.stack([transform(Image.open(path).convert("RGB")) for path in paths]))


def our_features(name: str, file: Path, size: int | None, paths: list[Path]) -> torch.Tensor:
    """As a script computes them."""
    trunk = initial_trunk(f"timm/{name}", str(file), size)
    prepared = trunk.preprocessing
    pixels = np.stack([decode(path, prepared.image_size, prepared.fit) for path in paths]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return trunk.features(prepared.normalise(torch.from_numpy(pixels)), torch.tensor([SKETCH, PHOTO]))


@pytest.mark.parametrize(("name", "size", "file", "naming"), KINDS)
def test_preprocessing_and_feature_are_timms(name, size, file, naming, pictures, tmp_path):
    state = random_state(name)
    path = write_weights(tmp_path / file, naming(state) if naming else state)
    found, expected = our_features(name, path, size, pictures), timms_features(name, state, size, pictures)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 0.01  # else the images would not matter
