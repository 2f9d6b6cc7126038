"""Train DSN on TU-Berlin Ext.

python train_cse_resnet_tuberlin_ext.py                       # the paper's setting; needs a GPU and dataset/TUBerlin
python train_cse_resnet_tuberlin_ext.py --device cpu --image_size 64 --epochs 2 --steps_per_epoch 20   # a look, on a CPU
"""

import utils.python_version  # noqa: F401  # first: ends on an old Python
from datasets.catalog import TUBERLIN
from training.config import Recipe, train_config
from utils.errors import report_errors

RECIPE = Recipe(
    dataset=TUBERLIN,
    photos_per_sketch=9,  # 9 sketches and 81 photos of a batch of 96: photos outnumber sketches elevenfold here
    epochs=16,  # Adam at 1e-4 · 0.001^(epoch/16)
    validation_batches=500,  # hash mAP over 500 · 48 pairs chooses model_best
    seed=2021,
)

if __name__ == "__main__":
    with report_errors():
        config = train_config(RECIPE)
        from training.train import train  # after the options: --help is fast

        train(RECIPE, config)
