"""What a user sees, in one line, when a timm model, its weights, its image size or a checkpoint of one cannot be used."""

import re

import pytest
import timm
import torch

from datasets.preprocessing import Preprocessing
from models.dsn import Student
from models.embedding import trained_preprocessing
from models.names import DOWNLOAD, NONE, arch_name
from models.restore import restore_student
from models.teachers import load_teacher
from models.timm_models import skeleton
from models.timm_trunk import TimmTrunk
from models.timm_weights import load_network
from models.trunks import preprocessing_for, record_of, timm_trunk
from tests.helpers.hostile import Hostile
from tests.helpers.scripts import SMALL, TEST, TRAIN
from tests.helpers.timm_weights import random_state, write_weights
from utils.checkpoints import write_checkpoint
from utils.errors import InputError

ARCH = "timm/test_vit"


def refused(said: str, function, *arguments) -> None:
    with pytest.raises(InputError) as error:
        function(*arguments)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("timm/resnet81", "timm/resnet81: timm has no such model; did you mean"),
        ("timm/x:y/z", "timm has no such model; timm.list_models() lists them"),
        ("timm/resnet18.nowhere", "resnet18 has no weights of that name; timm has resnet18."),
        ("timm/test_maxvit.x", "use timm/test_maxvit"),
        ("resnet18", "must be cse_resnet50 or timm/NAME"),
    ],
)
def test_an_unknown_model_is_named(arch, said):
    with pytest.raises(Exception, match=re.escape(said)):
        arch_name(arch)


@pytest.mark.parametrize("name", ["crossvit_tiny_240", "coat_tiny", "mvitv2_tiny"])  # no place, never called, no tensor
def test_a_network_without_a_place_for_the_domain_tag_is_named(name):
    said = f"--domain_tag: timm/{name} has no place for it; pass --domain_tag off"
    refused(said, TimmTrunk, name, skeleton(name, 224), Preprocessing(224))


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("test_vit", 100, "takes multiples of its patch of 16 px; use 96 or 112"),
        ("vit_small_patch14_dinov2", 224 + 1, "takes multiples of its patch of 14 px; use 224 or 238"),
        ("test_maxvit", 100, "cannot be built for it"),  # its windows do not divide it
        ("inception_v3", 32, "use its own, 299"),  # nothing is left for the last layers
    ],
)
def test_an_image_size_that_cannot_be_is_refused_before_any_work(name, size, said):
    refused(f"--image_size {size}: timm/{name} ", preprocessing_for, f"timm/{name}", size)
    refused(said, preprocessing_for, f"timm/{name}", size)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return random_state("test_vit")


def test_weights_that_do_not_fit_are_named(state, tmp_path):
    def load(change: dict, name: str = "test_vit") -> None:
        file = write_weights(tmp_path / "w.pth", {key: value for key, value in (state | change).items() if value is not None})
        load_network(name, 160, str(file))

    key = "blocks.1.attn.qkv.weight"
    refused(f"w.pth: `{key}` is missing or of another shape; pass weights of timm/test_vit", load, {key: None})
    refused(f"w.pth: `{key}` is missing or of another shape", load, {key: torch.zeros(3, 3)})
    refused(f"w.pth: `{key}` is not finite", load, {key: torch.full_like(state[key], float("nan"))})
    refused("w.pth: `conv1.0.weight` is missing or of another shape; pass weights of timm/test_resnet", load, {}, "test_resnet")
    refused("w.pth: ", load, {"pos_embed": torch.zeros(1)})
    load({"head.weight": None, "head.bias": None})  # the classifier may be missing
    load({"head.weight": torch.zeros(3, 64), "head.bias": torch.zeros(3)})  # or of other classes


def test_files_that_are_no_weights_are_named(state, tmp_path):
    whole = write_weights(tmp_path / "whole.pth", state).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.safetensors").write_bytes(write_weights(tmp_path / "whole.safetensors", state).read_bytes()[:5000])
    torch.save({"state_dict": state, "extra": Hostile(tmp_path / "victim")}, tmp_path / "hostile.pth")
    (tmp_path / "page.pth").write_text("<!DOCTYPE html>")
    for name, said in {
        "cut.pth": "damaged",
        "cut.safetensors": "damaged or not a safetensors file",
        "hostile.pth": "refused",
        "page.pth": "damaged or not a PyTorch file",
        "nowhere.pth": "no such file",
    }.items():
        refused(f"{name}: {said}", load_network, "test_vit", 160, str(tmp_path / name))
    assert not (tmp_path / "victim").exists()


