"""export.py --format safetensors: the folder loads like its checkpoint, its card says what is known, hostile ones are refused."""

import json
import shlex

import pytest
import torch

from evaluation import model_folder
from models.embedding import embedding_network, trained_preprocessing
from models.names import CSE_RESNET50
from models.restore import recorded_image_size, restore_student, weights_digest
from tests.helpers.exporting import WIDTH, write_student
from utils.errors import InputError
from utils.files import umask

ARCHES = ["timm/test_vit", "timm/test_resnet", pytest.param(CSE_RESNET50, marks=pytest.mark.slow)]


def network_of(path):
    student, content = restore_student(path, WIDTH)
    return embedding_network(student, trained_preprocessing(student, recorded_image_size(content)))


@pytest.fixture
def export(run_script):
    def run(checkpoint, *words):
        found = run_script("export.py", "--format", "safetensors", "--checkpoint", checkpoint, *words)
        return found[0], found[2]

    return run


@pytest.mark.parametrize("arch", ARCHES)
def test_the_folder_embeds_as_its_checkpoint_does(tmp_path, export, arch):
    checkpoint = write_student(tmp_path / "a.pth.tar", arch)
    assert export(checkpoint) == (0, "")
    assert {path.name for path in (tmp_path / "embedding").iterdir()} == {"model.safetensors", "config.json", "README.md"}
    assert (tmp_path / "embedding").stat().st_mode & 0o777 == 0o777 & ~umask()
    first, second = network_of(checkpoint), network_of(tmp_path / "embedding")
    assert first.preprocessing == second.preprocessing and weights_digest(first) == weights_digest(second)
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for domain in ("sketch", "photo"):
        assert torch.equal(first.embed(images, domain), second.embed(images, domain))
    config = json.loads((tmp_path / "embedding/config.json").read_text(encoding="utf-8"))
    assert (config["arch"], config["embedding_width"], config["domains"]) == (arch, WIDTH, {"sketch": 0, "photo": 1})


