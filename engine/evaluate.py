"""Embedding lists of images, and the zero-shot test that the two test scripts run."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from datasets.batches import plain_batches
from datasets.catalog import Dataset
from datasets.file_lists import FileList, Split
from datasets.images import decode
from datasets.views import normalise
from models.cse_resnet import PHOTO, SKETCH
from models.dsn import Student
from models.restore import restore_student
from retrieval.evaluation import evaluate_ranking
from retrieval.hashing import itq_codes
from retrieval.metrics import Scores
from retrieval.report import THUMBNAIL, format_table, retrieval_grid, write_results
from utils.devices import autocast, choose_device, decoding_workers, finished
from utils.errors import InputError
from utils.files import require_writable
from utils.progress import progress_bar
from utils.runs import run_folder, runs_below


@dataclass(frozen=True)
class Embedder:
    """A student and how to feed it; `pooled` gives the 2048-d feature instead of the embedding."""

    student: Student
    device: torch.device
    image_size: int
    batch_size: int
    num_workers: int
    amp: str = "off"
    pooled: bool = False
    bar_every: int = 1

    @torch.inference_mode()
    def __call__(self, files: FileList, domain: float, title: str) -> torch.Tensor:
        """(n, d) float32 on the device, L2-normalised, in the list's order; `domain` is SKETCH or PHOTO."""
        self.student.eval()
        batches = plain_batches(
            files,
            side=self.image_size,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            pin_memory=self.device.type == "cuda",
        )
        features = []
        with progress_bar(len(files), title, "img", miniters=self.bar_every * self.batch_size) as bar:
            for batch in batches:
                images = normalise(batch.images.to(self.device, non_blocking=True))
                tags = torch.full((len(images),), domain, device=self.device)
                with autocast(self.device, self.amp):
                    output = self.student(images, tags)
                features.append((output.pooled if self.pooled else output.embedding).float())
                bar.update(len(images))
        return F.normalize(torch.cat(features), dim=1)


def hash_scores(
    queries: torch.Tensor,
    query_labels: torch.Tensor,
    gallery: torch.Tensor,
    gallery_labels: torch.Tensor,
    bits: int,
    itq: str = "released",
) -> Scores:
    """Scores of the ranking by Hamming distance between ITQ codes of (n, d) and (m, d) features."""
    query_codes, gallery_codes = itq_codes(queries, gallery, bits, update=itq)
    codes = query_codes.to(queries.device), gallery_codes.to(queries.device)
    return evaluate_ranking("hamming", codes[0], query_labels, codes[1], gallery_labels, progress=True)


def zero_shot_test(dataset: Dataset, options: argparse.Namespace) -> dict:
    """The zero-shot protocol: unseen classes' sketches against their photos. Prints the table and returns the results."""
    device = choose_device(options.device)
    options.num_workers = decoding_workers(options.num_workers, device)
    split = Split(dataset, options.data_root, options.zero_version)
    sketches, photos, names = split.sketches("zero"), split.photos("zero"), split.class_names("zero")
    folder = run_folder(options.resume_dir, dataset.run_prefix, options)
    checkpoint = options.checkpoint or _of_run(folder, options.resume_file)
    student, content = restore_student(checkpoint, options.num_hashing, options.num_classes)
    _say_what_is_tested(checkpoint, content, options)
    results_file = options.results or checkpoint.parent / "results.json"
    require_writable(results_file, option="--results", suffix=".json")

    embed = Embedder(
        student.to(device, memory_format=torch.channels_last),
        device,
        options.image_size,
        options.batch_size,
        options.num_workers,
        amp=options.amp,
        pooled=options.pretrained,
        bar_every=options.print_freq,
    )
    started = finished(device)
    queries = embed(sketches, SKETCH, "query sketches")
    gallery = embed(photos, PHOTO, "gallery photos")
    embedded = finished(device)
    labels = torch.from_numpy(sketches.labels).to(device), torch.from_numpy(photos.labels).to(device)
    real = evaluate_ranking("euclidean", queries, labels[0], gallery, labels[1], progress=True)
    hashed = hash_scores(queries, labels[0], gallery, labels[1], options.num_hashing, options.itq)
    scored = finished(device)

    results = {
        "dataset": dataset.folder,
        "split": options.zero_version,
        "queries": len(sketches),
        "gallery": len(photos),
        "checkpoint": str(checkpoint),
        "real": real.summary(),
        "hash": hashed.summary(),
        "per_class": real.per_class(names),
        "seconds": {"features": round(embedded - started, 3), "metrics": round(scored - embedded, 3)},
    }
    print(format_table({ranking: results[ranking] for ranking in ("real", "hash")}))
    if real.without_positive:
        print(f"note: {real.without_positive} queries have no photo of their class in the gallery and are left out")
    write_results(results_file, results)
    picture = results_file.with_suffix(".png")
    _draw(picture, sketches, photos, names, real)
    print(f"figures: {results_file}\npicture: {picture}")
    return results


def _of_run(folder: Path, name: str) -> Path:
    if not (folder / name).exists():
        runs = runs_below(folder.parent)
        found = f"the runs there are {', '.join(runs)}: repeat one's options" if runs else "no run is there: train one"
        raise InputError(f"{folder / name}: no such file; {found}, or name any file with --checkpoint FILE")
    return folder / name


def _say_what_is_tested(checkpoint: Path, content: dict, options: argparse.Namespace) -> None:
    print(f"testing {checkpoint}, epochs trained: {content.get('epoch', 'unknown')}")
    if options.pretrained:
        print("ranking by the 2048-d pooled feature instead of the embedding")
    if options.itq != "released":
        print("hash codes by the step of the ITQ paper, not the released protocol's")
    recorded = content.get("options")
    trained_at = recorded.get("image_size") if isinstance(recorded, dict) else None
    if trained_at not in (None, options.image_size):
        print(f"note: trained at {trained_at} px, tested at {options.image_size} px; --image_size {trained_at} would match")


def _draw(path: Path, sketches: FileList, photos: FileList, names: list[str], scores: Scores, rows: int = 12) -> None:
    """One query of each of the first classes, drawn at random but always the same, with its ten nearest photos."""
    generator = np.random.default_rng(0)
    classes = [label for label in range(len(names)) if (sketches.labels == label).any()][:rows]
    chosen = np.array([generator.choice(np.flatnonzero(sketches.labels == label)) for label in classes])
    nearest = scores.nearest[chosen, :10]
    try:
        retrieval_grid(
            path,
            [_thumbnail(sketches, i) for i in chosen],
            [[_thumbnail(photos, j) for j in row] for row in nearest],
            photos.labels[nearest] == sketches.labels[chosen][:, None],
            [names[label] for label in classes],
            heading="A sketch of each unseen class and its ten nearest photos, nearest first, by the real-valued ranking",
        )
    except ImportError:
        print("no picture: pip install matplotlib")


def _thumbnail(files: FileList, index: int) -> np.ndarray:
    return decode(files.root / files.paths[index], THUMBNAIL).permute(1, 2, 0).numpy()
