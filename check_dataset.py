"""Look a dataset through before training on it: lists, images, duplicates, leaks between seen and unseen, classes.

python check_dataset.py sketchy                            # dataset/Sketchy/zeroshot1: two minutes on four cores
python check_dataset.py sketchy --split zeroshot2 --strict
python check_dataset.py folders --data_root my/dataset --contact_sheet /tmp/sheet.png

Prints one screen, and writes a contact sheet and check.txt (all of it in full) among the lists. Exit code 0: training can
start; 1: it cannot; 2: there is no such dataset.
"""

import sys

import utils.python_version  # noqa: F401  # first: ends on an old Python
from preparation.checks.check import check_dataset, check_options
from utils.errors import report_errors

if __name__ == "__main__":
    with report_errors():
        sys.exit(check_dataset(check_options()))
