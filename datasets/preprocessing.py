"""How an image becomes the input of a network: its size, what of the image is seen, and the normalisation."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from datasets.images import Fit
from datasets.views import IMAGENET_MEAN, IMAGENET_STD, normalise

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
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
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

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) uint8, or float in [0, 1] → float32."""
        return normalise(images, self.mean, self.std)

    def as_dict(self) -> dict[str, Any]:
        """For JSON and checkpoints; `from_dict` reads it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Any) -> "Preprocessing":
        """Raises ValueError if a value is missing or not possible; `content` may be anything."""
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
