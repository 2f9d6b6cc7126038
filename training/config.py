"""Every option of the four scripts, in groups, each under both `--a_b` and `--a-b`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from datasets.catalog import DATA_ROOT, Dataset
from models.pretrained import IMAGENET
from retrieval.hashing import FITS
from retrieval.scores import TIES
from utils.parser import (
    Group,
    Parser,
    fraction,
    image_side,
    layer_size,
    non_negative_float,
    non_negative_int,
    path_argument,
    positive_float,
    positive_int,
    worker_count,
)

ARCHITECTURES = ("cse_resnet50",)


@dataclass(frozen=True)
class Recipe:
    """What sets one dataset's training apart: its lists, shares, schedule and seed."""

    dataset: Dataset
    photos_per_sketch: int  # in a batch: batch_size // (1 + photos_per_sketch) sketches
    epochs: int
    validation_batches: int  # of batch_size // 2 pairs each
    seed: int


def training_options(recipe: Recipe, arguments: list[str] | None = None) -> argparse.Namespace:
    """Parsed options of a train script; a mistake exits with code 2 after one line."""
    parser = Parser(f"Train DSN on {recipe.dataset.name}.")
    _data(parser, recipe.dataset)
    _run_folder(parser, "--savedir", "-s")
    _model(parser, training=True)
    _objective(parser)

    schedule = Group(parser, "schedule")
    schedule.add("--epochs", type=non_negative_int, default=recipe.epochs, help="0 saves the starting weights as they are")
    schedule.add("--batch_size", type=positive_int, default=96, help="sketches and photos in one step, each in three views")
    schedule.add("--lr", type=positive_float, default=1e-4, help="Adam's step, times lr_decay^(epoch/epochs)")
    schedule.add("--lr_decay", type=positive_float, default=0.001, help="what the step is multiplied with over the whole run")
    schedule.add("--weight-decay", "--wd", type=non_negative_float, default=5e-4, help="L2 term of Adam, coupled")
    schedule.add("--steps_per_epoch", type=positive_int, default=None, help="cut epochs short; None: as long as the lists last")
    schedule.add(
        "--validation_batches", type=positive_int, default=recipe.validation_batches, help="of batch_size // 2 pairs each"
    )
    schedule.add("--seed", type=non_negative_int, default=recipe.seed, help="same seed, same batches, same views")
    schedule.add("--freeze_features", "-f", action="store_true", help="train the heads only")

    running = _running(parser, amp="auto")
    running.add("--print-freq", "-p", type=positive_int, default=10, help="steps between two readings of the losses")
    running.add("--evaluate", "-e", action="store_true", help="validate only: the start weights, or with --resume the last epoch")
    running.add(
        "--batchnorm",
        choices=("synchronised", "local"),
        default="synchronised",
        help="statistics of several processes (torchrun): of the whole batch, as one process has them, or each its own",
    )
    running.add(
        "--save_minutes",
        type=non_negative_float,
        default=15,
        help="between two checkpoints within an epoch; 0: only at the end of epochs",
    )
    running.add("--compile", action="store_true", help="compile the network first (torch.compile); see benchmarks/README.md")
    running.add("--profile", action="store_true", help="time a few steps, write their trace to the run folder, and stop")
    running.add("--resume", "-r", action="store_true", help="go on from checkpoint.pth.tar of the run folder, if it is there")
    return parser.parse_args(arguments)


def retrieval_options(dataset: Dataset, arguments: list[str] | None = None) -> argparse.Namespace:
    """Parsed options of a test script; a mistake exits with code 2 after one line."""
    parser = Parser(f"Retrieve unseen classes of {dataset.name} with a trained DSN.")
    _data(parser, dataset)
    _run_folder(parser, "--resume_dir")
    _model(parser, training=False)
    _objective(parser, only_names_the_run=True)

    checkpoint = Group(parser, "what to test")
    checkpoint.add("--resume_file", default="model_best.pth.tar", help="file in the run folder")
    checkpoint.add("--checkpoint", type=path_argument, default=None, help="any checkpoint file, instead of the run folder's")
    checkpoint.add("--pretrained", action="store_true", help="rank by the 2048-d pooled feature instead of the embedding")
    checkpoint.add("--precision", action="store_true", help="accepted for old command lines; precision is always printed")

    protocol = Group(parser, "protocol")
    protocol.add("--generalized", type=fraction, default=None, help="share of the seen classes' photos that join the gallery")
    protocol.add(
        "--photo_to_photo",
        type=positive_int,
        nargs="?",
        const=10,
        default=None,
        help="photos ask instead of sketches, so many of each class; without a number 10",
    )
    protocol.add(
        "--also_seen",
        type=path_argument,
        nargs="+",
        default=None,
        help="split folders (or cname_cid.txt files) the model was trained on, if not this one: their classes are dropped",
    )
    hash_codes(parser)

    written = Group(parser, "what is written")
    written.add("--results", type=path_argument, default=None, help="where to write; None: results.json beside the checkpoint")
    written.add("--no_report", action="store_true", help="spare the HTML report")
    written.add("--no_cache", action="store_true", help="embed all images anew; do not keep their features beside the checkpoint")

    running = _running(parser, amp="off")
    running.add("--batch_size", type=positive_int, default=50, help="images embedded at once")
    running.add("--print-freq", "-p", type=positive_int, default=20, help="batches between two updates of the progress bar")
    return parser.parse_args(arguments)


