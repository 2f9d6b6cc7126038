"""Write the embedding network for other programs: as one ONNX file, compared with PyTorch, or as a folder with a model card.

python export.py --checkpoint RUN/model_best.pth.tar                       # RUN/embedding.onnx
python export.py --checkpoint RUN/model_best.pth.tar -o search/sbir.onnx   # another name
python export.py --checkpoint FILE --image_size 224                        # another image size
python export.py --checkpoint RUN/model_best.pth.tar --format safetensors  # RUN/embedding/, which --checkpoint accepts
python export.py --arch timm/NAME --untrained                              # an untrained trunk: timm-NAME.onnx

ONNX inputs: images (B, 3, side, side), uint8 RGB, and domain (B,), float32, 0 for a sketch and 1 for a photo.
Output: embedding (B, d), float32 of length 1. Needs no GPU and no data.
"""

import utils.python_version  # noqa: F401  # first: ends on an old Python
from evaluation.export_config import export_options
from utils.errors import report_errors

if __name__ == "__main__":
    with report_errors():
        options = export_options()
        from evaluation.export import export_network  # after the options: --help is fast

        export_network(*options)
