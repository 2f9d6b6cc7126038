"""Entry scripts and the options of a tiny run."""

from pathlib import Path

import torch

from utils.checkpoints import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
TRAIN, TEST = "train_cse_resnet_sketchy_ext.py", "test_cse_resnet_sketchy_zeroshot.py"
RUN_NAME = "sketchy_kd(1.0)_kdneg(0.3)_sake(1.0)_dim(64)_contrastive(128-0.1)_T(0.07)_memory(10-1.0)"
SMALL = ["--device", "cpu", "--image_size", "32", "--num_workers", "0", "--batch_size", "6", "--amp", "off"]
SHORT = ["--pretrained_weights", "none", "--steps_per_epoch", "2", "--validation_batches", "2"]


def weights_of(folder, name="checkpoint.pth.tar"):
    return read_checkpoint(folder / RUN_NAME / name)["state_dict"]


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