def test_an_earlier_export_is_replaced_and_nothing_else(tmp_path, export, monkeypatch):
    checkpoint, folder = write_student(tmp_path / "a.pth.tar", "timm/test_vit"), tmp_path / "embedding"
    assert export(checkpoint) == export(checkpoint) == (0, "")
    before = (folder / "config.json").read_bytes()

    def fails(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(model_folder, "model_card", fails)
        code, err = export(checkpoint, "--image_size", 64)
        assert code == 2 and "embedding: cannot be written (No space left on device)" in err
    assert (folder / "config.json").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.pth.tar", "embedding"}
    (folder / "results.json").write_text("{}")
    code, err = export(checkpoint)
    assert code == 2 and "exists and holds what no export wrote (results.json); name another folder" in err
    code, err = export(checkpoint, "-o", checkpoint)
    assert code == 2 and "a.pth.tar: exists and holds what no export wrote" in err
    assert export(folder)[1].startswith(f"error: {folder}: is a folder, as --format safetensors writes it; copy it")
    code, err = export(checkpoint, "--arch", "timm/test_resnet", "-o", tmp_path / "new")
    assert code == 2 and "its trunk is timm/test_vit; pass --arch timm/test_vit or leave it out" in err
    code, err = export(checkpoint, "--pretrained_weights", "none", "-o", tmp_path / "new")
    assert code == 2 and err == f"error: --pretrained_weights: {checkpoint} holds all weights; leave it out\n"


HOSTILE = {  # what is wrong: a change of the content of config.json, what is said
    "format": ({"format": "other"}, "config.json: damaged, or not of export.py"),
    "arch": ({"arch": ["timm/test_vit"]}, "config.json: damaged, or not of export.py"),
    "no such arch": ({"arch": "timm/../../test_vit"}, "its trunk cannot be built"),
    "another arch": ({"arch": "timm/test_resnet"}, "is missing or not a matrix of"),
    "licence": ({"licence": "\x1b[31m"}, "its trunk cannot be built"),
    "options": ({"options": 3}, "config.json: damaged, or not of export.py"),
    "epoch": ({"epoch": "3"}, "config.json: damaged, or not of export.py"),
    "preprocessing": ({"preprocessing": {"image_size": 1 << 40}}, "config.json: damaged, or not of export.py"),
}
DAMAGED = {
    "no config": ("config.json", lambda whole: None, "is a folder, not a file, and has no config.json"),
    "no weights": ("model.safetensors", lambda whole: None, "model.safetensors: no such file"),
    "cut weights": ("model.safetensors", lambda whole: whole[:-1], "damaged or not a safetensors file"),
    "long header": ("model.safetensors", lambda whole: (1 << 40).to_bytes(8, "little") + whole[8:], "damaged or not a saf"),
    "nested": ("config.json", lambda whole: b"[" * 200_000, "config.json: damaged, or not of export.py (nested"),
    "too large": ("config.json", lambda whole: whole + b" " * (1 << 20), "config.json: damaged, or not of export.py (too"),
    "not JSON": ("config.json", lambda whole: b"\xff\xfe", "config.json: damaged, or not of export.py"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An exported folder, which no test may change."""
    folder = tmp_path_factory.mktemp("whole")
    checkpoint = write_student(folder / "a.pth.tar", "timm/test_vit")
    student, content = restore_student(checkpoint, WIDTH)
    path = folder / "embedding"
    model_folder.write_model_folder(path, student, student.original_model.preprocessing, content, checkpoint)
    return path


def copied(whole, folder, **changed):
    """A copy with other bytes in some files; None: without the file."""
    for path in whole.iterdir():
        content = changed.get(path.name, path.read_bytes())
        if content is not None:
            (folder / path.name).write_bytes(content)
    return folder


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_record_is_refused(whole, tmp_path, case):
    change, said = HOSTILE[case]
    config = json.loads((whole / "config.json").read_bytes()) | change
    with pytest.raises(InputError) as error:
        restore_student(copied(whole, tmp_path, **{"config.json": json.dumps(config).encode()}), None)
    assert said in str(error.value)


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_folder_is_refused(whole, tmp_path, case):
    name, damage, said = DAMAGED[case]
    with pytest.raises(InputError) as error:
        restore_student(copied(whole, tmp_path, **{name: damage((whole / name).read_bytes())}), None)
    assert said in str(error.value)


def test_the_card_says_what_is_not_known(whole):
    card = (whole / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: pytorch\n") and "license:" not in card
    assert "licence of the trunk's initial weights: `apache-2.0`" in card
    assert "None: no test's `results.json` was beside the checkpoint" in card
    assert "The commit of the code that trained it is not known" in card and "split `zeroshot1`" in card


@pytest.mark.parametrize("arch", ARCHES)
def test_the_card_says_whether_the_domain_has_an_effect(tmp_path, arch):
    checkpoint = write_student(tmp_path / "a.pth.tar", arch)
    student, content = restore_student(checkpoint, None)
    cards = []
    for name in ("trained", "at zero"):
        model_folder.write_model_folder(tmp_path / name, student, student.original_model.preprocessing, content, checkpoint)
        cards.append((tmp_path / name / "README.md").read_text(encoding="utf-8"))
        for key, value in student.original_model.state_dict().items():
            if key.startswith("domain_tag."):
                value.zero_()
            elif arch == CSE_RESNET50 and key.endswith("fc2.weight"):
                value[:, -1] = 0
    assert "the domain (0 for a sketch, 1 for a photo) changes the embedding" in cards[0]
    assert "the domain (0 for a sketch, 1 for a photo) has no effect: both are embedded alike" in cards[1]


PATHS = {  # as a word of the command, or the value of an option: what is published
    "/home/somebody/resnet18.pth": "resnet18.pth",
    "--pretrained_weights=/home/somebody/resnet18.pth": "--pretrained_weights=resnet18.pth",
    "--teacher=timm/resnet18=/home/somebody/a=b/resnet18.pth": "--teacher=timm/resnet18=resnet18.pth",
    "timm/resnet18=/home/somebody/resnet18.pth": "timm/resnet18=resnet18.pth",
    "-s/home/somebody/runs": "-sruns",
    "--data_root=~somebody/data": "--data_root=data",
    "D:\\somebody\\data": "data",
    "timm/vit_tiny_patch16_224": "timm/vit_tiny_patch16_224",
    "runs/a=b/c": "runs/a=b/c",
}


def test_of_absolute_paths_the_last_name_is_published(tmp_path, export):
    options = {f"option_{number}": word for number, word in enumerate(PATHS)}
    checkpoint = write_student(tmp_path / "a.pth.tar", "timm/test_vit", **options)
    options |= {"image_size": 64, "zero_version": "zeroshot1"}
    (tmp_path / "options.json").write_text(json.dumps({"git": "0123abc", "command": [*PATHS], "options": options}))
    assert export(checkpoint) == (0, "")
    config, card = ((tmp_path / "embedding" / name).read_text(encoding="utf-8") for name in ("config.json", "README.md"))
    assert [json.loads(config)["options"][f"option_{number}"] for number in range(len(PATHS))] == [*PATHS.values()]
    assert shlex.join(PATHS.values()) in card and "somebody" not in card + config


def test_the_card_quotes_the_test_of_these_weights_alone(tmp_path, export):
    checkpoint = write_student(tmp_path / "a.pth.tar", "timm/test_vit")
    record = {"git": "0123abc", "command": ["train.py", "--lr", "1"]}
    options = {"image_size": 64, "zero_version": "zeroshot1"}
    (tmp_path / "options.json").write_text(json.dumps({**record, "options": options}))
    tested = {
        "dataset": "Sketchy",
        "split": "zeroshot1",
        "protocol": "zero-shot",
        "queries": 12,
        "gallery": 24,
        "weights_sha256": weights_digest(network_of(checkpoint)),
        "settings": {"image_size": 64},
        "real": {"map_all": 0.125},
        "per_class": {"star": {}, "`tea` | pot": {}},
    }
    for digest in (tested["weights_sha256"], "0" * 64):
        (tmp_path / "results.json").write_text(json.dumps({**tested, "weights_sha256": digest}))
        assert export(checkpoint) == (0, "")
        card = (tmp_path / "embedding/README.md").read_text(encoding="utf-8")
        is_theirs = digest == tested["weights_sha256"]
        assert ("| mAP@all (plain, query mean) | 0.1250 |" in card) == is_theirs
        assert ("`star`, `'tea' / pot`" in card) == is_theirs
        assert ("was not of these weights" in card) != is_theirs
        assert "commit `0123abc`" in card and "train.py --lr 1" in card
