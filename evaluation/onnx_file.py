"""An embedding network as an ONNX file, compared with PyTorch before it is kept."""

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.embedding import EmbeddingNetwork
from models.names import PHOTO, SKETCH
from models.pixels import PixelNetwork
from utils.errors import InputError
from utils.files import atomic_write
from utils.text import one_line

TOLERANCE = 1e-4  # greatest absolute difference between PyTorch's and ONNX Runtime's numbers of a unit vector
LIBRARIES = "'onnx>=1.16' 'onnxruntime>=1.19'"  # earlier versions do not support NumPy 2
OPSET = 17  # the last in which the axes of a mean are an attribute; ONNX Runtime reads it since 1.13
Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # images (B, 3, H, W) uint8, domain (B,) → (B, d) unit vectors


def require_onnx() -> None:
    """Raise InputError unless onnx and onnxruntime are installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        fault = one_line(error) or "they cannot be loaded"
        raise InputError(f"--format onnx: needs onnx and onnxruntime ({fault}); pip install {LIBRARIES}") from error


def write_onnx(network: EmbeddingNetwork, path: Path, metadata: dict[str, str]) -> float:
    """Write the file; returns the greatest absolute difference between its embeddings and PyTorch's.

    Raises InputError if it cannot be written, or they differ by more than TOLERANCE; an earlier file of the same name then stays.
    """
    with atomic_write(path) as temporary:
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a deprecated exporter and of shapes that a trace fixes
                trace_onnx(PixelNetwork(network).eval(), metadata, temporary)
                difference = _difference(network, load_onnx(temporary))
        except (InputError, OSError, MemoryError):
            raise
        except Exception as error:  # the exporter and ONNX Runtime have exceptions of their own
            reason = f"PyTorch {torch.__version__}: {one_line(error)[:200] or type(error).__name__}"
            raise InputError(f"{path}: cannot be written ({reason}); try another version of PyTorch") from error
        if not difference <= TOLERANCE:  # never true of NaN
            fault = f"its embeddings differ from PyTorch's by {difference:.1e}, more than {TOLERANCE:.0e}"
            raise InputError(f"{path}: not written, because {fault}; try another version of PyTorch")
    return difference


def _difference(network: EmbeddingNetwork, written: Network) -> float:
    differences = []
    for count, first_domain in itertools.product((1, 3), (SKETCH, PHOTO)):
        images, domain = PixelNetwork(network).example(count, first_domain)
        expected = network.embed(network.preprocessing.normalise(images), domain)
        differences.append(float((written(images, domain) - expected).abs().max()))
    return float(np.max(differences))  # NaN if any is NaN


def trace_onnx(network: PixelNetwork, metadata: dict[str, str], path: Path) -> None:
    """Export by tracing. The newer exporter (dynamo=True) would also need onnxscript; PyTorch 2.6 to 2.15 have this one."""
    import onnx

    axes = {name: {0: "batch"} for name in ("images", "domain", "embedding")}
    names: dict[str, Any] = {"input_names": ["images", "domain"], "output_names": ["embedding"], "dynamic_axes": axes}
    torch.onnx.export(network, network.example(), str(path), dynamo=False, opset_version=OPSET, **names)
    model = onnx.load(str(path))
    if "domain" not in [value.name for value in model.graph.input]:  # a trunk without a domain tag: every file is called alike
        model.graph.input.append(onnx.helper.make_tensor_value_info("domain", onnx.TensorProto.FLOAT, ["batch"]))
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, str(path))


def load_onnx(path: Path) -> Network:
    """The file's network on the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return lambda images, domain: torch.from_numpy(session.run(None, {"images": images.numpy(), "domain": domain.numpy()})[0])
