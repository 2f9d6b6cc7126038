"""A dataset looked through before it is trained on: the options and the work of `check_dataset.py`."""

import argparse

from datasets.catalog import DATA_ROOT, DATASETS
from datasets.file_lists import Split
from preparation.checks.class_overlaps import check_classes, check_imagenet
from preparation.checks.contact_sheet import save_contact_sheet
from preparation.checks.findings import CAUTION, FAULT, Findings
from preparation.checks.inspection import Inspection, inspect
from preparation.checks.overlaps import check_near_duplicates, check_overlaps
from preparation.checks.preflight import BATCH_SIZE, check_batches, check_mask, command, script_for
from preparation.checks.samples import check_samples, counts_table
from preparation.checks.split_lists import TITLES, SplitLists, read_split
from utils.cores import usable_cores
from utils.files import atomic_write, require_writable
from utils.parser import Group, Parser, path_argument, positive_int, worker_count
from utils.text import counted, printable

MOST_PROCESSES = 8
SHEET, REPORT = "contact_sheet.png", "check.txt"


def check_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parsed options of check_dataset.py; a mistake exits with code 2 after one line."""
    datasets = f"{{{','.join(DATASETS)}}}"
    parser = Parser("Look a dataset through before training: lists, images, duplicates, leaks, classes.", operands=datasets)
    parser.add_argument(
        "dataset", choices=tuple(DATASETS), help="which one; folders: your own, as prepare_dataset.py leaves them"
    )
    data = Group(parser, "data")
    data.add("--data_root", type=path_argument, default=DATA_ROOT, help="the folder that holds the dataset's")
    data.add("--split", "--zero_version", "--zero-version", default=None, help="split folder; None: the one training takes")
    data.add("--batch_size", type=positive_int, default=BATCH_SIZE, help="what you will train with: can the lists fill it?")
    running = Group(parser, "running")
    running.add(
        "--num_workers", type=worker_count, default=None, help=f"processes that decode; None: a core each, up to {MOST_PROCESSES}"
    )
    running.add("--strict", action="store_true", help="cautions count as faults")
    written = Group(parser, "what is written")
    written.add(
        "--contact_sheet",
        type=path_argument,
        default=None,
        help=f"FILE.png, and FILE.txt beside it; None: {SHEET} and {REPORT} among the lists",
    )
    return parser.parse_args(arguments)


def check_dataset(options: argparse.Namespace) -> int:
    """Look, print, write contact sheet and report; the exit code: 0 if training can start, else 1.

    Raises InputError if there is no such split, or nothing can be written.
    """
    asked = DATASETS[options.dataset]
    split = Split(asked, options.data_root, options.split or asked.default_split)
    sheet = options.contact_sheet or split.folder / SHEET
    require_writable(sheet, "--contact_sheet", ".png")
    findings = Findings()
    lists = read_split(split, findings)
    head = f"{printable(f'{split.dataset.name}, {split.folder}')}\n\n{counts_table(lists, findings)}\n"
    print(head, flush=True)
    inspection = _inspected(lists, options.num_workers, findings)
    check_classes(lists, findings)
    check_samples(lists, findings)
    check_mask(lists, findings)
    check_overlaps(lists, inspection, findings)
    pairs = check_near_duplicates(lists, inspection, findings)
    check_imagenet(lists, findings)
    script = script_for(asked, lists, findings)
    batch_size = check_batches(lists, script, options.batch_size, findings)
    save_contact_sheet(sheet, lists, pairs)
    report = sheet.with_suffix(".txt") if options.contact_sheet else sheet.with_name(REPORT)
    verdict, code = _verdict(findings, options.strict, command(script, lists, options.data_root, batch_size))
    with atomic_write(report) as temporary:
        temporary.write_text("\n".join([head, *findings.whole(), "", verdict, ""]), encoding="utf-8")
    written = printable(f"contact sheet {sheet}, all of the above in full {report}")
    print("\n".join([*findings.lines(), written, verdict]))
    return code


def _inspected(lists: SplitLists, num_workers: int | None, findings: Findings) -> Inspection:
    """What cannot be decoded is a fault, one for each list."""
    workers = min(MOST_PROCESSES, usable_cores()) if num_workers is None else num_workers
    inspection = inspect(lists.split.root, lists.paths, lists.photos, workers)
    rate = len(lists.paths) / max(inspection.seconds, 1e-9)
    seconds = f"{inspection.seconds:,.1f} s: {rate:,.0f} images/s with {workers} processes"
    findings.fact(f"{len(lists.paths):,} images decoded in {seconds}")
    for key, rows in lists.rows.items():
        bad = sorted(set(rows.tolist()) & inspection.faults.keys())
        messages = [inspection.faults[row].replace(f"{lists.split.root}/", "") for row in bad]
        if messages:
            findings.fault(f"{TITLES[key]}: {len(messages):,} of {len(rows):,} images cannot be decoded", messages, shown=2)
    return inspection


def _verdict(findings: Findings, strict: bool, ready: str) -> tuple[str, int]:
    """The last line, and the exit code."""
    faults, cautions = findings.count(FAULT), findings.count(CAUTION)
    if strict and cautions:
        faults, with_cautions = faults + cautions, f", {counted(cautions, 'caution', 'cautions')} among them (--strict)"
    else:
        with_cautions = ""
    if not faults:
        return printable(f"ready to train: {ready}"), 0
    return f"{counted(faults, 'fault', 'faults')}{with_cautions}: not ready; mend them, then check again", 1
