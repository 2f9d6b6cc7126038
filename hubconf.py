"""Two lines to an embedding, by torch.hub. REPO: OWNER/NAME on GitHub, or a folder together with source="local".

model, transform = torch.hub.load(REPO, "dsn", checkpoint="model_best.pth.tar")
vectors = model.embed(transform(Image.open("photo.jpg"))[None], "photo")  # or "sketch"; (1, d), length 1

Packages named `datasets`, `models` and `utils` are common. So those here are imported as `dsn_hub.datasets` and so on, and others
of the same name, such as Hugging Face's `datasets`, can be imported before and after.
"""

import ast
import copyreg
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

dependencies = ["torch", "torchvision", "timm", "safetensors", "numpy", "PIL"]
ROOT = Path(__file__).resolve().parent
PACKAGE, OURS = "dsn_hub", ("datasets", "models", "utils")


def dsn(checkpoint: str, image_size: int | None = None) -> Any:
    """The embedding network of a checkpoint (released, ours, or a folder that export.py wrote), and the transform of its images.

    Returns (model, transform). The model is in eval mode on the CPU, and its weights need no gradient. `model.embed(images,
    domain)`: images (B, 3, S, S) from the transform, domain "sketch" or "photo" → (B, d) of length 1. `transform(image)`: a
    Pillow image or a path → (3, S, S). image_size: S; default: that of the training. Raises InputError.
    """
    return _imported("models.hub").load_trained(checkpoint, image_size)


def trunk(arch: str, pretrained_weights: str = "imagenet", image_size: int | None = None) -> Any:
    """The same with the pooled feature of an untrained trunk: `cse_resnet50`, or `timm/NAME` for any image model of timm.

    pretrained_weights: `imagenet` (timm's download), a file, or `none` (random). The licence of downloaded weights is printed,
    and is `model.trunk.licence`; None: not known.
    """
    return _imported("models.hub").load_untrained(arch, pretrained_weights, image_size)


def _transform(preprocessing: dict[str, Any]) -> Any:
    """How another process, such as a worker of a DataLoader, unpickles a transform."""
    found = _imported("datasets.preprocessing")
    return found.Transform(found.Preprocessing.from_dict(preprocessing))


def _imported(name: str) -> types.ModuleType:
    """A module of this repository. Raises ImportError if another copy of the repository is in use in this process."""
    package = sys.modules.get(PACKAGE) or _new_package()
    if list(package.__path__) != [str(ROOT)]:
        raise ImportError(f"{ROOT}: the copy in {package.__path__[0]} is in use already; use one of them in each process")
    return importlib.import_module(f"{PACKAGE}.{name}")


def _new_package() -> types.ModuleType:
    """Nothing of it stays if the first import fails, so that the next call can repeat it."""
    package = sys.modules[PACKAGE] = types.ModuleType(PACKAGE)
    package.__path__ = [str(ROOT)]
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        transform = importlib.import_module(f"{PACKAGE}.datasets.preprocessing").Transform
    except BaseException:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
        raise
    copyreg.pickle(transform, _reduced)  # type: ignore[arg-type]
    return package


def _reduced(transform: Any) -> tuple[Any, ...]:
    load = functools.partial(torch.hub.load, str(ROOT), "_transform", source="local")
    return load, (transform.preprocessing.as_dict(),)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, rest = name.partition(".")
        if package != PACKAGE:
            return None
        place = ROOT.joinpath(*rest.split("."))
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        return importlib.util.spec_from_file_location(name, file, loader=_Loader(name, str(file))) if file.is_file() else None


class _Loader(importlib.machinery.SourceFileLoader):
    """Reads `from models.x import y` as `from dsn_hub.models.x import y`."""

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)  # not the cached bytecode, which has the other names
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in OURS:
                node.module = f"{PACKAGE}.{node.module}"
        return compile(tree, path, "exec", dont_inherit=True)
