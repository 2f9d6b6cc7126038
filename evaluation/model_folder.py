"""A trained network as a folder: model.safetensors, config.json and a model card."""

import json
import math
import re
from pathlib import Path, PureWindowsPath
from typing import Any

from datasets.preprocessing import Preprocessing
from evaluation.model_card import RunRecord, model_card
from evaluation.tested_runs import read_results
from models.dsn import Student
from models.embedding import embedding_network
from models.model_folder import CARD, FORMAT, LARGEST_CONFIG, WEIGHTS, config_of
from models.names import CONFIG, CSE_RESNET50, DOWNLOAD
from models.pretrained import TIMM_NAME
from models.restore import weights_digest
from models.timm_models import config_of as timm_config_of
from utils.errors import InputError
from utils.files import atomic_folder, read_json
from utils.text import one_line, printable, some_of

LARGEST_RECORD = 1 << 20  # bytes of options.json
ABSOLUTE = re.compile(r"(^|^-[A-Za-z]+|=)((?:/|\\\\|~|[A-Za-z]:[/\\]).*)", re.DOTALL)  # alone, after -s, or after =


def require_replaceable(path: Path) -> None:
    """Raise InputError if something is at `path` that is neither an empty folder nor an earlier export alone."""
    if not path.exists():
        return
    names = {part.name for part in path.iterdir()} if path.is_dir() else {path.name}
    others = names - {WEIGHTS, CONFIG, CARD}
    if names and (others or not _is_export(path)):
        what = f" ({printable(some_of(sorted(others), 2))})" if others else ""
        raise InputError(f"--output {path}: exists and holds what no export wrote{what}; name another folder")


def write_model_folder(
    path: Path, student: Student, preprocessing: Preprocessing, content: dict[str, Any], checkpoint: Path
) -> None:
    """Write the folder whole, or not at all; an earlier one is replaced. content: that of the checkpoint file.

    What the card says of test and training is read from results.json and options.json beside the checkpoint. Raises InputError
    if the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    trunk, options = student.original_model, plain_options(content.get("options"))
    if trunk.arch == CSE_RESNET50 and options.get("pretrained_weights") == DOWNLOAD:
        trunk.licence = timm_config_of(TIMM_NAME).license
    config = config_of(student, preprocessing, content, options)
    results = _results(checkpoint, weights_digest(embedding_network(student, preprocessing)))
    state = {key: value.contiguous() for key, value in student.state_dict().items()}
    with atomic_folder(path) as folder:
        try:
            save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        except SafetensorError as error:
            raise InputError(f"{path}: cannot be written ({one_line(error)}); free space or choose another") from error
        (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        (folder / CARD).write_text(model_card(config, results, _run_records(checkpoint, options)), encoding="utf-8")


def plain_options(options: object) -> dict[str, Any]:
    """The options that are text, numbers or switches, safe to print; of absolute paths, which may be private, the names."""
    found = options.items() if isinstance(options, dict) else ()
    return {printable(name): _plain(value) for name, value in found if isinstance(name, str) and _is_plain(value)}


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _plain(value: Any) -> Any:
    return printable(ABSOLUTE.sub(_name_alone, value, count=1)) if isinstance(value, str) else value


def _name_alone(found: re.Match[str]) -> str:
    return found[1] + PureWindowsPath(found[2]).name  # separated by / or \


def _is_export(path: Path) -> bool:
    try:
        config = read_json(path / CONFIG, LARGEST_CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") == FORMAT


def _results(checkpoint: Path, digest: str) -> dict[str, Any] | str:
    """The results of a test of these weights, or why there are none."""
    file = checkpoint.parent / "results.json"
    if not file.is_file():
        return "no test's `results.json` was beside the checkpoint when it was exported"
    try:
        results = read_results(file)
    except InputError:
        return "the `results.json` beside the checkpoint could not be read when it was exported"
    if results.get("weights_sha256") != digest:
        return "the `results.json` beside the checkpoint was not of these weights when it was exported, or did not name them"
    return results


def _run_records(checkpoint: Path, options: dict[str, Any]) -> list[RunRecord]:
    """How the run was started, and continued; [] unless one of the records beside the checkpoint has its options."""
    records, is_of_this_run = [], False
    for file in sorted(checkpoint.parent.glob("options*.json")):
        try:
            record = read_json(file, LARGEST_RECORD)
            commit, command = record["git"], [_plain(str(word)) for word in record["command"]]
        except (KeyError, OSError, TypeError, ValueError):
            continue
        records.append(RunRecord(_plain(str(commit)) if commit else None, command))
        is_of_this_run |= bool(options) and plain_options(record.get("options")) == options
    return records if is_of_this_run else []
