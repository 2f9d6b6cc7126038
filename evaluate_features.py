"""Score features of any system as the zero-shot test scores ours: every definition in use, under its own name.

python evaluate_features.py --query Q.npz --gallery G.npz                      # prints the table
python evaluate_features.py --query Q.npz --gallery G.npz --results OUT.json   # and writes results and a report
python evaluate_features.py --query Q.npz --gallery G.npz --no-hash --device cpu

Each file: `features` (n, d) and `labels` (n,), as np.savez("Q.npz", features=..., labels=...) writes them.
"""

import utils.python_version  # noqa: F401  # first: ends on an old Python
from evaluation.feature_config import feature_options
from utils.errors import report_errors

if __name__ == "__main__":
    with report_errors():
        config = feature_options()
        from evaluation.score_features import score_features  # after the options: --help is fast

        score_features(config)
