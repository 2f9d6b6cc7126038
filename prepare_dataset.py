"""From downloads to the layout the scripts read: images in their folders, lists, class names, semantic mask.

python prepare_dataset.py sketchy --source Sketchy.zip                            # zeroshot1, 100/25 classes
python prepare_dataset.py sketchy --source rendered_256x256.7z EXTEND_image_sketchy.zip --split zeroshot2   # 104/21
python prepare_dataset.py tuberlin --source sketches_png.zip ImageResized.zip
python prepare_dataset.py quickdraw --source QuickDraw_sketches_final.zip QuickDraw_images_final.zip
python prepare_dataset.py folders --source mine --output my_dataset               # mine/photos/<class>/*, mine/sketches/<class>/*
"""

import utils.python_version  # noqa: F401  # first: ends on an old Python
from preparation.config import preparation_options
from utils.errors import report_errors

if __name__ == "__main__":
    with report_errors():
        options = preparation_options()
        from preparation.prepare import prepare  # after the options: --help is fast

        prepare(*options)
