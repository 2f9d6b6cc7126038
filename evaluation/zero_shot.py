"""The zero-shot test of the test scripts: embed queries and gallery, rank, score, write results and report."""

from typing import Any

import numpy as np
import torch

from datasets.bad_images import SKIPPED, BadImages
from datasets.catalog import Dataset
from datasets.file_lists import FileList, Split
from datasets.images import decode
from evaluation.config import ZeroShotConfig
from evaluation.outputs import facts_of, require_free, write_outcome
from evaluation.protocols import Protocol, protocol_of
from evaluation.resources import resolve
from evaluation.tested_features import FeaturePair, embed_protocol
from evaluation.tested_network import TestedNetwork, open_tested
from report.page import ReportData
from report.photo_grid import THUMBNAIL
from retrieval.metrics import Scores
from retrieval.scores import evaluate_features
from utils.devices import finished
from utils.distributed import Distributed, init_distributed
from utils.options import as_text
from utils.ram import report_out_of_memory

OUT_OF_MEMORY_HINT = "lower --batch_size or --image_size; --num_workers 0 saves the memory of the data-loading processes"


def zero_shot_test(dataset: Dataset, config: ZeroShotConfig) -> dict[str, Any]:
    """Test a checkpoint: print the table, write results and report, and return the results.

    Started by torchrun, the processes share the embedding; the main one does the rest, and the others return {}. Raises
    InputError for anything wrong with data, options or files.
    """
    with (
        init_distributed(config.runtime.device) as distributed,
        distributed.only_main_prints(),
        report_out_of_memory(OUT_OF_MEMORY_HINT),
    ):
        return _test(dataset, config, distributed)


def _test(dataset: Dataset, config: ZeroShotConfig, distributed: Distributed) -> dict[str, Any]:
    resources = resolve(config.runtime, config.data, distributed)
    bad_images = BadImages(resources.num_workers, distributed) if config.data.skip_bad_images else None
    split = Split(dataset, config.data.data_root, config.data.zero_version, filter_list=bad_images)
    protocol = protocol_of(split, config.protocol)
    tested = open_tested(split, config)
    _print_setting(tested, protocol, config)
    results_file = config.output.results or tested.folder / "results.json"
    if distributed.is_main:
        require_free(results_file)

    started = finished(resources.device)
    queries, gallery, training, embedded_by = embed_protocol(split, tested, protocol, config, resources)
    if not distributed.is_main:
        return {}
    embedded = finished(resources.device)
    scores = _score(queries, gallery, training, protocol, config)
    seconds = {"features": round(embedded - started, 3), "metrics": round(finished(resources.device) - embedded, 3)}

    results = {**_results(split, tested, protocol, scores, seconds, config), "embedded_by": embedded_by}
    if bad_images:
        results["skipped_images"] = bad_images.count
        bad_images.write(results_file.with_name(f"{results_file.stem}_{SKIPPED}"))
    report = ReportData(
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
    write_outcome(results_file, results, protocol.queries.paths, report, with_report=not config.output.no_report)
    return results


def _score(
    queries: torch.Tensor, gallery: torch.Tensor, training: FeaturePair | None, protocol: Protocol, config: ZeroShotConfig
) -> dict[str, Scores]:
    """Scores of the rankings by Euclidean distance between features and by Hamming distance between hash codes."""
    query_labels, gallery_labels = (
        torch.from_numpy(files.labels).to(queries.device) for files in (protocol.queries, protocol.gallery)
    )
    sets, codes = (queries, query_labels, gallery, gallery_labels), config.codes
    return evaluate_features(*sets, config.model.num_hashing, codes.ties, update=codes.itq, fit=codes.itq_fit, training=training)


def _results(
    split: Split,
    tested: TestedNetwork,
    protocol: Protocol,
    scores: dict[str, Scores],
    seconds: dict[str, float],
    config: ZeroShotConfig,
) -> dict[str, Any]:
    """The content of results.json."""
    return {
        "dataset": split.dataset.folder,
        "split": split.name,
        "protocol": protocol.text,
        "queries": len(protocol.queries),
        "gallery": len(protocol.gallery),
        "without_positive": scores["real"].without_positive,
        "checkpoint": tested.source,
        "weights_sha256": tested.digest,
        "settings": {
            "arch": tested.arch,
            "image_size": tested.network.preprocessing.image_size,
            "num_hashing": config.model.num_hashing,
            "pretrained": tested.network.projection is None,  # ranked by the pooled feature
            "amp": config.runtime.amp,
            **as_text(config.codes),
        },
        **{ranking: found.summary() for ranking, found in scores.items()},
        "per_class": scores["real"].per_class(protocol.names),
        "seconds": seconds,
    }


def _thumbnail(files: FileList, index: int) -> np.ndarray:
    return decode(files.root / files.paths[index], THUMBNAIL)


def _print_setting(tested: TestedNetwork, protocol: Protocol, config: ZeroShotConfig) -> None:
    print(f"{protocol.text}: {len(protocol.queries)} queries, {len(protocol.gallery)} gallery photos")
    if config.tested.pretrained:
        print(f"ranking by the {tested.network.width}-d pooled feature instead of the embedding")
    if config.codes.itq != "released":
        print("hash codes: update rule of the ITQ paper instead of the released code's")
    if config.codes.itq_fit != "queries":
        fitted_to = "training images" if config.codes.itq_fit == "train" else "the gallery"
        print(f"hash codes: fitted to {fitted_to} instead of the queries")
