"""Retrieve photos of Sketchy's unseen classes by sketch, and print the metrics of the paper.

python test_cse_resnet_sketchy_zeroshot.py                              # model_best.pth.tar of the default run folder
python test_cse_resnet_sketchy_zeroshot.py --checkpoint FILE            # any checkpoint, downloaded ones included
python test_cse_resnet_sketchy_zeroshot.py --device cpu --image_size 64 --checkpoint FILE   # a small network, on a CPU
python test_cse_resnet_sketchy_zeroshot.py --generalized 0.2  # photos of seen classes in the gallery; see docs/evaluation.md
"""

import utils.python_version  # noqa: F401  # first: ends on an old Python
from datasets.catalog import SKETCHY
from evaluation.config import zero_shot_config
from utils.errors import report_errors

if __name__ == "__main__":
    with report_errors():
        config = zero_shot_config(SKETCHY)
        from evaluation.zero_shot import zero_shot_test  # after the options: --help is fast

        zero_shot_test(SKETCHY, config)
