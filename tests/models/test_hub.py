"""hubconf.py: two lines load a network and its transform, from any folder, beside any other package, without internet."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from datasets.images import decode
from datasets.preprocessing import Preprocessing, Transform
from models.embedding import embedding_network
from models.names import PHOTO, SKETCH
from models.restore import restore_student
from tests.helpers.exporting import WIDTH, write_student
from tests.helpers.scripts import ROOT

CROPPED = Preprocessing(48, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bicubic", 0.9, "center")


def images(folder):
    """A JPEG that lies on its side, and a transparent PNG."""
    generator = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(generator.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(generator.integers(0, 256, (50, 40, 4), dtype=np.uint8)).save(folder / "transparent.png")
    return [folder / "turned.jpg", folder / "transparent.png"]


@pytest.mark.parametrize("preprocessing", [Preprocessing(32), CROPPED, CROPPED.whole_image()])
def test_the_transform_makes_the_pixels_that_a_test_embeds(tmp_path, preprocessing):
    transform = Transform(preprocessing)
    for path in images(tmp_path):
        pixels = decode(path, preprocessing.image_size, preprocessing.fit)
        expected = preprocessing.normalise(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0]
        with Image.open(path) as opened, Image.open(path) as loaded:
            loaded.load()
            for image in (path, str(path), opened, loaded):
                assert torch.equal(transform(image), expected)


def test_a_checkpoint_is_loaded_in_two_lines(tmp_path):
    checkpoint = write_student(tmp_path / "a.pth.tar", "timm/test_vit")
    model, transform = torch.hub.load(str(ROOT), "dsn", source="local", checkpoint=str(checkpoint))
    assert not model.training and transform.preprocessing.image_size == 64
    student, _ = restore_student(checkpoint, None)
    network = embedding_network(student, student.original_model.preprocessing)
    batch = torch.stack([transform(path) for path in images(tmp_path)])
    for name, domain in (("sketch", SKETCH), ("photo", PHOTO)):
        vectors = model.embed(batch, name)
        assert vectors.shape == (2, WIDTH) and not vectors.requires_grad
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
        torch.testing.assert_close(vectors, network.embed(batch, torch.full((2,), domain)).detach())
    copied = pickle.loads(pickle.dumps(transform))
    assert torch.equal(copied(tmp_path / "turned.jpg"), batch[0])


def test_what_cannot_be_loaded_is_one_clear_line(tmp_path):
    for name, options, said in (
        ("dsn", {"checkpoint": tmp_path / "a.pth.tar"}, "a.pth.tar: no such file; checkpoint needs"),
        ("dsn", {"checkpoint": tmp_path}, "is a folder, not a file, and has no config.json"),
        ("trunk", {"arch": "resnet18"}, "arch: must be cse_resnet50 or timm/NAME"),
        ("trunk", {"arch": "timm/resnet19"}, "did you mean"),
        ("trunk", {"arch": "timm/test_vit", "pretrained_weights": "absent.pth"}, "absent.pth: no such file"),
    ):
        with pytest.raises(Exception, match=said) as error:
            torch.hub.load(str(ROOT), name, source="local", **options)
        assert type(error.value).__name__ == "InputError" and "\n" not in str(error.value)


def test_the_licence_of_downloaded_weights_is_printed(monkeypatch, capsys):
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **rules: create(name, **rules))
    model, _ = torch.hub.load(str(ROOT), "trunk", source="local", arch="timm/test_vit")
    assert model.trunk.licence == "apache-2.0"
    assert "weights of timm/test_vit: licence apache-2.0\n" in capsys.readouterr().err
    torch.hub.load(str(ROOT), "trunk", source="local", arch="timm/test_vit", pretrained_weights="none")
    assert "licence" not in capsys.readouterr().err


def forget():
    """As in a new process."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "dsn_hub"]:
        del sys.modules[name]
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "hubconf"]


def test_after_a_failed_import_the_next_call_works(monkeypatch):
    def load():
        return torch.hub.load(str(ROOT), "trunk", source="local", arch="timm/test_vit", pretrained_weights="none", image_size=64)

    forget()
    finders = len(sys.meta_path)
    with monkeypatch.context() as patched, pytest.raises(ImportError):
        patched.setitem(sys.modules, "dsn_hub.datasets.images", None)
        load()
    assert len(sys.meta_path) == finders and not [name for name in sys.modules if name.startswith("dsn_hub")]
    pickled = pickle.dumps(load()[1])
    forget()
    assert pickle.loads(pickled).preprocessing.image_size == 64


ELSEWHERE = """
import multiprocessing, socket, sys
import datasets, torch

def no_network(*_):
    raise OSError("no network here")

if __name__ == "__main__":
    socket.getaddrinfo = no_network
    repo, image = sys.argv[1:]
    model, transform = torch.hub.load(
        repo, "trunk", source="local", arch="timm/test_vit", pretrained_weights="none", image_size=64
    )
    import models, utils
    assert datasets.OWN and models.OWN and utils.OWN
    vectors = model.embed(transform(image)[None], "photo")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert torch.equal(pool.map(transform, [image])[0], transform(image))
    print(tuple(vectors.shape), round(float(vectors.norm()), 4))
"""


@pytest.mark.slow
def test_packages_of_the_same_names_and_other_processes_do_not_matter(tmp_path):
    for name in ("datasets", "models", "utils"):
        (tmp_path / f"{name}.py").write_text("OWN = True\n")
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    command = [sys.executable, "elsewhere.py", str(ROOT), str(images(tmp_path)[0])]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert (run.returncode, run.stdout) == (0, "(1, 64) 1.0\n"), run.stderr
