"""The zero-shot test that the test scripts run, and its relatives (`evaluation.protocols`)."""

import argparse
from pathlib import Path

import numpy as np
import torch

from datasets.bad_images import SKIPPED, BadImages
from datasets.catalog import CUSTOM, DATASETS, SAME_SPLIT, Dataset
from datasets.file_lists import FileList, Split
from datasets.images import decode
from evaluation.embedding import Embedder
from evaluation.feature_cache import FeatureCache
from evaluation.outputs import Outcome, facts_of, require_free, write_outcome
from evaluation.protocols import Protocol, protocol_of, training_samples
from evaluation.result_table import THUMBNAIL
from models.cse_resnet import PHOTO, SKETCH
from models.restore import restore_student
from report.page import ReportData
from retrieval.hashing import itq_codes
from retrieval.metrics import Scores
from retrieval.scores import evaluate_ranking
from utils.devices import choose_device, finished, resolve_workers
from utils.distributed import Distributed, init_distributed
from utils.errors import InputError
from utils.ram import report_out_of_memory
from utils.runs import list_runs, run_folder

OUT_OF_MEMORY_HINT = "lower --batch_size, or --image_size; --num_workers 0 spares the decoding processes"


def hash_scores(
    queries: torch.Tensor,
    query_labels: torch.Tensor,
    gallery: torch.Tensor,
    gallery_labels: torch.Tensor,
    bits: int,
    ties: str = "stable",
    **itq: object,
) -> Scores:
    """Scores of the ranking by Hamming distance between ITQ codes of (n, d) and (m, d) features; `itq`: see `itq_codes`."""
    query_codes, gallery_codes = (code.to(queries.device) for code in itq_codes(queries, gallery, bits, **itq))
    return evaluate_ranking("hamming", query_codes, query_labels, gallery_codes, gallery_labels, progress=True, ties=ties)


def zero_shot_test(dataset: Dataset, options: argparse.Namespace) -> dict:
    """Embed, rank, score; print the table, write figures and report, and return the results.

    Started by torchrun, the processes share the embedding; the first one does the rest, and the others return nothing.
    """
    with (
        init_distributed(options.device) as distributed,
        distributed.only_main_prints(),
        report_out_of_memory(OUT_OF_MEMORY_HINT),
    ):
        return _zero_shot_test(dataset, options, distributed)


def _zero_shot_test(dataset: Dataset, options: argparse.Namespace, distributed: Distributed) -> dict:
    device = choose_device(options.device)
    options.num_workers = resolve_workers(options.num_workers, device, distributed.local_world_size)
    bad_images = BadImages(options.num_workers, distributed) if options.skip_bad_images else None
    split = Split(dataset, options.data_root, options.zero_version, filter_list=bad_images)
    protocol = protocol_of(split, options)
    folder = run_folder(options.resume_dir, split.run_prefix, options)
    checkpoint = options.checkpoint or _of_run(folder, options.resume_file)
    student, content = restore_student(checkpoint, options.num_hashing, options.num_classes)
    _say_what_is_tested(checkpoint, content, protocol, options)
    _say_other_split(content, split)
    results_file = options.results or checkpoint.parent / "results.json"
    if distributed.is_main:
        require_free(results_file)

    embed = Embedder(
        student.to(device, memory_format=torch.channels_last),
        device,
        options.image_size,
        options.batch_size,
        options.num_workers,
        amp=options.amp,
        pooled=options.pretrained,
        bar_every=options.print_freq,
        cache=None if options.no_cache else FeatureCache(checkpoint.parent / "features", student),
        distributed=distributed,
    )
    started = finished(device)
    queries = embed(protocol.queries, protocol.query_domain, "queries")
    gallery = embed(protocol.gallery, PHOTO, "gallery photos")
    training = _training_features(split, embed, protocol) if options.itq_fit == "train" else None
    if not distributed.is_main:
        return {}
    embedded = finished(device)
    labels = [torch.from_numpy(files.labels).to(device) for files in (protocol.queries, protocol.gallery)]
    real = evaluate_ranking("euclidean", queries, labels[0], gallery, labels[1], progress=True)
    itq = {"update": options.itq, "fit": options.itq_fit, "training": training}
    hashed = hash_scores(queries, labels[0], gallery, labels[1], options.num_hashing, options.ties, **itq)
    scored = finished(device)

    seconds = {"features": round(embedded - started, 3), "metrics": round(scored - embedded, 3)}
    scores = {"real": real, "hash": hashed}
    results = _results(split, checkpoint, protocol, scores, seconds, options)
    if bad_images:
        results["skipped_images"] = bad_images.count
        bad_images.write(results_file.with_name(f"{results_file.stem}_{SKIPPED}"))
    test = ReportData(
        title=f"{split.dataset.name}, {split.name}",
        facts=facts_of(results),
        scores=scores,
        query_labels=protocol.queries.labels,
        gallery_labels=protocol.gallery.labels,
        names=protocol.names,
        query_features=queries.cpu().numpy(),
        gallery_features=gallery.cpu().numpy(),
        thumbnail=lambda side, index: _thumbnail(protocol.queries if side == "query" else protocol.gallery, index),
    )
    write_outcome(results_file, Outcome(results, protocol.queries.paths, test), with_report=not options.no_report)
    return results


