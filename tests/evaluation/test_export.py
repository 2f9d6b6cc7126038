"""export.py: the file embeds as PyTorch does, states how to feed it, and is not written if it differs."""

import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.catalog import SKETCHY
from datasets.file_lists import Split
from datasets.images import decode
from datasets.preprocessing import Preprocessing
from evaluation import export, onnx_file
from evaluation.embedding import Embedder
from evaluation.export_config import export_options
from models.dsn import Student
from models.embedding import embedding_network
from models.names import PHOTO, SKETCH
from models.restore import restore_student
from models.torch_engine import TorchEngine
from models.trunks import preprocessing_for
from tests.helpers.exporting import write_student
from tests.helpers.hostile import Hostile
from tests.helpers.scripts import ROOT
from utils.checkpoints import write_checkpoint

pytestmark = pytest.mark.slow
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SIDE, WIDTH, CPU = 32, 8, torch.device("cpu")
WORDS = ["export.py", "--checkpoint"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A student with BatchNorm statistics, recorded as trained at SIDE."""
    torch.manual_seed(0)
    student = Student(WIDTH, 3, teacher_classes=5)
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    path = tmp_path_factory.mktemp("run") / "model_best.pth.tar"
    options = {"image_size": SIDE}
    write_checkpoint(path, epoch=1, arch="cse_resnet50", state=student.state_dict(), best=0.0, optimizer=None, options=options)
    return path


@pytest.fixture(scope="module")
def written(checkpoint) -> Path:
    """The file, beside the checkpoint."""
    return export.export_network(*export_options([*WORDS[1:], str(checkpoint)]))


@pytest.fixture(scope="module")
def embedded(checkpoint, shared_dataset):
    """{domain: (paths of real images, their embeddings by PyTorch)}."""
    student, _ = restore_student(checkpoint, WIDTH)
    embed = Embedder(TorchEngine(embedding_network(student, Preprocessing(SIDE)), CPU), CPU, batch_size=5, num_workers=0)
    split = Split(SKETCHY, shared_dataset, "zeroshot1")
    rows = np.arange(0, 12, 2)
    lists = {SKETCH: split.sketches("zero").subset(rows), PHOTO: split.photos("zero").subset(rows)}
    return {domain: ([files.root / path for path in files.paths], embed(files, domain, "")) for domain, files in lists.items()}


def inputs(paths: list[Path], domain: float) -> tuple[torch.Tensor, torch.Tensor]:
    images = np.stack([decode(path, SIDE).transpose(2, 0, 1) for path in paths])
    return torch.from_numpy(images), torch.full((len(paths),), domain)


def test_it_embeds_as_pytorch_does_in_batches_of_any_size(written, embedded):
    run = onnx_file.load_onnx(written)
    for domain, (paths, expected) in embedded.items():
        images, domains = inputs(paths, domain)
        for size in (1, 4, len(paths)):
            found = torch.cat([run(*batch) for batch in zip(images.split(size), domains.split(size), strict=True)])
            assert found.dtype == torch.float32 and found.shape == (len(paths), WIDTH)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(found.norm(dim=1), torch.ones(len(paths)))


def test_the_domain_matters_image_by_image(written, embedded):
    run = onnx_file.load_onnx(written)
    images, photo = inputs(embedded[PHOTO][0][:3], PHOTO)
    as_photo, as_sketch = run(images, photo), run(images, torch.zeros(3))
    assert (as_photo - as_sketch).abs().amax(1).min() > 1e-3
    mixed = run(images, torch.tensor([SKETCH, PHOTO, SKETCH]))
    torch.testing.assert_close(mixed, torch.stack([as_sketch[0], as_photo[1], as_sketch[2]]), atol=1e-5, rtol=0)


def test_pixels_of_another_type_or_size_are_refused(written):
    run = onnx_file.load_onnx(written)
    images = torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8)
    for wrong in (images.float(), images.permute(0, 2, 3, 1).contiguous(), images[..., :-1].contiguous()):
        with pytest.raises(Exception, match=r"uint8|invalid dimensions"):
            run(wrong, torch.ones(2))


def test_the_file_states_how_to_feed_it(written, checkpoint):
    import onnxruntime

    metadata = onnxruntime.InferenceSession(written).get_modelmeta().custom_metadata_map
    assert metadata["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert (metadata["image_size"], metadata["embedding_width"]) == (str(SIDE), str(WIDTH))
    assert "0 for a sketch and 1 for a photo" in metadata["domain"] and "bilinear" in metadata["preprocessing"]


def test_the_documented_example_prepares_images_as_we_do(written, embedded, tmp_path, monkeypatch):
    pages = (path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))
    code = next(
        found[1] for text in pages for found in re.finditer(r"```python\n(.*?)```", text, re.S) if "onnxruntime" in found[1]
    )
    monkeypatch.chdir(written.parent)
    example = {}
    exec(code, example)
    for domain, (paths, expected) in embedded.items():
        np.testing.assert_allclose(example["embed"](paths, domain), expected.numpy(), atol=1e-5)
    drawing = np.zeros((50, 60, 4), np.uint8)
    drawing[10:20, 5:40, 3] = 255
    Image.fromarray(drawing).save(tmp_path / "transparent.png")
    assert (
        example["pixels"](tmp_path / "transparent.png") == decode(tmp_path / "transparent.png", SIDE).transpose(2, 0, 1)
    ).all()


def test_another_size_and_the_pooled_feature(checkpoint, tmp_path, run_script):
    words = ["-o", tmp_path / "new", "--format", "onnx", "--image_size", 45, "--pretrained"]
    code, out, err = run_script(*WORDS, checkpoint, *words)
    assert (code, err) == (0, "")
    assert f"note: trained at {SIDE} px, exported for 45 px" in out
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["embedding.onnx"]
    found = onnx_file.load_onnx(tmp_path / "new/embedding.onnx")(torch.zeros(1, 3, 45, 45, dtype=torch.uint8), torch.ones(1))
    assert found.shape == (1, 2048)


@pytest.mark.parametrize("arch", ["timm/test_vit", "timm/test_convnext", "timm/test_resnet"])
@pytest.mark.parametrize("domain_tag", [True, False])
def test_a_timm_trunk_takes_images_and_domains_whether_it_uses_them_or_not(tmp_path, run_script, arch, domain_tag):
    source = write_student(tmp_path / "a.pth.tar", arch, domain_tag=domain_tag)
    code, _, err = run_script(*WORDS, source)
    assert (code, err) == (0, "")
    run = onnx_file.load_onnx(tmp_path / "embedding.onnx")
    images = torch.randint(256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    as_sketch, as_photo = run(images, torch.zeros(3)), run(images, torch.ones(3))
    assert ((as_sketch - as_photo).abs().max() > 1e-3) == domain_tag


def test_an_untrained_trunk_states_how_it_crops(tmp_path, run_script):
    import onnxruntime

    words = ["--untrained", "--pretrained_weights", "none", "--arch", "timm/test_resnet", "-o", tmp_path]
    assert run_script("export.py", *words)[::2] == (0, "")
    session = onnxruntime.InferenceSession(tmp_path / "timm-test_resnet.onnx")
    found, expected = session.get_modelmeta().custom_metadata_map, preprocessing_for("timm/test_resnet")
    assert Preprocessing.from_dict(json.loads(found["preprocessing_values"])) == expected
    scaled = int(expected.image_size / expected.crop_pct)
    assert f"the shorter side resized to {scaled} with an antialiased {expected.interpolation} filter" in found["preprocessing"]
    assert "then cropped to the central image_size x image_size" in found["preprocessing"]


def refused(run_script, said, *words):
    code, _, err = run_script(*WORDS, *words)
    assert code == 2, err
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err, err


@pytest.mark.parametrize("off", [2e-4, float("nan")])
def test_a_file_that_embeds_differently_is_not_written(written, checkpoint, tmp_path, run_script, monkeypatch, off):
    target = tmp_path / "net.onnx"
    target.write_bytes(b"from before")
    right = onnx_file.load_onnx(written)
    monkeypatch.setattr(onnx_file, "trace_onnx", lambda network, metadata, path: path.write_bytes(b"new"))
    monkeypatch.setattr(onnx_file, "load_onnx", lambda path: lambda *inputs: right(*inputs) + off)
    refused(run_script, "net.onnx: not written, because its embeddings differ from PyTorch's by", checkpoint, "-o", target)
    assert target.read_bytes() == b"from before"
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_an_exporter_that_fails_is_one_clear_line(checkpoint, tmp_path, run_script, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("gone since 3.0\nand much more")

    monkeypatch.setattr(torch.onnx, "export", fails)
    refused(
        run_script, ": gone since 3.0 and much more); try another version of PyTorch", checkpoint, "-o", tmp_path / "net.onnx"
    )
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_done_is_one_clear_line(checkpoint, tmp_path, run_script, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.pth.tar").write_text("<!DOCTYPE html>")
    refused(run_script, "ends in .onnx, or a folder", checkpoint, "-o", tmp_path / "net.pt")
    refused(run_script, "give either --checkpoint or --untrained", checkpoint, "--untrained")
    refused(run_script, "its trunk is cse_resnet50; pass --arch cse_resnet50", checkpoint, "--arch", "timm/test_vit")
    refused(run_script, "invalid choice: 'torchscript' (choose from", checkpoint, "--format", "torchscript")
    refused(run_script, "nothing can be written there", checkpoint, "-o", tmp_path / "file/net.onnx")
    refused(run_script, "nothing can be written there", checkpoint, "-o", tmp_path / "file")
    refused(run_script, "damaged or not a PyTorch file", tmp_path / "bad.pth.tar")
    refused(run_script, "no such file", tmp_path / "absent.pth.tar")
    refused(run_script, f"pass --num_hashing {WIDTH}, not 64", checkpoint, "--num_hashing", 64)
    torch.save({"state_dict": {}, "best_acc1": Hostile(tmp_path / "victim")}, tmp_path / "bad.pth.tar")
    refused(run_script, "bad.pth.tar: refused", tmp_path / "bad.pth.tar")
    assert not (tmp_path / "victim").exists()
    same = tmp_path / "embedding.onnx"
    same.hardlink_to(checkpoint)
    refused(run_script, "is the checkpoint itself", same)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(run_script, "--format onnx: needs onnx and onnxruntime", checkpoint, "-o", tmp_path / "net.onnx")
