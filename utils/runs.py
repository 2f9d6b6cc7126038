"""Run folders: what they are called and the record of how a run was made."""

import argparse
import importlib.metadata
import itertools
import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from utils.files import atomic_write

LAST, BEST = "checkpoint.pth.tar", "model_best.pth.tar"
PREVIOUS = "checkpoint.previous.pth.tar"  # what LAST was before it was last written
DAMAGED = "checkpoint.damaged.pth.tar"  # what LAST was when it could not be read
NEW_RUN = ".begun_anew"  # there while a new run has not saved anything, and what lies in its folder is an earlier run's
NOT_FINITE = "not_finite.pth.tar"  # the state in which a loss was not finite


def run_folder(root: Path, prefix: str, options: argparse.Namespace) -> Path:
    """The released name: `sketchy_kd(1.0)_kdneg(0.3)_sake(1.0)_dim(64)_contrastive(128-0.1)_T(0.07)_memory(10-1.0)`."""
    return root / (
        f"{prefix}_kd({options.kd_lambda})_kdneg({options.kdneg_lambda})_sake({options.sake_lambda})"
        f"_dim({options.num_hashing})_contrastive({options.contrastive_dim}-{options.contrastive_lambda})"
        f"_T({options.temperature})_memory({options.topk}-{options.memory_lambda})"
    )


def archive_files(folder: Path) -> Path | None:
    """Move what an earlier run left in `folder` to `previous_1/` (or the next free number) in it; that folder, if any."""
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
    """Names of the run folders that hold a checkpoint."""
    return sorted({path.parent.name for path in root.glob("*/*.pth.tar")})


def record_run(path: Path, options: argparse.Namespace, **resolved: object) -> None:
    """Write as JSON every option as it was resolved, the command, versions and the code's git SHA."""
    record = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "options": options_as_text(options),
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


def options_as_text(options: argparse.Namespace) -> dict:
    """The options as a checkpoint or a JSON file can hold them: paths as text."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}


def git_sha() -> str | None:
    """The commit this code is at, with `+changes` where the working tree differs; None outside a checkout."""
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
