"""export.py: what it writes embeds as we do, says how it is to be fed, and is not written if it does not."""

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
from evaluation import export
from evaluation.embedding import Embedder
from models.cse_resnet import PHOTO, SKETCH
from models.dsn import Student
from models.restore import restore_student
from tests.helpers.hostile import Hostile
from tests.helpers.scripts import ROOT
from utils.checkpoints import write_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit")  # deprecated, and said so on loading too
SIDE, WIDTH = 32, 8
WORDS = ["export.py", "--num_hashing", WIDTH, "--checkpoint"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """Of a student whose BatchNorm has something to do, recorded as trained at SIDE."""
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
def written(checkpoint) -> dict[str, Path]:
    """Both files, beside the checkpoint."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return export.export_network(export.export_options([*map(str, WORDS[1:]), str(checkpoint)]))


@pytest.fixture(scope="module")
def embedded(checkpoint, shared_dataset):
    """domain → paths of real images, and what the project's own way makes of them."""
    student, _ = restore_student(checkpoint, WIDTH)
    embed = Embedder(student, torch.device("cpu"), SIDE, batch_size=5, num_workers=0)
    split = Split(SKETCHY, shared_dataset, "zeroshot1")
    rows = np.arange(0, 12, 2)
    lists = {SKETCH: split.sketches("zero").subset(rows), PHOTO: split.photos("zero").subset(rows)}
    return {domain: ([files.root / path for path in files.paths], embed(files, domain, "")) for domain, files in lists.items()}


def runner(kind: str, path: Path):
    return {"onnx": export._load_onnx, "torchscript": export._load_torchscript}[kind](path)


def inputs(paths: list[Path], domain: float) -> tuple[torch.Tensor, torch.Tensor]:
    images = np.stack([decode(path, SIDE).transpose(2, 0, 1) for path in paths])
    return torch.from_numpy(images), torch.full((len(paths),), domain)


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_it_embeds_as_we_do_in_batches_of_any_size(written, embedded, kind):
    run = runner(kind, written[kind])
    for domain, (paths, expected) in embedded.items():
        images, tags = inputs(paths, domain)
        for size in (1, 4, len(paths)):
            found = torch.cat([run(*batch) for batch in zip(images.split(size), tags.split(size), strict=True)])
            assert found.dtype == torch.float32 and found.shape == (len(paths), WIDTH)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(found.norm(dim=1), torch.ones(len(paths)))


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_the_domain_matters_image_by_image(written, embedded, kind):
    run = runner(kind, written[kind])
    images, photo = inputs(embedded[PHOTO][0][:3], PHOTO)
    as_photo, as_sketch = run(images, photo), run(images, torch.zeros(3))
    assert (as_photo - as_sketch).abs().amax(1).min() > 1e-3
    mixed = run(images, torch.tensor([SKETCH, PHOTO, SKETCH]))
    torch.testing.assert_close(mixed, torch.stack([as_sketch[0], as_photo[1], as_sketch[2]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_pixels_it_was_not_made_for_are_refused(written, kind):
    run = runner(kind, written[kind])
    images = torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8)
    for wrong in (images.float(), images.permute(0, 2, 3, 1).contiguous(), images[..., :-1].contiguous()):
        with pytest.raises(Exception, match=r"uint8|invalid dimensions"):
            run(wrong, torch.ones(2))


def test_both_tell_how_to_feed_them(written, checkpoint):
    import onnxruntime

    kept = {export.METADATA_FILE: ""}
    torch.jit.load(str(written["torchscript"]), _extra_files=kept)
    metadata = json.loads(kept[export.METADATA_FILE])
    assert onnxruntime.InferenceSession(written["onnx"]).get_modelmeta().custom_metadata_map == metadata
    assert metadata["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert (metadata["image_size"], metadata["embedding_width"]) == (str(SIDE), str(WIDTH))
    assert "0 for a sketch and 1 for a photo" in metadata["domain"] and "bilinear" in metadata["preprocessing"]


def test_torchscript_is_tied_to_no_device(written):
    graph = torch.jit.load(str(written["torchscript"])).inlined_graph
    assert not [node for node in graph.findAllNodes("prim::Constant") if str(node.output().type()) == "Device"]


def test_the_readmes_example_prepares_images_as_we_do(written, embedded, tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The embedding elsewhere")[2]
    monkeypatch.chdir(written["onnx"].parent)
    example = {}
    exec(re.search(r"```python\n(.*?)```", text, re.S)[1], example)
    for domain, (paths, expected) in embedded.items():
        np.testing.assert_allclose(example["embed"](paths, domain), expected.numpy(), atol=1e-5)
    drawing = np.zeros((50, 60, 4), np.uint8)
    drawing[10:20, 5:40, 3] = 255
    Image.fromarray(drawing).save(tmp_path / "transparent.png")
    assert (
        example["pixels"](tmp_path / "transparent.png") == decode(tmp_path / "transparent.png", SIDE).transpose(2, 0, 1)
    ).all()


def test_another_size_and_the_pooled_feature(checkpoint, tmp_path, run_script):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    words = ["-o", tmp_path / "new", "--format", "onnx", "--image_size", 45, "--pretrained"]
    code, out, err = run_script(*WORDS, checkpoint, *words)
    assert (code, err) == (0, "")
    assert f"note: trained at {SIDE} px, exported for 45 px" in out
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["embedding.onnx"]
    found = runner("onnx", tmp_path / "new/embedding.onnx")(torch.zeros(1, 3, 45, 45, dtype=torch.uint8), torch.ones(1))
    assert found.shape == (1, 2048)


def refused(run_script, said, *words):
    code, _, err = run_script(*WORDS, *words)
    assert code == 2, err
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err, err


@pytest.mark.parametrize("off", [2e-4, float("nan")])
def test_what_embeds_otherwise_is_not_written(checkpoint, tmp_path, run_script, monkeypatch, off):
    target = tmp_path / "net.pt"
    target.write_bytes(b"from before")
    student, _ = restore_student(checkpoint, WIDTH)
    right = export.Export(student, SIDE, False, {}).expected
    fake = lambda _, path: path.write_bytes(b"new"), lambda _: lambda *inputs: right(*inputs) + off
    monkeypatch.setitem(export.FORMATS, "torchscript", fake)
    refused(run_script, "net.pt: not written, for its embeddings differ from ours by", checkpoint, "-o", target)
    assert target.read_bytes() == b"from before"
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]


def test_an_exporter_that_fails_is_one_clear_line(checkpoint, tmp_path, run_script, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("gone since 3.0\nand much more")

    monkeypatch.setattr(torch.jit, "trace", fails)
    refused(run_script, "(gone since 3.0); try another --format", checkpoint, "-o", tmp_path / "net.pt")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_done_is_one_clear_line(checkpoint, tmp_path, run_script, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.pth.tar").write_text("<!DOCTYPE html>")
    torch_only = ["--format", "torchscript"]
    refused(run_script, "ends in .onnx or .pt, or a folder", checkpoint, "-o", tmp_path / "net.bin")
    refused(
        run_script, "is for torchscript, but --format asks for onnx", checkpoint, "-o", tmp_path / "net.pt", "--format", "onnx"
    )
    refused(run_script, "nothing can be written there", checkpoint, "-o", tmp_path / "file/net.pt")
    refused(run_script, "nothing can be written there", checkpoint, "-o", tmp_path / "file", *torch_only)
    refused(run_script, "damaged or not a PyTorch file", tmp_path / "bad.pth.tar", *torch_only)
    refused(run_script, "no such file", tmp_path / "absent.pth.tar", *torch_only)
    refused(run_script, f"pass --num_hashing {WIDTH}, not 64", checkpoint, *torch_only, "--num_hashing", 64)
    torch.save({"state_dict": {}, "best_acc1": Hostile(tmp_path / "victim")}, tmp_path / "bad.pth.tar")
    refused(run_script, "bad.pth.tar: refused", tmp_path / "bad.pth.tar", *torch_only)
    assert not (tmp_path / "victim").exists()
    same = tmp_path / "embedding.pt"
    same.hardlink_to(checkpoint)
    refused(run_script, "is the checkpoint itself", same, *torch_only)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(run_script, "pip install 'onnx>=1.16' 'onnxruntime>=1.19'", checkpoint, "-o", tmp_path / "net.onnx")
