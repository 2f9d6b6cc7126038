"""Train DSN on QuickDraw Ext.

python train_cse_resnet_quickdraw_ext.py                      # needs a GPU and dataset/QuickDraw (see prepare_dataset.py)
python train_cse_resnet_quickdraw_ext.py --device cpu --image_size 64 --epochs 2 --steps_per_epoch 20   # a look, on a CPU
"""

import utils.python_version  # noqa: F401  # first: ends on an old Python
from datasets.catalog import QUICKDRAW
from training.config import Recipe, train_config
from utils.errors import report_errors

RECIPE = Recipe(
    dataset=QUICKDRAW,
    photos_per_sketch=1,  # 48 sketches and 48 photos of a batch of 96: sketches outnumber photos here
    epochs=8,  # DSN's paper has no QuickDraw recipe: about as many steps as Sketchy's 20 epochs, Adam at 1e-4 · 0.001^(epoch/8)
    validation_batches=300,  # hash mAP over 300 · 48 pairs chooses model_best
    seed=1,
)

if __name__ == "__main__":
    with report_errors():
        config = train_config(RECIPE)
        from training.train import train  # after the options: --help is fast

        train(RECIPE, config)
