"""Check a dataset before training: lists, images, duplicates, leaks between seen and unseen classes, class names.

python check_dataset.py sketchy                            # dataset/Sketchy/zeroshot1: two minutes on four cores
python check_dataset.py sketchy --split zeroshot2 --strict
python check_dataset.py folders --data_root my/dataset --contact_sheet /tmp/sheet.png

Prints one screen, and writes a contact sheet and the full report, check.txt, to the split folder. Exit code 0: training can
start; 1: it cannot; 2: there is no such dataset.
"""

import sys

import utils.python_version  # noqa: F401  # first: ends on an old Python
from preparation.checks.config import check_options
from utils.errors import report_errors

if __name__ == "__main__":
    with report_errors():
        options = check_options()
        from preparation.checks.check import check_dataset  # after the options: --help is fast

        sys.exit(check_dataset(*options))
