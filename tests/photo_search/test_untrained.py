"""search.py by an untrained trunk of timm, whose weights are random ones in a file."""

import json
import os

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from models.restore import weights_digest
from photo_search.encoder import POSITIONS
from photo_search.folder_store import FolderStore
from tests.helpers.network import seresnet_state
from tests.helpers.trees import picture

pytest.importorskip("faiss")
pytestmark = pytest.mark.usefixtures("pytorch_embeds")
ARCH, OTHER, SIDE = "timm/test_vit", "timm/test_resnet", 64


def write_weights(path, arch=ARCH, seed=0):
    torch.manual_seed(seed)
    torch.save(timm.create_model(arch.removeprefix("timm/")).state_dict(), path)
    return path


@pytest.fixture
def weights(tmp_path):
    return write_weights(tmp_path / "weights.pth")


@pytest.fixture
def index(photos, weights, tmp_path, search):
    """An index of twelve photos: its folder."""
    words = ["--arch", ARCH, "--pretrained_weights", weights, "--image_size", SIDE, "-o", tmp_path / "index"]
    code, out, err = search("index", photos, *words, "--num_workers", 0)
    assert code == 0, err
    assert f"network: {ARCH}, untrained, at {SIDE} px" in out and "12 photos embedded, 0 gone; 12 in the index" in out
    return tmp_path / "index"


def found(search, index, *words):
    """[(file name, similarity)] for one query."""
    code, out, err = search("query", *words, "--index", index, "--json")
    assert code == 0, err
    (answer,) = json.loads(out)
    return [(os.path.basename(hit["path"]), hit["similarity"]) for hit in answer["results"]]


def timm_feature(path, weights):
    """The unit feature of a photo as timm alone computes it."""
    state = torch.load(weights, weights_only=True)
    overlay = {"state_dict": state}
    model = timm.create_model("test_vit", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, img_size=SIDE).eval()
    config = resolve_data_config({"input_size": (3, SIDE, SIDE)}, model=model)
    with torch.inference_mode():
        feature = model(create_transform(**config)(Image.open(path).convert("RGB"))[None])[0].numpy()
    return feature / np.linalg.norm(feature)


def test_photos_are_embedded_as_timm_does_and_the_record_opens_them_again(photos, index, weights, search):
    wide = photos / "new/wide.png"
    Image.effect_mandelbrot((150, 90), (-2, -1.2, 1, 1.2), 50).convert("RGB").save(wide)
    assert "1 photo embedded, 0 gone; 13 in the index" in search("index", "-o", index, "--num_workers", 0)[1]
    store = FolderStore(index)
    stored = {os.path.basename(photo.path): store.vectors_of([id_])[id_] for id_, photo in store.photos_of(range(20)).items()}
    for path in (wide, photos / "old/3.png"):
        np.testing.assert_allclose(stored[path.name], timm_feature(path, weights), atol=1e-4)  # batches of other sizes
    name, similarity = found(search, index, wide, "--photo")[0]
    assert name == "wide.png" and similarity == pytest.approx(1, abs=1e-5)
    assert len(found(search, index, photos / "old/3.png", "-k", 5)) == 5
    assert "0 photos embedded" in search("index", photos, "-o", index, "--arch", ARCH, "--num_workers", 0)[1]


def test_another_network_is_refused(photos, index, tmp_path, network_file, search):
    (photos / "new/more.png").write_bytes(picture(81))
    other = write_weights(tmp_path / "other.pth", seed=1)
    before = f"{index}: was made with {ARCH}, untrained; leave out "
    for words, message in {
        ("--pretrained_weights", other): f"{index}: was made with other weights ({tmp_path}/weights.pth), whose vectors do not",
        ("--arch", OTHER): f"{before}--arch {OTHER}, or index into another folder",
        ("--checkpoint", network_file): f"{before}--checkpoint {network_file}, or index into another folder",
        ("--image_size", 96): f"{index}: was made at --image_size {SIDE}, not 96",
        ("--pretrained_weights", "none"): "random weights cannot search",
    }.items():
        code, _, err = search("index", "-o", index, *words, "--num_workers", 0)
        assert code == 2 and message in err and len(FolderStore(index)) == 12, err
    write_weights(tmp_path / "weights.pth", seed=1)
    code, _, err = search("query", photos / "old/3.png", "--index", index)
    assert code == 2 and "was made with what that file held before" in err
    assert err.endswith("; give the same weights by --pretrained_weights, or index into another folder")


