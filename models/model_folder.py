"""A folder that export.py wrote: the weights, and in config.json what is needed to build the network offline."""

from pathlib import Path
from typing import Any

from datasets.preprocessing import Preprocessing
from models.dsn import Student
from models.names import CONFIG, CSE_RESNET50, PHOTO, SKETCH, is_timm
from models.trunk import Trunk
from utils.checkpoints import read_tensors
from utils.errors import InputError
from utils.files import read_json

WEIGHTS, CARD = "model.safetensors", "README.md"
FORMAT = "dsn-embedding-1"
LARGEST_CONFIG = 1 << 20  # bytes
LOAD = 'model, transform = torch.hub.load(REPO, "dsn", checkpoint=FOLDER)'


def config_of(student: Student, preprocessing: Preprocessing, content: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The content of config.json. content: that of the checkpoint. options: those of the training."""
    trunk = student.original_model
    return {
        "format": FORMAT,
        "arch": trunk.arch,
        "preprocessing": preprocessing.as_dict(),
        "preprocessing_in_words": preprocessing.in_words(),
        "embedding_width": trunk.second_last_linear.out_features,
        "domain_tag": trunk.has_domain_tag and options.get("domain_tag") != "off",
        "domain_has_effect": _domain_has_effect(trunk),
        "domains": {"sketch": SKETCH, "photo": PHOTO},
        "licence": trunk.licence,
        "load": LOAD,
        "epoch": content.get("epoch"),
        "options": options,
    }


def read_model_folder(folder: Path, option: str) -> dict[str, Any]:
    """What `utils.checkpoints.read_checkpoint` returns of a checkpoint, without optimizer and the like.

    Raises InputError if export.py did not write the folder, or a file of it is damaged.
    """
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"{folder}: is a folder, not a file, and has no {CONFIG}; {option} needs a checkpoint or a folder of export.py"
        )
    try:
        config = read_json(folder / CONFIG, LARGEST_CONFIG)
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise ValueError("no format of export.py")
        arch, epoch, options = config["arch"], config["epoch"], config["options"]
        size = Preprocessing.from_dict(config["preprocessing"]).image_size
        if not isinstance(arch, str) or not isinstance(options, dict) or not (epoch is None or type(epoch) is int):
            raise ValueError("arch, epoch or options")
    except (KeyError, OSError, ValueError) as error:
        raise InputError(f"{folder / CONFIG}: damaged, or not of export.py ({error}); export or fetch it again") from error
    content: dict[str, Any] = {"state_dict": read_tensors(folder / WEIGHTS, option), "options": {**options, "image_size": size}}
    if epoch is not None:
        content["epoch"] = epoch
    return {**content, "trunk": config} if is_timm(arch) else content


def _domain_has_effect(trunk: Trunk) -> bool:
    """Whether the domain tag was trained: its numbers start at zero, where they change nothing."""
    state = trunk.state_dict().items()
    if trunk.arch == CSE_RESNET50:
        return any(value[:, -1].any() for name, value in state if name.endswith("se_module.fc2.weight"))
    return any(value.any() for name, value in state if name.startswith("domain_tag."))
