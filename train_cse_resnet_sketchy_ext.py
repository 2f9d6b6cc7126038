"""Train DSN on Sketchy Ext.

python train_cse_resnet_sketchy_ext.py                        # the paper's setting; needs a GPU and dataset/Sketchy
python train_cse_resnet_sketchy_ext.py --zero_version zeroshot2               # the 104/21 split
python train_cse_resnet_sketchy_ext.py --device cpu --image_size 64 --epochs 2 --steps_per_epoch 20   # a look, on a CPU
"""

import utils.python_version  # noqa: F401  # first: ends on an old Python
from datasets.catalog import SKETCHY
from training.config import Recipe, train_config
from utils.errors import report_errors

RECIPE = Recipe(
    dataset=SKETCHY,
    photos_per_sketch=2,  # 32 sketches and 64 photos in a batch of 96
    epochs=20,  # Adam at 1e-4 · 0.001^(epoch/20)
    validation_batches=300,  # hash mAP over 300 · 48 pairs chooses model_best
    seed=1,
)

if __name__ == "__main__":
    with report_errors():
        config = train_config(RECIPE)
        from training.train import train  # after the options: --help is fast

        train(RECIPE, config)
