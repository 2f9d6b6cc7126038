"""How an image becomes the input of a network: its size, what of the image is seen, and the normalisation.

PyTorch is imported where tensors are made: a search without it knows its preprocessing too.
"""

import functools
import math
import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from datasets.images import Fit, decode, pixels

if TYPE_CHECKING:
    import torch

Triple = tuple[float, ...]  # of red, green and blue
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
CROP_MODES = ("center", "squash", "border")
LARGEST = 1e6  # mean, and 1 / standard deviation, of pixels in [0, 1]


@dataclass(frozen=True)
class Preprocessing:
    """The names and values are those of timm's data config.

    The default is that of `cse_resnet50`: the whole image, stretched to the square. In timm's `center` mode the shorter side is
    resized to image_size / crop_pct and the central square is cut out.
    """

    image_size: int  # pixels of both sides
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    interpolation: str = "bilinear"
    crop_pct: float = 1.0
    crop_mode: str = "squash"

    def whole_image(self, side: int | None = None) -> "Preprocessing":
        """The same, but without cutting anything off, at `side` pixels (default: the same)."""
        return replace(self, image_size=side or self.image_size, crop_pct=1.0, crop_mode="squash")

    @property
    def fit(self) -> Fit | None:
        """An RGB image → (image_size, image_size); None if it is stretched by a bilinear filter, as `decode` does itself."""
        if self == replace(self.whole_image(), interpolation="bilinear"):
            return None
        from timm.data import create_transform

        size = (3, self.image_size, self.image_size)
        rules: dict[str, Any] = {"interpolation": self.interpolation, "crop_pct": self.crop_pct, "crop_mode": self.crop_mode}
        transform: Any = create_transform(size, is_training=False, mean=self.mean, std=self.std, **rules)
        transform.transforms = transform.transforms[:-2]  # without the conversion to a tensor and the normalisation
        return transform

    def normalise(self, images: "torch.Tensor") -> "torch.Tensor":
        """(B, 3, H, W) uint8, or float in [0, 1] → float32."""
        from datasets.views import normalise

        return normalise(images, self.mean, self.std)

    def in_words(self) -> str:
        """How to make the pixels with Pillow, for users of exported files; `image_size` is named, not stated."""
        scaled = math.floor(self.image_size / self.crop_pct)
        side = "image_size" if scaled == self.image_size else str(scaled)
        resized = {
            "squash": f"stretched to {side} x {side}",
            "center": f"the shorter side resized to {side}",
            "border": f"the longer side resized to {side}",
        }[self.crop_mode]
        how = f"with an antialiased {self.interpolation} filter (Pillow's resize with {self.interpolation.upper()})"
        colour = "the mean colour" if self.crop_mode == "border" else "black"
        cropped = f", then cropped to the central image_size x image_size (filled with {colour} where the image is smaller)"
        return f"upright (EXIF), transparent pixels on white, RGB, {resized} {how}{cropped if self.crops else ''}"

    @property
    def crops(self) -> bool:
        """Whether something of the image may be cut off, or added."""
        return self.crop_mode != "squash" or math.floor(self.image_size / self.crop_pct) != self.image_size

    def as_dict(self) -> dict[str, Any]:
        """For JSON and checkpoints; `from_dict` reads it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Any) -> "Preprocessing":
        """Raises ValueError if a value is missing or not possible; `content` may be anything."""
        if not isinstance(content, dict):
            raise ValueError("incomplete")
        try:
            size, mean, std = content["image_size"], tuple(content["mean"]), tuple(content["std"])
            interpolation, crop_pct, crop_mode = content["interpolation"], content["crop_pct"], content["crop_mode"]
        except (KeyError, TypeError) as error:
            raise ValueError("incomplete") from error
        numbers = (*mean, *std, crop_pct)
        if type(size) is not int or not 32 <= size <= 8192 or len(mean) != 3 or len(std) != 3:
            raise ValueError("image size, mean or standard deviation")
        if not all(type(value) in (int, float) and abs(value) < LARGEST for value in numbers) or min(std) < 1 / LARGEST:
            raise ValueError("mean or standard deviation")
        if not 0.5 <= crop_pct <= 2 or interpolation not in INTERPOLATIONS or crop_mode not in CROP_MODES:
            raise ValueError("interpolation or crop")
        return cls(size, mean, std, interpolation, crop_pct, crop_mode)


@dataclass(frozen=True)
class Transform:
    """An image → the (3, S, S) float32 tensor that a network with this preprocessing expects, with the pixels that a test embeds.

    The image is turned upright by EXIF, transparent pixels become white. Pass a path, or an image that Pillow opened; see
    `datasets.images.pixels` for the one difference. Raises InputError if a path is no readable image.
    """

    preprocessing: Preprocessing

    @functools.cached_property
    def _fit(self) -> Fit | None:
        return self.preprocessing.fit

    def __call__(self, image: Image.Image | str | os.PathLike) -> "torch.Tensor":
        import torch

        read = pixels if isinstance(image, Image.Image) else decode
        found = torch.from_numpy(read(image, self.preprocessing.image_size, self._fit))
        return self.preprocessing.normalise(found.permute(2, 0, 1)[None])[0]
