"""Write the student's embedding network for use elsewhere: one file for sketches and photos alike, checked against ours.

python export.py --checkpoint RUN/model_best.pth.tar                       # RUN/embedding.onnx and RUN/embedding.pt
python export.py --checkpoint RUN/model_best.pth.tar -o search/sbir.onnx   # that file alone
python export.py --checkpoint FILE --format torchscript --image_size 224   # without the library onnx

Inputs: images (B, 3, side, side), uint8 RGB, and domain (B,), float32, 0 for a sketch and 1 for a photo.
Output: embedding (B, d), float32 of length 1. Needs no GPU and no data.
"""

import utils.python_version  # noqa: F401  # first: ends on an old Python
from evaluation.export import export_network, export_options
from utils.errors import report_errors

if __name__ == "__main__":
    with report_errors():
        export_network(export_options())
