"""Find your own photos by drawing.

python search.py index ~/Pictures --arch timm/vit_small_patch14_dinov2.lvd142m -o my_index    # without training
python search.py index ~/Pictures --checkpoint model_best.pth.tar -o my_index                 # or by a trained network
python search.py index -o my_index                                                            # later: bring it up to date
python search.py query drawing.png --index my_index -k 20 --grid found.png
python search.py query drawing.png --index my_index --json
python search.py serve --index my_index            # then draw at http://127.0.0.1:7860
"""

import importlib
import sys

import utils.python_version  # noqa: F401  # first: ends on an old Python
from photo_search.config import search_options
from utils.errors import report_errors

if __name__ == "__main__":
    with report_errors():
        command, options = search_options(sys.argv[1:])
        importlib.import_module(f"photo_search.commands.{command}").run(*options)
