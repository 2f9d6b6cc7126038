"""Compare tested runs: each metric with its 95 % interval, and each run's difference to the first with interval and p value.

python compare.py RUN RUN                          # run folders in which a test script wrote results.json and .npz
python compare.py RUN                              # the intervals of one run
python compare.py first.json second.json third.json --figures all --json compared.json   # files written with --results

Needs no GPU and no data: it reads what the test scripts wrote.
"""

import utils.python_version  # noqa: F401  # first: ends on an old Python
from evaluation.comparison_config import comparison_options
from utils.errors import report_errors

if __name__ == "__main__":
    with report_errors():
        options = comparison_options()
        from evaluation.compare_runs import compare  # after the options: --help is fast

        compare(*options)
