"""Every engine computes what PyTorch computes from the same checkpoint."""

import copy
import signal

import numpy as np
import pytest
import torch
from torch import nn

from datasets.preprocessing import Preprocessing
from models import engines, openvino_engine
from models.batchnorm_folding import fold_batchnorm
from models.dsn import Student
from models.embedding import EmbeddingNetwork, embedding_network
from models.engine import BF16, FLOAT32, FP16
from models.engines import KeptIn, open_engine
from models.names import PHOTO, SKETCH
from models.openvino_engine import kept_engine
from models.torch_engine import TorchEngine, optimised
from models.trunks import load_timm, preprocessing_for, timm_trunk
from tests.helpers import golden_values
from utils.fingerprints import versions_of

CPU = torch.device("cpu")
NAMES = [pytest.param("OpenVINO", marks=pytest.mark.skipif("not openvino_engine.openvino_version()")), "PyTorch"]


class Lookup(nn.Module):
    """A trunk that shows `trunk` the image whose number the pixels hold."""

    def __init__(self, trunk, images):
        super().__init__()
        self.trunk, self.feature_dim = trunk, trunk.feature_dim
        self.register_buffer("images", images)

    def features(self, images, domain):
        numbers = (images[:, 0, 0, 0] * 255).round().long()
        return self.trunk.features(self.images[numbers % len(self.images)], domain)


def with_statistics(network, seed=0):
    """BatchNorm statistics as training leaves them, and a domain tag that matters."""
    torch.manual_seed(seed)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if name.endswith("running_mean") or "domain_tag" in name:
            nn.init.normal_(tensor, std=0.1)
        if name.endswith("running_var"):
            nn.init.uniform_(tensor, 0.5, 2)
    return network.eval()


def cse(side=32):
    torch.manual_seed(0)
    return with_statistics(embedding_network(Student(8, 3, 5), Preprocessing(side)))


def timm(name, side):
    torch.manual_seed(0)
    preprocessing = preprocessing_for(name, side)
    trunk = timm_trunk(name, load_timm(name, "none", preprocessing), preprocessing)
    return with_statistics(EmbeddingNetwork(trunk, preprocessing))


def pixels(side, count=3):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def expected(network, images, domain):
    with torch.inference_mode():
        normalised = network.preprocessing.normalise(torch.from_numpy(images).permute(0, 3, 1, 2))
        return network.embed(normalised, torch.full((len(images),), domain)).numpy()


@pytest.fixture
def engine(request, monkeypatch):
    """A function that opens the engine of this name, and no other."""

    def opened(network, precision=FLOAT32, **rules):
        if request.param == "PyTorch":
            monkeypatch.setattr(engines, "openvino_version", lambda: None)
        found = open_engine(copy.deepcopy(network), CPU, precision, **rules)
        assert found.name.startswith(request.param)
        return found

    return opened


