"""Files of a run folder, and the record of how a run was made."""

import importlib.metadata
import itertools
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.files import atomic_write

LAST, BEST = "checkpoint.pth.tar", "model_best.pth.tar"
PREVIOUS = "checkpoint.previous.pth.tar"  # the checkpoint before LAST
DAMAGED = "checkpoint.damaged.pth.tar"  # a LAST that could not be read
NEW_RUN = ".begun_anew"  # marks the folder of a new run that has saved nothing yet: its files are an earlier run's
NOT_FINITE = "not_finite.pth.tar"  # the state in which a loss or weight was not finite


def archive_files(folder: Path) -> Path | None:
    """Move the files of an earlier run in `folder` to `previous_1/` in it (or the next free number), which is returned."""
    left = [path for path in folder.glob("*") if not path.name.startswith((".", "previous_"))]
    if not left:
        return None
    free = (folder / f"previous_{number}" for number in itertools.count(1))
    kept = next(path for path in free if not path.exists())
    kept.mkdir()
    for path in left:
        path.rename(kept / path.name)
    return kept


def list_runs(root: Path) -> list[str]:
    """Names of the run folders below `root` that hold a checkpoint."""
    return sorted({path.parent.name for path in root.glob("*/*.pth.tar")})


def record_run(path: Path, options: dict[str, Any], **resolved: object) -> None:
    """Write the command, the options, what they resolved to, versions and the code's git SHA as JSON."""
    record = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "options": options,
        "resolved": resolved,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": importlib.metadata.version("torchvision"),
            "numpy": np.__version__,
            "cuda": torch.version.cuda,
        },
        "git": git_sha(),
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")


def git_sha() -> str | None:
    """The commit of this code, with `+changes` if the working tree differs; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