def test_weights_that_were_moved_are_remembered_where_they_are(photos, index, weights, tmp_path, search):
    weights.rename(tmp_path / "moved.pth")
    query = ["query", photos / "old/3.png", "--index", index]
    code, _, err = search(*query)
    assert code == 2 and f"{weights}: no such file; name the weights of {ARCH} that {index} was made with by" in err
    assert search(*query, "--pretrained_weights", tmp_path / "moved.pth")[0] == 0
    assert search(*query)[0] == 0


def test_a_network_that_cannot_be_opened_leaves_nothing_behind(photos, weights, network_file, tmp_path, search):
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    named = ["--checkpoint", network_file]
    for words, message in [
        (
            [],
            "new: no index there; check the name, or make one with",
        ),
        (["--pretrained_weights", weights], "--pretrained_weights: name the network too, such as --arch timm/vit_small_patch14"),
        (["--arch", ARCH, "--pretrained_weights", tmp_path / "bad.pth"], "bad.pth: damaged or not a PyTorch file"),
        (["--arch", "timm/vit_tiny_patch16_224", "--image_size", 100], "takes multiples of its patch of 16 px"),
        (["--arch", OTHER, "--pretrained_weights", weights], "pass weights of timm/test_resnet"),
        ([*named, "--arch", ARCH], f"{network_file}: its trunk is cse_resnet50; pass --arch cse_resnet50 or leave it out"),
        ([*named, "--pretrained_weights", weights], f"--pretrained_weights: {network_file} holds all weights; leave it out"),
    ]:
        code, _, err = search("index", photos, *words, "-o", tmp_path / "new")
        assert code == 2 and message in err and not (tmp_path / "new").exists(), err


def test_the_licence_of_downloaded_weights_is_printed_once(photos, tmp_path, search, monkeypatch):
    create, failures = timm.create_model, [OSError("no internet")]

    def download(name, pretrained=False, **rules):
        if pretrained and failures:
            raise failures.pop()
        torch.manual_seed(0)
        return create(name, **rules)

    monkeypatch.setattr(timm, "create_model", download)
    words = ["index", photos, "--arch", OTHER, "--image_size", SIDE, "-o", tmp_path / "index", "--num_workers", 0]
    code, _, err = search(*words)
    assert code == 2 and "cannot be downloaded (OSError: no internet). Fetch https://" in err
    assert err.endswith("then pass --pretrained_weights FILE") and not (tmp_path / "index").exists()
    licence = timm.get_pretrained_cfg("test_resnet").license
    assert f"network: {OTHER}, untrained, at {SIDE} px; licence of its weights: {licence}\n" in search(*words)[1]
    assert search("index", "-o", tmp_path / "index", "--num_workers", 0)[1].count("licence") == 0
    assert FolderStore(tmp_path / "index").fact("weights") == "imagenet"


def test_an_index_of_a_network_that_timm_does_not_have_is_one_line(photos, index, search):
    FolderStore(index).keep_facts(untrained="timm/test_vit_of_tomorrow")
    code, _, err = search("query", photos / "old/3.png", "--index", index)
    assert code == 2 and f"{index}: its network cannot be built (timm/test_vit_of_tomorrow: timm has no such model" in err


def test_all_weights_but_positions_identify_the_network():
    positions = ["blocks.0.attn.rel_pos_h", "layers.0.relative_position_bias_table", "pos_embed", "rope.pos_embed_cached"]
    others = ["blocks.0.post_norm.weight", "norm_post.bias", "compose.weight"]
    assert [name for name in positions + others if POSITIONS.search(name)] == positions
    digests = set[str]()
    for changed in (None, *positions, *others):
        values = {name: torch.full((2,), float(name == changed)) for name in positions + others}
        network = torch.nn.Module()
        network.state_dict = lambda values=values: values
        digests.add(weights_digest(network, leave_out=POSITIONS))
    assert len(digests) == 1 + len(others)


@pytest.mark.slow
def test_the_trunk_of_the_paper_searches_with_imagenet_weights(photos, tmp_path, search):
    torch.save(seresnet_state(), tmp_path / "weights.pth")
    words = ["--arch", "cse_resnet50", "--pretrained_weights", tmp_path / "weights.pth", "--image_size", 32]
    code, _, err = search("index", photos / "old", *words, "-o", tmp_path / "index", "--num_workers", 0)
    assert code == 0 and FolderStore(tmp_path / "index").width == 2048, err
    assert found(search, tmp_path / "index", photos / "old/3.png", "--photo", "-k", 1)[0][0] == "3.png"