@pytest.mark.slow
@pytest.mark.parametrize("engine", NAMES, indirect=True)
def test_golden_values(engine):
    student = Student(64, 100)
    student.load_state_dict({key.removeprefix("module."): value for key, value in golden_values.weights("student").items()})
    trunk = student.original_model
    lookup = Lookup(trunk, golden_values.images())
    opened = engine(EmbeddingNetwork(lookup, Preprocessing(32, (0, 0, 0), (1, 1, 1)), trunk.second_last_linear))
    golden = golden_values.arrays()["model_embedding"]
    golden /= np.linalg.norm(golden, axis=1, keepdims=True)
    images = np.tile(np.arange(4, dtype=np.uint8)[:, None, None, None], (1, 32, 32, 3))
    found = [opened.embed(images, domain) for domain in (SKETCH, PHOTO)]
    tags = [0, 0, 1, 1]
    np.testing.assert_allclose([found[tag][row] for row, tag in enumerate(tags)], golden, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("engine", NAMES, indirect=True)
@pytest.mark.parametrize("name", ["cse", "timm/resnet10t", "timm/vit_tiny_patch16_224", "timm/convnext_atto"])
def test_both_domains_in_both_precisions(engine, name):
    network = cse() if name == "cse" else timm(name, 32)
    images = pixels(32, 19)  # more than OpenVINO computes at once
    for precision, tolerance in ((FLOAT32, 1e-5), (BF16, 0.05)):
        opened = engine(network, precision)
        for domain in (SKETCH, PHOTO):
            found, vectors = opened.embed(images, domain), expected(network, images, domain)
            np.testing.assert_allclose(found, vectors, atol=tolerance)
            assert found.dtype == np.float32
            np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.abs(expected(network, images, SKETCH) - expected(network, images, PHOTO)).max() > 1e-3


def test_batchnorm_is_folded():
    network = cse()
    folded = optimised(copy.deepcopy(network), CPU).network
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    np.testing.assert_allclose(
        TorchEngine(network, CPU).embed(pixels(32), PHOTO), optimised(network, CPU).embed(pixels(32), PHOTO), atol=1e-5
    )


class ReadTwice(nn.Module):
    """BatchNorm is not the only layer that reads the convolution's output."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, images):
        read = self.convolution(images)
        return self.norm(read) + read


def test_a_convolution_that_others_read_is_left():
    network, images = with_statistics(ReadTwice()), torch.rand(2, 3, 4, 4)
    before = network(images)
    assert fold_batchnorm(network, images) == 0
    assert torch.equal(network(images), before)


openvino_only = pytest.mark.skipif(not openvino_engine.openvino_version(), reason="needs OpenVINO")


@openvino_only
@pytest.mark.slow
def test_a_converted_network_is_kept_until_something_changes(tmp_path, monkeypatch):
    network, kept = cse(), KeptIn(tmp_path / "engine", "digest")
    vectors = open_engine(network, CPU, FLOAT32, kept).embed(pixels(32), PHOTO)
    assert sorted(path.name for path in kept.folder.iterdir()) == ["engine.json", "network.bin", "network.xml"]

    def again(digest="digest", side=32):
        return kept_engine(kept.folder, digest, side, FLOAT32)

    np.testing.assert_allclose(again().embed(pixels(32), PHOTO), vectors, atol=1e-6)
    assert again("another") is None and again(side=64) is None
    for library, version, is_used in (("openvino", "1.0", False), ("timm", "1.0", False), ("timm", None, True)):
        versions = {**versions_of(["openvino", "timm"]), library: version}
        monkeypatch.setattr(openvino_engine, "versions_of", lambda names, known=versions: {name: known[name] for name in names})
        assert (again() is not None) == is_used, (library, version)
        monkeypatch.undo()
    weights = (kept.folder / "network.bin").read_bytes()
    for name, content in (("network.bin", weights[:-8]), ("network.xml", b"<net"), ("engine.json", b"{")):
        original = (kept.folder / name).read_bytes()
        (kept.folder / name).write_bytes(content)
        assert again() is None, name
        (kept.folder / name).write_bytes(original)
    (kept.folder / "network.bin").write_bytes(bytes(len(weights)))  # as long, and wrong
    assert again() is None
    repaired = open_engine(network, CPU, FLOAT32, kept)
    np.testing.assert_allclose(repaired.embed(pixels(32), PHOTO), vectors, atol=1e-6)
    np.testing.assert_allclose(again().embed(pixels(32), PHOTO), vectors, atol=1e-6)


@openvino_only
@pytest.mark.slow
def test_signals_are_handled_after_engines_are_freed(tmp_path):
    kept, came = KeptIn(tmp_path / "engine", "digest"), []
    first = open_engine(cse(), CPU, BF16, kept)
    second = kept_engine(kept.folder, kept.digest, 32, BF16)
    del first
    del second
    before = signal.signal(signal.SIGTERM, lambda *_: came.append("handled"))
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == ["handled"]


@openvino_only
def test_somebody_elses_folder_stays(tmp_path):
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine/mine.txt").write_text("mine")
    open_engine(cse(), CPU, FLOAT32, KeptIn(tmp_path / "engine", "digest"))
    assert [path.name for path in tmp_path.rglob("*")] == ["engine", "mine.txt"]


@openvino_only
@pytest.mark.slow
@pytest.mark.parametrize("fault", ["fails", "differs"])
def test_pytorch_takes_over(fault, monkeypatch, capsys):
    network, other, images = cse(), cse(), pixels(32)
    with torch.no_grad():
        other.projection.weight.mul_(-1)
    wrong = engines.converted(other) if fault == "differs" else None

    def converted(_):
        if wrong is None:
            raise RuntimeError("no such operation\nand more")
        return wrong

    vectors = expected(network, images, PHOTO)
    monkeypatch.setattr(engines, "converted", converted)
    opened = open_engine(network, CPU, FLOAT32)
    assert opened.name.startswith("PyTorch")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("note: converting the network") and second.startswith("note: OpenVINO cannot run this network (")
    np.testing.assert_allclose(opened.embed(images, PHOTO), vectors, atol=1e-5)


def test_few_images_are_not_worth_a_conversion():
    assert open_engine(cse(), CPU, FLOAT32, images=20).name.startswith("PyTorch")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [(FLOAT32, 1e-4), (BF16, 0.05), (FP16, 0.01)])
def test_cuda_graphs_compute_the_same(precision, tolerance):
    network, images = cse(), pixels(32, 4)
    opened = optimised(copy.deepcopy(network), torch.device("cuda"), precision)
    for domain in (SKETCH, SKETCH, PHOTO, PHOTO):  # the second time is the first of the graph
        np.testing.assert_allclose(opened.embed(images, domain), expected(network, images, domain), atol=tolerance)
    np.testing.assert_allclose(opened.embed(images[:3], PHOTO), expected(network, images[:3], PHOTO), atol=tolerance)
