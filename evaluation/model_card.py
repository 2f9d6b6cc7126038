"""The model card of an exported folder: what a stranger must know before using the network."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.model_folder import LOAD
from models.names import CSE_RESNET50, NONE, is_timm
from retrieval.metrics import METRICS
from utils.text import printable

RANKINGS = {"real": "by embeddings", "hash": "by hash codes"}
LONGEST = 500  # characters of a text from a file


@dataclass(frozen=True)
class RunRecord:
    """The commit of the code, if it was recorded, and the command of one start of a run."""

    commit: str | None
    command: list[str]


def model_card(config: Mapping[str, Any], results: Mapping[str, Any] | str, runs: list[RunRecord]) -> str:
    """Markdown with the header of the Hugging Face Hub. results: those of a test, or why there are none.

    The header states no licence: whoever trained and publishes the weights chooses it.
    """
    sections = {
        "Load it": _loading(config),
        "The network": _network(config),
        "Data": _data(config, results),
        "Training": _training(config, runs),
        "Figures": _figures(results),
        "Use and limits": _limits(config),
    }
    parts = [_header(config), f"# Sketches and photos as vectors of one space: DSN on {_code(config['arch'])}", INTRODUCTION]
    return "\n\n".join(parts + [f"## {title}\n\n{text}" for title, text in sections.items()]) + "\n"


INTRODUCTION = """This network turns sketches and photos into vectors of length 1. The photos nearest to a sketch are to show
what was drawn, also if it belongs to a class that the network was not trained on (zero-shot sketch-based image retrieval).
It was trained by an implementation of the Domain-Smoothing Network ([Wang et al., IJCAI 2021](https://arxiv.org/abs/2106.11841))."""


def _header(config: Mapping[str, Any]) -> str:
    tags = ["sketch-based-image-retrieval", "zero-shot", "image-retrieval", *(["timm"] if is_timm(config["arch"]) else [])]
    lines = ["library_name: pytorch", "pipeline_tag: image-feature-extraction", "tags:", *(f"- {tag}" for tag in tags)]
    return "\n".join(["---", *lines, "---"])


def _loading(config: Mapping[str, Any]) -> str:
    code = f'{LOAD}\nvectors = model.embed(transform(image)[None], "photo")  # or "sketch"; (1, {config["embedding_width"]})'
    return (
        f"```python\n{code}\n```\n\n"
        'REPO is a checkout of the code together with `source="local"`, or its name on GitHub; FOLDER is this folder;\n'
        "`image` is a Pillow image or a path. No internet is needed. The code's test, search and export scripts take\n"
        "`--checkpoint FOLDER`."
    )


def _network(config: Mapping[str, Any]) -> str:
    arch, how = config["arch"], config["preprocessing"]
    trunk = "SE-ResNet-50 whose channel attention depends on the domain" if arch == CSE_RESNET50 else "an image model of timm"
    if config["options"].get("pretrained_weights") == NONE:
        licence = "none, because they were random"
    else:
        licence = f"{_code(config['licence'])}, as timm states it" if config["licence"] else "not known"
    domain = "changes the embedding" if config["domain_has_effect"] else "has no effect: both are embedded alike"
    return _items(
        f"trunk: {_code(arch)}, {trunk}",
        f"licence of the trunk's initial weights: {licence}",
        f"the domain (0 for a sketch, 1 for a photo) {domain}",
        f"embedding: {config['embedding_width']} numbers, of length 1: the inner product is the cosine",
        f"images: {how['image_size']} x {how['image_size']} px; {config['preprocessing_in_words']}",
    )


def _data(config: Mapping[str, Any], results: Mapping[str, Any] | str) -> str:
    split = config["options"].get("zero_version")
    lines = [f"trained on the seen classes of the split {_code(split)}" if split else "the training split was not recorded"]
    if isinstance(results, str):
        lines.append(f"which classes were unseen is not known here: {results}")
    else:
        classes = results.get("per_class")
        names = ", ".join(map(_code, classes)) if isinstance(classes, dict) else "not recorded"
        lines.append(f"tested on {_code(results.get('dataset'))}, split {_code(results.get('split'))}")
        lines.append(f"unseen classes, which the test retrieves: {names}")
        if split != results.get("split"):
            lines.append("the two splits have different names: classes of the test may have been training classes")
    return _items(*lines)


def _training(config: Mapping[str, Any], runs: list[RunRecord]) -> str:
    epoch, options = config["epoch"], config["options"]
    parts = [f"Epochs trained: {'not recorded' if epoch is None else epoch}."]
    for run in runs:
        commit = f"commit {_code(run.commit)}" if run.commit else "a commit that was not recorded"
        parts.append(f"Code: {commit}. Command:\n\n```\n{shlex.join(run.command)}\n```")
    if not runs:
        parts.append(
            "The commit of the code that trained it is not known: no `options.json` of its run was beside the checkpoint."
        )
    recorded = f"\n\n```json\n{json.dumps(options, indent=1, ensure_ascii=False)}\n```" if options else " not recorded."
    return "\n\n".join([*parts, f"Options:{recorded}"])


def _figures(results: Mapping[str, Any] | str) -> str:
    if isinstance(results, str):
        return f"None: {results}. Run the test script on the checkpoint, then export it again."
    rankings = [name for name in RANKINGS if isinstance(results.get(name), dict)]
    rows = ["| metric, with its definition | " + " | ".join(RANKINGS[name] for name in rankings) + " |"]
    rows.append("|---" * (len(rankings) + 1) + "|")
    for key, metric in METRICS.items():
        rows.append(f"| {metric.text} | " + " | ".join(_number(results[name].get(key)) for name in rankings) + " |")
    settings = json.dumps(results.get("settings"), ensure_ascii=False)
    about = f"{_code(results.get('protocol'))}: {results['queries']:,} queries, {results['gallery']:,} gallery photos."
    return "\n".join([about, f"Settings of the test: {_code(settings)}.", "", *rows])


def _limits(config: Mapping[str, Any]) -> str:
    return _items(
        "for finding photos by a drawing, and photos that are like a photo; the vectors compare within this network only",
        "expect wrong photos among those found, as the figures say, and more of them the less a drawing looks like the training "
        "sketches: dark lines on white that fill the picture",
        "not for decisions about people: nobody has measured how the network treats different groups of them",
        "the data and the initial weights have licences of their own, which may restrict what the network is used for",
    )


def _items(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ""


def _code(text: object) -> str:
    """Text from a file as code, which Markdown does not interpret."""
    return f"`{printable(text)[:LONGEST].replace('`', chr(39)).replace('|', '/')}`"