def _results(
    split: Split, checkpoint: Path, protocol: Protocol, scores: dict[str, Scores], seconds: dict, options: argparse.Namespace
) -> dict:
    """What results.json holds."""
    tested_with = ("image_size", "num_hashing", "pretrained", "amp", "itq", "itq_fit", "ties")
    return {
        "dataset": split.dataset.folder,
        "split": split.name,
        "protocol": protocol.text,
        "queries": len(protocol.queries),
        "gallery": len(protocol.gallery),
        "without_positive": scores["real"].without_positive,
        "checkpoint": str(checkpoint),
        "settings": {name: getattr(options, name) for name in tested_with},
        **{ranking: found.summary() for ranking, found in scores.items()},
        "per_class": scores["real"].per_class(protocol.names),
        "seconds": seconds,
    }


def _training_features(split: Split, embed: Embedder, protocol: Protocol) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of training images like the queries and like the gallery, for the codes to be fitted on."""
    sketches, photos = training_samples(split)
    like_gallery = embed(photos, PHOTO, "training photos")
    asked_by_sketch = protocol.query_domain == SKETCH
    return (embed(sketches, SKETCH, "training sketches") if asked_by_sketch else like_gallery), like_gallery


def _of_run(folder: Path, name: str) -> Path:
    if not (folder / name).exists():
        runs = list_runs(folder.parent)
        found = f"the runs there are {', '.join(runs)}: repeat one's options" if runs else "no run is there: train one"
        raise InputError(f"{folder / name}: no such file; {found}, or name any file with --checkpoint FILE")
    return folder / name


def _say_what_is_tested(checkpoint: Path, content: dict, protocol: Protocol, options: argparse.Namespace) -> None:
    print(f"testing {checkpoint}, epochs trained: {content.get('epoch', 'unknown')}")
    print(f"{protocol.text}: {len(protocol.queries)} queries, {len(protocol.gallery)} gallery photos")
    if options.pretrained:
        print("ranking by the 2048-d pooled feature instead of the embedding")
    if options.itq != "released":
        print("hash codes by the step of the ITQ paper, not the released protocol's")
    if options.itq_fit != "queries":
        print(f"hash codes fitted on {'training images' if options.itq_fit == 'train' else 'the gallery'}, not on the queries")
    recorded = content.get("options")
    trained_at = recorded.get("image_size") if isinstance(recorded, dict) else None
    if isinstance(trained_at, int) and trained_at != options.image_size:
        print(f"note: trained at {trained_at} px, tested at {options.image_size} px; --image_size {trained_at} would match")


def _say_other_split(content: dict, split: Split) -> None:
    """Classes that are unseen in one split may be trained on in another."""
    recorded = content.get("options")
    trained_on = recorded.get("zero_version") if isinstance(recorded, dict) else None
    if isinstance(trained_on, str) and SAME_SPLIT.get(trained_on, trained_on) not in _names_of(split):
        print(
            f"CAUTION: trained on the split {trained_on}, tested on {split.name}: it may have learned classes called unseen here"
        )


def _names_of(split: Split) -> set[str]:
    """Under which options may have named it; own folders also answer to the scripts' defaults."""
    defaults = {dataset.default_split for dataset in DATASETS.values()}
    return {split.name} | (defaults if split.dataset is CUSTOM and split.name == CUSTOM.default_split else set())


def _thumbnail(files: FileList, index: int) -> np.ndarray:
    return decode(files.root / files.paths[index], THUMBNAIL)
