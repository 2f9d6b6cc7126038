"""The work of `check_dataset.py`."""

from datasets.catalog import DATASETS
from datasets.file_lists import Split
from preparation.checks.class_overlaps import check_class_names, check_imagenet
from preparation.checks.config import MOST_PROCESSES, REPORT, SHEET, DataOptions, OutputOptions, RunOptions
from preparation.checks.contact_sheet import dataset_rows, save_contact_sheet
from preparation.checks.findings import ERROR, LEVELS, WARNING, Findings
from preparation.checks.inspection import inspect
from preparation.checks.overlaps import check_duplicates, check_near_duplicates
from preparation.checks.preflight import check_mask, training_command
from preparation.checks.samples import check_samples, counts_table
from preparation.checks.split_lists import read_split
from utils.cores import usable_cores
from utils.files import atomic_write, require_writable
from utils.text import counted, printable


def check_dataset(data: DataOptions, run: RunOptions, output: OutputOptions) -> int:
    """Check a dataset, print the findings, and write the contact sheet and the report.

    Returns the exit code: 0 if training can start, else 1. Raises InputError if there is no such split or an output file is
    not writable.
    """
    dataset = DATASETS[data.dataset]
    split = Split(dataset, data.data_root, data.split or dataset.default_split)
    sheet = output.contact_sheet or split.folder / SHEET
    report = output.contact_sheet.with_suffix(".txt") if output.contact_sheet else split.folder / REPORT
    require_writable(sheet, "--contact_sheet", ".png")
    findings = Findings()
    lists = read_split(split, findings)
    head = f"{printable(f'{split.dataset.name}, {split.folder}')}\n\n{counts_table(lists, findings)}\n"
    print(head, flush=True)
    workers = min(MOST_PROCESSES, usable_cores()) if run.num_workers is None else run.num_workers
    images = inspect(lists, workers, findings)
    check_class_names(lists, findings)
    check_samples(lists, findings)
    check_mask(lists, findings)
    check_duplicates(lists, images, findings)
    pairs = check_near_duplicates(lists, images, findings)
    check_imagenet(lists, findings)
    command = training_command(dataset, lists, data.data_root, data.batch_size, findings)
    save_contact_sheet(sheet, dataset_rows(lists, pairs), columns=2)
    findings.sort(key=lambda finding: LEVELS.index(finding.level))  # errors last, where they are read first
    verdict, code = _verdict(findings, run.strict, command)
    with atomic_write(report) as temporary:
        full = [finding.full() for finding in findings]
        temporary.write_text("\n".join([head, *full, "", verdict, ""]), encoding="utf-8")
    written = printable(f"contact sheet {sheet}, full report {report}")
    print("\n".join([*(finding.summary() for finding in findings), written, verdict]))
    return code


def _verdict(findings: Findings, strict: bool, command: str) -> tuple[str, int]:
    """The last line, and the exit code."""
    levels = [finding.level for finding in findings]
    errors, warnings = levels.count(ERROR), levels.count(WARNING) if strict else 0
    if errors + warnings == 0:
        return printable(f"ready to train: {command}"), 0
    included = f", {counted(warnings, 'warning', 'warnings')} among them (--strict)" if warnings else ""
    return f"{counted(errors + warnings, 'error', 'errors')}{included}: not ready; fix them, then check again", 1