def test_without_internet_the_file_to_fetch_is_named(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route\n  to host")

    monkeypatch.setattr(timm, "create_model", unreachable)
    where = "https://huggingface.co/timm/test_vit.r160_in1k (model.safetensors)"
    said = f"cannot be downloaded (OSError: no route to host). Fetch {where} on a machine that can, then pass"
    refused(f"{said} --pretrained_weights FILE", load_network, "test_vit", 160)
    refused(f"{said} --teacher timm/test_vit=FILE", load_network, "test_vit", 160, DOWNLOAD, "--teacher")
    refused("timm has no weights for it; pass --pretrained_weights FILE", load_network, "test_vit_relpos", 160)


def test_teachers_that_cannot_teach_are_named(state, tmp_path):
    given = preprocessing_for(ARCH)
    headless = {key: value for key, value in state.items() if not key.startswith("head.")}
    file = write_weights(tmp_path / "w.pth", headless)
    refused("has no classifier of ImageNet's 1000 classes", load_teacher, f"{ARCH}={file}", ARCH, given)
    refused("has no classifier of ImageNet's 1000 classes", load_teacher, str(file), ARCH, given)
    refused("name its model, too: --teacher timm/NAME=", load_teacher, str(file), "cse_resnet50", given)
    refused("timm has no such model", load_teacher, "timm/resnet81", ARCH, given)
    refused("nowhere.pth: no such file", load_teacher, str(tmp_path / "nowhere.pth"), ARCH, given)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of an untrained student at 96 px."""
    torch.manual_seed(0)
    preprocessing = preprocessing_for(ARCH, 96).whole_image()
    network = load_network("test_vit", 96, NONE)
    trunk = timm_trunk(ARCH, network, preprocessing)
    path = tmp_path_factory.mktemp("run") / "model_best.pth.tar"
    how = {"epoch": 1, "arch": ARCH, "best": 0.0, "optimizer": None, "options": {"image_size": 96}}
    write_checkpoint(path, state=Student(8, 3, 5, trunk=trunk).state_dict(), **how, **record_of(trunk, preprocessing))
    return path


def test_a_trained_vit_keeps_its_image_size(checkpoint):
    student, _ = restore_student(checkpoint, 8)
    assert trained_preprocessing(student, None).image_size == trained_preprocessing(student, 50, 96).image_size == 96
    refused("--image_size 112: the network was trained at 96 px and takes no other size", trained_preprocessing, student, 96, 112)


def test_the_scripts_say_it_in_one_line_and_end_with_2(checkpoint, shared_dataset, tmp_path, run_script):
    data = ["--data_root", shared_dataset]
    tested = [TEST, *data, "--checkpoint", checkpoint, "--num_hashing", 8]
    for said, words in {
        "its trunk is timm/test_vit; pass --arch timm/test_vit or leave it out": [*tested, "--arch", "timm/test_resnet"],
        "takes no other size": [*tested, "--image_size", 112],
        "did you mean": [TRAIN, *data, "--arch", "timm/test_vi"],
        "use 96 or 112": [TRAIN, *data, "--arch", ARCH, "--image_size", 100],
        "--checkpoint_activations: --arch cse_resnet50 does not support it": [
            TRAIN, *SMALL, *data, "--pretrained_weights", "none", "--checkpoint_activations", "-s", tmp_path,
        ],
    }.items():  # fmt: skip
        code, _, err = run_script(*words)
        assert code == 2 and said in err.splitlines()[-1], err
        assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


HUGE = 10**400
RECORDS = {
    "another kind": "timm/test_vit",
    "no name": {"arch": 3},
    "another trunk": {"arch": "cse_resnet50"},
    "an unknown model": {"arch": "timm/\x1b[31mnothing"},
    "a giant": {"arch": "timm/vit_7b_patch16_dinov3"},
    "a giant picture": {"arch": "timm/swin_tiny_patch4_window7_224", "image_size": 8064},
    "a size that cannot be": {"image_size": 100.5},
    "a size of no patches": {"image_size": 100},
    "no size": {"image_size": HUGE},
    "no mean": {"mean": [HUGE, 0.0, 0.0]},
    "a text": {"std": "abc"},
    "no deviation": {"std": [0.0, 1.0, 1.0]},
    "an endless enlargement": {"crop_pct": 1e-9},
    "a filter of its own": {"interpolation": ["bicubic"]},
    "a tag of several values": {"domain_tag": torch.ones(3)},
    "a licence that writes on the terminal": {"licence": "mit\x1b[2J"},
}


@pytest.mark.parametrize("changes", RECORDS.values(), ids=RECORDS)
def test_an_impossible_record_of_a_trunk_is_refused(checkpoint, tmp_path, changes):
    content = torch.load(checkpoint, weights_only=True)
    record = content["trunk"]
    if isinstance(changes, dict):
        for key, value in changes.items():
            (record if key in record else record["preprocessing"])[key] = value
    else:
        content["trunk"] = changes
    torch.save(content, tmp_path / "odd.pth.tar")
    refused("odd.pth.tar: ", restore_student, tmp_path / "odd.pth.tar", 8)