def hash_codes(parser: Parser, fits: tuple[str, ...] = FITS) -> Group:
    """How hash codes are made and compared."""
    group = Group(parser, "hash codes")
    group.add("--itq", choices=("released", "procrustes"), default="released", help="step of the hash codes; see the README")
    group.add("--itq_fit", choices=fits, default="queries", help="what the codes are fitted on; published: queries")
    group.add(
        "--ties",
        choices=TIES,
        default="stable",
        help="equal distances between codes: lower gallery index first, or the mean over all orders",
    )
    return group


def _data(parser: Parser, dataset: Dataset) -> Group:
    group = Group(parser, "data")
    group.add("--data_root", type=path_argument, default=DATA_ROOT, help=f"the folder that holds {dataset.folder}/")
    group.add("--zero_version", default=dataset.default_split, help="split folder, e.g. zeroshot1 or zeroshot2 of Sketchy")
    group.add("--image_size", type=image_side, default=224, help="side in pixels the network sees, 32 to 8192")
    group.add(
        "--skip_bad_images",
        action="store_true",
        help="first look through all images, and leave out (counted and listed) those that are missing or cannot be read",
    )
    group.add("--num_workers", type=worker_count, default=None, help="processes that decode; None: up to 8, or 1 on a CPU")
    return group


def _run_folder(parser: Parser, name: str, *short: str) -> None:
    group = Group(parser, "run folder")
    group.add(name, *short, type=path_argument, default=Path("cse_resnet50/checkpoint"), help="root of the run folders")


def _model(parser: Parser, training: bool) -> None:
    group = Group(parser, "model")
    group.add("--arch", "-a", choices=ARCHITECTURES, default=ARCHITECTURES[0], help="backbone")
    group.add("--num_classes", type=positive_int, default=None, help="seen classes; None: read from the data or the checkpoint")
    group.add("--num_hashing", type=layer_size, default=64, help="length of the embedding")
    if training:
        group.add("--pretrained_weights", default=IMAGENET, help="imagenet, a SE-ResNet-50 file, or none: no teacher either")
        group.add("--ems-loss", action="store_true", help="class logits by distance to learned centres, with a margin")


def _objective(parser: Parser, only_names_the_run: bool = False) -> None:
    group = Group(parser, "objective" + (" (names the run folder; changes no result)" if only_names_the_run else ""))
    group.add("--kd_lambda", type=non_negative_float, default=1.0, help="factor on the teacher's logits")
    group.add("--kdneg_lambda", type=non_negative_float, default=0.3, help="factor on the semantic mask added to them")
    group.add("--sake_lambda", type=non_negative_float, default=1.0, help="weight of the distillation loss")
    group.add("--contrastive_dim", type=layer_size, default=128, help="output of the projection head, if there is one")
    group.add(
        "--contrastive_lambda",
        type=non_negative_float,
        default=0.1,
        help="weight of the contrastive loss; 0 spares its two views",
    )
    group.add("--temperature", type=positive_float, default=0.07, help="of the contrastive loss")
    group.add("--topk", type=layer_size, default=10, help="memory slots of a class")
    group.add("--memory_lambda", type=non_negative_float, default=1.0, help="weight of the memory loss")
    group.add("--cls_lambda", type=non_negative_float, default=1.0, help="weight of the cross-entropy")
    if not only_names_the_run:
        group.add("--memory_grad", choices=("on", "off"), default="on", help="off: cut the photos' gradient, as released")
        group.add(
            "--contrastive_on",
            choices=("embedding", "projection"),
            default="embedding",
            help="embedding: as released; projection: a head in front of the loss, as the paper describes",
        )


def _running(parser: Parser, amp: str) -> Group:
    group = Group(parser, "running")
    group.add("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    group.add("--amp", choices=("auto", "bf16", "off"), default=amp, help="auto: bf16 where the device has it natively")
    return group
