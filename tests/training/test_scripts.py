"""Whole runs of the entry scripts on a tiny dataset, and what a user sees when something is wrong."""

import html
import json
import os
import pickle
import runpy
import sys

import numpy as np
import pytest
import torch
from torch import nn

from datasets.catalog import SKETCHY
from datasets.file_lists import Split
from evaluation.per_query import read_per_query
from models.dsn import Student
from models.restore import restore_student
from retrieval.metrics import METRICS
from tests.helpers.hostile import Hostile
from tests.helpers.network import seresnet_state
from tests.helpers.scripts import RUN_NAME, SHORT, SMALL, TEST, TRAIN, same, weights_of
from tests.helpers.tiny_dataset import write_tiny_dataset
from training.trainer import Trainer

QUIET = ["--no_report", "--no_cache"]


@pytest.fixture(scope="module")
def trained(shared_dataset, tmp_path_factory):
    """Two epochs without interruption."""
    folder = tmp_path_factory.mktemp("trained")
    before, sys.argv = sys.argv, [TRAIN, *SMALL, *SHORT, "--epochs", "2", "--data_root", str(shared_dataset), "-s", str(folder)]
    try:
        runpy.run_path(TRAIN, run_name="__main__")
    finally:
        sys.argv = before
    return folder


def test_a_run_leaves_checkpoints_options_and_curves(trained):
    folder = trained / RUN_NAME
    assert {"checkpoint.pth.tar", "model_best.pth.tar", "options.json", "curves"} <= set(os.listdir(folder))
    record = json.loads((folder / "options.json").read_text())
    assert record["options"]["num_hashing"] == 64
    assert record["resolved"]["num_classes"] == 3
    assert record["versions"]["torch"] == torch.__version__
    assert "git" in record
    content = torch.load(folder / "checkpoint.pth.tar", weights_only=True)
    assert content["epoch"] == 2
    assert 0 < float(content["best_acc1"]) <= 1
    assert all(key.startswith("module.") for key in content["state_dict"])


@pytest.mark.slow
def test_one_seed_gives_identical_weights_and_another_does_not(trained, shared_dataset, tmp_path, run_script):
    for seed, expected in ((1, True), (2, False)):
        folder = tmp_path / str(seed)
        code, _, err = run_script(
            TRAIN, *SMALL, *SHORT, "--epochs", 2, "--seed", seed, "--data_root", shared_dataset, "-s", folder
        )
        assert code == 0, err
        assert same(weights_of(folder), weights_of(trained)) == expected


@pytest.mark.slow
def test_compiling_leaves_the_students_weights_its_own(trained, shared_dataset, tmp_path, run_script, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda what, **_: compiled.append(what) or (lambda *inputs: what(*inputs)))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    words = [*SMALL, *SHORT, "--data_root", shared_dataset, "-s", tmp_path]
    code, out, err = run_script(TRAIN, *words, "--epochs", 2, "--compile")
    assert code == 0, err
    assert isinstance(compiled[-1], Student) and "compiled in" in out
    assert same(weights_of(tmp_path), weights_of(trained))
    code, out, err = run_script(TRAIN, *words, "--epochs", 3, "--resume")
    assert code == 0, err
    assert "compiled in" in out and "note: the run so far" not in out  # goes on as it began


@pytest.mark.slow
@pytest.mark.parametrize("was_compiled", [True, False])
def test_a_checkpoint_from_when_compiling_was_a_flag_goes_on(
    was_compiled, trained, shared_dataset, tmp_path, run_script, monkeypatch
):
    monkeypatch.setattr(torch, "compile", lambda what, **_: what)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    content = torch.load(trained / RUN_NAME / "checkpoint.pth.tar", weights_only=True)
    assert content.pop("compiled") is False
    content["options"]["compile"] = was_compiled
    (tmp_path / RUN_NAME).mkdir()
    torch.save(content, tmp_path / RUN_NAME / "checkpoint.pth.tar")
    words = [*SMALL, *SHORT, "--data_root", shared_dataset, "-s", tmp_path]
    code, out, err = run_script(TRAIN, *words, "--epochs", 3, "--resume")
    assert code == 0, err
    assert ("compiled in" in out) == was_compiled
    assert f"compile {was_compiled}" not in out and "note: the run so far" not in out


@pytest.mark.slow
def test_a_profile_writes_a_trace_and_nothing_else(shared_dataset, tmp_path, run_script):
    code, out, err = run_script(TRAIN, *SMALL, *SHORT, "--profile", "--data_root", shared_dataset, "-s", tmp_path)
    assert code == 0, err
    assert "student forward" in out and "Self CPU" in out
    assert [path.name for path in (tmp_path / RUN_NAME).glob("[!.]*")] == ["profile.json.gz"]


@pytest.mark.slow
def test_a_resumed_run_ends_like_one_never_interrupted(trained, shared_dataset, tmp_path, run_script, monkeypatch):
    class PulledPlug(Exception):
        pass

    def only_first_epoch(trainer):
        if trainer.state.epochs == 1:
            raise PulledPlug
        return original(trainer)

    original = Trainer.train_one_epoch
    words = [TRAIN, *SMALL, *SHORT, "--epochs", 2, "--data_root", shared_dataset, "-s", tmp_path]
    with monkeypatch.context() as patch, pytest.raises(PulledPlug):
        patch.setattr(Trainer, "train_one_epoch", only_first_epoch)
        run_script(*words)
    code, out, err = run_script(*words, "--resume")
    assert code == 0, err
    assert "resuming after 1 epochs" in out
    assert "differs" not in out
    assert same(weights_of(tmp_path), weights_of(trained))


def test_the_test_script_prints_and_writes_every_figure(trained, shared_dataset, tmp_path, run_script):
    results = tmp_path / "there" / "results.json"
    code, out, err = run_script(TEST, *SMALL, "--data_root", shared_dataset, "--resume_dir", trained, "--results", results)
    assert code == 0, err
    assert "mAP@all released" in out
    figures = json.loads(results.read_text())
    assert figures["dataset"] == "Sketchy"
    assert figures["split"] == "zeroshot1"
    assert (figures["queries"], figures["gallery"]) == (12, 24)
    assert set(figures["real"]) == set(figures["hash"]) == set(METRICS)
    assert set(figures["per_class"]) == {"star", "tea pot"}
    assert set(figures["per_class"]["star"]) == {"map_all_released", "p100_released"}
    assert set(figures["seconds"]) == {"features", "metrics"}
    assert figures["protocol"] == "zero-shot" and figures["settings"]["image_size"] == 32
    assert results.with_suffix(".png").stat().st_size > 10_000
    report = (tmp_path / "there/report/index.html").read_text()
    assert "Sketchy Ext" in report and all(html.escape(figure.text) in report for figure in METRICS.values())
    per_query = read_per_query(results.with_suffix(".npz"))
    split = Split(SKETCHY, shared_dataset, "zeroshot1")
    assert per_query.names.tolist() == split.sketches("zero").paths
    assert per_query.values["hash"]["p100"].mean() == pytest.approx(figures["hash"]["p100"])


@pytest.mark.slow
def test_features_are_kept_beside_the_checkpoint_and_used_again(trained, shared_dataset, tmp_path, run_script):
    def test(*options):
        results = tmp_path / "results.json"
        words = [TEST, *SMALL, "--data_root", shared_dataset, "--resume_dir", trained, "--results", results, "--no_report"]
        code, out, err = run_script(*words, *options)
        assert code == 0, err
        return "features from" in out, {key: json.loads(results.read_text())[key] for key in ("real", "hash")}

    _, first = test()
    assert any((trained / RUN_NAME / "features").glob("*.npz"))
    assert test() == (True, first)
    assert test("--no_cache") == (False, first)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, queries, gallery, positives",
    [
        (["--generalized", "0.5"], 12, 24 + 18, 12),
        (["--photo_to_photo", "2", "--itq_fit", "train"], 4, 20, 10),
        (["--itq_fit", "gallery", "--ties", "average"], 12, 24, 12),
    ],
)
def test_every_protocol_runs(checkpoint, shared_dataset, tmp_path, run_script, options, queries, gallery, positives):
    results = tmp_path / "results.json"
    words = [TEST, *SMALL, *QUIET, "--data_root", shared_dataset, "--checkpoint", checkpoint, "--results", results]
    code, out, err = run_script(*words, *options)
    assert code == 0, err
    figures = json.loads(results.read_text())
    assert (figures["queries"], figures["gallery"]) == (queries, gallery)
    assert f"{figures['protocol']}: {queries} queries, {gallery} gallery photos" in out
    for ranking in ("real", "hash"):
        assert all(0 <= value <= 1 for value in figures[ranking].values())
        # all photos are among the first 100, so these two depend on no ranking; a query photo is not in the gallery
        assert figures[ranking]["p100_released"] == pytest.approx(positives / gallery, abs=1e-9)
        assert figures[ranking]["p100"] == pytest.approx(positives / 100, abs=1e-9)
    released = f"P@100 cannot exceed {positives / 100:g} (released: {positives / gallery:g})"
    assert released in out


@pytest.mark.slow
def test_classes_seen_in_another_dataset_are_left_out(checkpoint, shared_dataset, tmp_path, run_script):
    results, other = tmp_path / "results.json", tmp_path / "cname_cid.txt"
    other.write_text("Tea_pot 0\n")
    words = [TEST, *SMALL, *QUIET, "--data_root", shared_dataset, "--checkpoint", checkpoint, "--results", results]
    code, out, err = run_script(*words, "--also_seen", other)
    assert code == 0, err
    assert "tea pot (Tea_pot)" in out
    assert set(json.loads(results.read_text())["per_class"]) == {"star"}


def test_protocols_that_cannot_be_are_named(checkpoint, shared_dataset, tmp_path, run_script):
    words = [TEST, *SMALL, *QUIET, "--data_root", shared_dataset, "--checkpoint", checkpoint]
    refused(run_script, "--generalized", *words, "--generalized", "1.5")
    refused(run_script, "--generalized", *words, "--generalized", "0")
    refused(run_script, "leaves no photo of star", *words, "--photo_to_photo", 12)
    refused(run_script, "nowhere", *words, "--also_seen", tmp_path / "nowhere")


@pytest.mark.slow
def test_evaluate_validates_and_changes_nothing(trained, shared_dataset, run_script):
    before = (trained / RUN_NAME / "checkpoint.pth.tar").read_bytes()
    code, out, err = run_script(TRAIN, *SMALL, *SHORT, "-e", "-r", "--data_root", shared_dataset, "-s", trained)
    assert code == 0, err
    assert "validation mAP" in out
    assert (trained / RUN_NAME / "checkpoint.pth.tar").read_bytes() == before


@pytest.mark.slow
def test_a_new_run_keeps_the_old_checkpoints(trained, shared_dataset, tmp_path, run_script):
    folder = tmp_path / RUN_NAME
    folder.mkdir()
    (folder / "model_best.pth.tar").write_text("downloaded")
    code, out, err = run_script(TRAIN, *SMALL, *SHORT, "--epochs", 0, "--data_root", shared_dataset, "-s", tmp_path)
    assert code == 0, err
    assert (folder / "previous_1/model_best.pth.tar").read_text() == "downloaded"
    assert "previous_1" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    ["--ems-loss -f --contrastive_on projection --contrastive_dim 16", "--contrastive_lambda 0 --memory_lambda 0 --amp bf16"],
)
def test_every_variant_trains_and_is_tested(shared_dataset, tmp_path, run_script, words):
    data = ["--data_root", shared_dataset]
    code, _, err = run_script(TRAIN, *SMALL, *SHORT, "--epochs", 1, *data, "-s", tmp_path, *words.split())
    assert code == 0, err
    checkpoint = next(tmp_path.glob("*/model_best.pth.tar"))
    code, _, err = run_script(TEST, *SMALL, *QUIET, *data, "--checkpoint", checkpoint)
    assert code == 0, err


@pytest.mark.slow
def test_a_teacher_of_any_width_teaches(tiny_dataset, tmp_path, run_script):
    width = 12
    mask = {i: np.random.default_rng(i).uniform(0, 1, width) for i in range(3)}
    (tiny_dataset / "Sketchy/zeroshot1/cid_mask.pickle").write_bytes(pickle.dumps(mask))
    torch.save(seresnet_state(width), tmp_path / "teacher.pth")
    words = [TRAIN, *SMALL, "--steps_per_epoch", 2, "--validation_batches", 2, "--epochs", 1, "--data_root", tiny_dataset]
    code, out, err = run_script(*words, "-s", tmp_path, "--pretrained_weights", tmp_path / "teacher.pth")
    assert code == 0, err
    assert "without a teacher" not in out
    assert "kd 0.0000" not in out
    assert weights_of(tmp_path)["original_model.last_linear.weight"].shape == (width, 64)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scripts, folder, batch_size",
    [("tuberlin", "TUBerlin", 10), ("quickdraw", "QuickDraw", 6), ("tuberlin", "Own", 10)],
    ids=["tuberlin", "quickdraw", "own folders"],
)
def test_the_other_scripts_run_too(tmp_path, run_script, scripts, folder, batch_size):
    root = write_tiny_dataset(tmp_path / "dataset", folder, photos=18)
    if folder == "Own":
        (root / "Own/zeroshot/cid_mask.pickle").unlink()  # not needed without a teacher
    words, runs = ["--data_root", root, *SMALL], tmp_path / "runs"
    training = ["--batch_size", batch_size, "--epochs", 1, "-s", runs]
    code, _, err = run_script(f"train_cse_resnet_{scripts}_ext.py", *words, *SHORT, *training)
    assert code == 0, err
    code, out, err = run_script(f"test_cse_resnet_{scripts}_zeroshot.py", *words, *QUIET, "--resume_dir", runs)
    assert code == 0, err
    assert "mAP@all released" in out
    results = next(runs.glob("*/results.json"))
    assert json.loads(results.read_text())["dataset"] == folder
    assert results.parent.name.startswith(f"{folder.lower()}_kd(1.0)")


def released_checkpoint(path, seed=0, best=None):
    """A file as the released code saved it: DataParallel keys, 100 classes, `best_acc1` a tensor, optimizer state."""
    torch.manual_seed(seed)
    model = nn.Module()
    model.module = Student(64, 100)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=5e-4)
    best = torch.tensor([0.5]) if best is None else best
    torch.save(
        {
            "epoch": 9,
            "arch": "cse_resnet50",
            "state_dict": model.state_dict(),
            "best_acc1": best,
            "optimizer": optimizer.state_dict(),
        },
        path,
        _use_new_zipfile_serialization=False,
    )
    return model.module


@pytest.mark.slow
def test_a_downloaded_checkpoint_dropped_into_its_folder_just_works(shared_dataset, tmp_path, run_script):
    (tmp_path / RUN_NAME).mkdir()
    path = tmp_path / RUN_NAME / "model_best.pth.tar"
    student = released_checkpoint(path)
    code, out, err = run_script(TEST, *SMALL, *QUIET, "--data_root", shared_dataset, "--resume_dir", tmp_path)
    assert code == 0, err
    assert "epochs trained: 9" in out
    restored, _ = restore_student(path, 64)
    assert same(restored.state_dict(), student.state_dict())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "model_best.pth.tar"
    released_checkpoint(path)
    return path


def refused(run_script, said, *words):
    code, _, err = run_script(*words)
    assert code == 2, err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    assert said in lines[0], lines[0]


CLAIMS_2_TO_THE_60_BYTES = b"\x80\x04\x8e\0\0\0\0\0\0\0\x10."


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        [TRAIN, *SMALL, "--data_root", "DATA", "--savedir", "RUNS", "--pretrained_weights", "FILE"],
        [TRAIN, *SMALL, *SHORT, "--data_root", "DATA", "--savedir", "RUNS", "--resume"],
        [TEST, *SMALL, "--data_root", "DATA", "--checkpoint", "FILE"],
        [TEST, *SMALL, "--data_root", "DATA", "--resume_dir", "RUNS", "--resume_file", "checkpoint.pth.tar"],
        ["search.py", "index", "DATA/Sketchy/photo", "-o", "RUNS/index", "--device", "cpu", "--checkpoint", "FILE"],
        ["export.py", "--checkpoint", "FILE", "--format", "onnx"],
    ],
    ids=lambda words: " ".join(word for word in (words[0], words[-2], words[-1]) if word.strip("-").islower()),
)
def test_a_file_that_claims_more_than_it_has_is_one_line_in_every_script(shared_dataset, tmp_path, run_script, words):
    if words[0] == "search.py":
        pytest.importorskip("faiss")
    file = tmp_path / "runs" / RUN_NAME / "checkpoint.pth.tar"
    file.parent.mkdir(parents=True)
    file.write_bytes(CLAIMS_2_TO_THE_60_BYTES)
    places = {"DATA": str(shared_dataset), "RUNS": str(tmp_path / "runs"), "FILE": str(file)}
    for name, place in places.items():
        words = [word.replace(name, place) for word in words]
    refused(run_script, f"{file}: damaged or not a PyTorch file; fetch or save it again", *words)


def test_a_mask_that_claims_more_than_it_has_is_one_line(tiny_dataset, tmp_path, run_script):
    (tiny_dataset / "Sketchy/zeroshot1/cid_mask.pickle").write_bytes(CLAIMS_2_TO_THE_60_BYTES)
    words = [TRAIN, *SMALL, *SHORT, "--data_root", tiny_dataset, "--savedir", tmp_path / "runs"]
    refused(run_script, "cid_mask.pickle: damaged, or not {class id: vector} with real numbers", *words)


@pytest.mark.slow
def test_wrong_widths_and_keys_of_a_checkpoint_are_named(checkpoint, shared_dataset, tmp_path, run_script):
    words = [TEST, *SMALL, "--data_root", shared_dataset, "--checkpoint"]
    refused(run_script, "pass --num_hashing 64, not 128", *words, checkpoint, "--num_hashing", 128)
    refused(run_script, "100 seen classes", *words, checkpoint, "--num_classes", 104)
    content = torch.load(checkpoint, weights_only=True)
    damaged = tmp_path / "damaged.pth.tar"
    for change, said in (
        (lambda state: state.pop("module.original_model.layer2.0.conv1.weight"), "`original_model.layer2.0.conv1.weight`"),
        (lambda state: state.pop("module.original_model.second_last_linear.weight"), "second_last_linear.weight"),
        (lambda state: state.update({"module.original_model.layer0.bn1.weight": torch.ones(3)}), "layer0.bn1.weight` is (3,)"),
    ):
        state = dict(content["state_dict"])
        change(state)
        torch.save(content | {"state_dict": state}, damaged)
        refused(run_script, said, *words, damaged)


@pytest.mark.slow
def test_odd_contents_of_a_checkpoint_are_one_clear_line(checkpoint, trained, shared_dataset, tmp_path, run_script):
    tested = [TEST, *SMALL, "--data_root", shared_dataset, "--checkpoint"]
    odd = tmp_path / RUN_NAME / "checkpoint.pth.tar"
    odd.parent.mkdir()
    content = torch.load(checkpoint, weights_only=True)
    torch.save(content | {"state_dict": content["state_dict"] | {5: torch.ones(1)}}, odd)
    refused(run_script, "keys that are no names", *tested, odd)
    counter = "module.original_model.layer0.bn1.num_batches_tracked"
    torch.save(content | {"state_dict": content["state_dict"] | {counter: torch.zeros(3)}}, odd)
    refused(run_script, "num_batches_tracked` is (3,)", *tested, odd)
    odd.write_text("<!DOCTYPE html><html>not found</html>")
    refused(run_script, "damaged or not a PyTorch file", *tested, odd)
    refused(run_script, "--results", *tested, checkpoint, "--results", tmp_path)
    refused(run_script, "ends in .json", *tested, checkpoint, "--results", tmp_path / "a.png")

    resumed = [TRAIN, *SMALL, *SHORT, "--epochs", 3, "-r", "--data_root", shared_dataset, "-s", tmp_path]
    content = torch.load(trained / RUN_NAME / "checkpoint.pth.tar", weights_only=True)
    moments = content["optimizer"]["state"][0]
    for change in (
        {"optimizer": {"state": {}, "param_groups": []}},
        {"optimizer": {"state": {0: moments | {"exp_avg": torch.ones(7)}}, "param_groups": content["optimizer"]["param_groups"]}},
        {"random_state": {"cpu": "text"}},
        {"best_acc1": torch.ones(2)},
        {"best_acc1": float("nan")},
        {"best_acc1": 10**400},
        {"optimizer": {"state": {0: {"step": 1}}, "param_groups": content["optimizer"]["param_groups"]}},
    ):
        torch.save(content | change, odd)
        refused(run_script, "do not fit this run", *resumed)
    torch.save(content | {"epoch": "seven"}, odd)
    refused(run_script, "no count of epochs", *resumed)


@pytest.mark.slow
def test_resuming_heeds_this_runs_options_and_a_file_without_ours(trained, shared_dataset, tmp_path, run_script):
    content = torch.load(trained / RUN_NAME / "checkpoint.pth.tar", weights_only=True)
    for group in content["optimizer"]["param_groups"]:
        del group["fused"]
        group["weight_decay"] = 0.5
    for name in ("options", "random_state"):
        del content[name]
    path = tmp_path / RUN_NAME / "checkpoint.pth.tar"
    path.parent.mkdir()
    torch.save(content, path)
    words = [TRAIN, *SMALL, *SHORT, "-r", "--data_root", shared_dataset, "-s", tmp_path, "--weight-decay", 0.25]
    code, out, _ = run_script(*words, "--epochs", 2)
    assert code == 0
    assert "nothing to do: 2 of 2 epochs" in out
    assert torch.load(path, weights_only=True)["epoch"] == 2
    code, _, err = run_script(*words, "--epochs", 3)
    assert code == 0, err
    code, out, err = run_script(*words, "--epochs", 4, "--lr", 0.5)
    assert code == 0, err
    assert "note: differs from the run so far: epochs 3 → 4, lr 0.0001 → 0.5" in out
    written = torch.load(path, weights_only=True)
    assert written["epoch"] == 4
    assert written["optimizer"]["param_groups"][0]["weight_decay"] == 0.25
    assert json.loads((path.parent / "options_from_epoch_3.json").read_text())["options"]["weight_decay"] == 0.25


@pytest.mark.slow
def test_extra_keys_are_listed_and_ignored_and_a_lost_head_is_not_missed(checkpoint, shared_dataset, tmp_path, run_script):
    content = torch.load(checkpoint, weights_only=True)
    state = content["state_dict"] | {"module.extra.weight": torch.ones(2)}
    del state["module.linear.weight"], state["module.linear.bias"]
    torch.save(content | {"state_dict": state}, tmp_path / "odd.pth.tar")
    code, _, err = run_script(TEST, *SMALL, "--data_root", shared_dataset, "--checkpoint", tmp_path / "odd.pth.tar")
    assert code == 0, err
    assert "extra.weight" in err


@pytest.mark.slow
def test_hostile_and_truncated_checkpoints(checkpoint, shared_dataset, tmp_path, run_script):
    words = [TEST, *SMALL, "--data_root", shared_dataset, "--checkpoint"]
    bad = tmp_path / "bad.pth.tar"
    bad.write_bytes(checkpoint.read_bytes()[:100_000])
    refused(run_script, "bad.pth.tar: damaged", *words, bad)
    torch.save({"state_dict": {}, "best_acc1": Hostile(tmp_path / "victim")}, bad)
    refused(run_script, "bad.pth.tar: refused", *words, bad)
    assert not (tmp_path / "victim").exists()
    refused(run_script, "no such file", *words, tmp_path / "absent.pth.tar")


def test_a_run_that_is_not_there_names_those_that_are(trained, shared_dataset, tmp_path, run_script):
    words = [TEST, *SMALL, "--data_root", shared_dataset, "--resume_dir"]
    refused(run_script, f"the runs there are {RUN_NAME}", *words, trained, "--topk", 3)
    refused(run_script, "train one", *words, tmp_path)


@pytest.mark.slow
def test_bad_data_is_one_clear_line(tiny_dataset, tmp_path, run_script):
    lists = tiny_dataset / "Sketchy/zeroshot1"
    words = [TRAIN, *SMALL, *SHORT, "--epochs", 1, "--data_root", tiny_dataset, "-s", tmp_path]
    refused(run_script, "prepare_dataset.py sketchy --source", *words, "--data_root", tmp_path / "nowhere")
    refused(run_script, "zeroshot7: no such split", *words, "--zero_version", "zeroshot7")
    refused(run_script, "--batch_size 2: holds no sketch; use at least 3", *words, "--batch_size", 2)
    refused(run_script, "do not fill a batch", *words, "--batch_size", 960)
    refused(run_script, "has 3 seen classes", *words, "--num_classes", 100)
    refused(run_script, "unknown option --bogus", *words, "--bogus")
    refused(run_script, "--device cuda:99", *words, "--device", "cuda:99")
    (tmp_path / "file").write_text("")
    refused(run_script, "nothing can be written there", *words, "-s", tmp_path / "file")
    refused(run_script, "--pretrained_weights", *words, "--pretrained_weights", tmp_path / "absent.pth")

    photo_list = lists / "all_photo_filelist_train.txt"
    whole = photo_list.read_text()
    for content, said in (
        ("", "all_photo_filelist_train.txt: the list is empty"),
        (whole + "photo/mug/gone.jpg 0\n", "photo/mug/gone.jpg, which is not there"),
        (whole + "photo/mug/0.jpg 3\n", "class id 3 is outside 0 to 2"),
    ):
        photo_list.write_text(content)
        refused(run_script, said, *words)
    photo_list.write_text(whole)

    image = tiny_dataset / "Sketchy/photo/fish/1.jpg"
    image.write_bytes(image.read_bytes()[:200])
    refused(run_script, "photo/fish/1.jpg: not a readable image", *words, "--steps_per_epoch", 9)

    mask = lists / "cid_mask.pickle"
    mask.write_bytes(pickle.dumps({0: Hostile(tmp_path / "victim")}))
    refused(run_script, "cid_mask.pickle: refused", *words)
    assert not (tmp_path / "victim").exists()


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run(shared_dataset, tmp_path, run_script):
    words = [TRAIN, *SMALL, *SHORT, "--epochs", 1, "--data_root", shared_dataset, "-s", tmp_path]
    refused(run_script, "is not finite", *words, "--lr", "1e9", "--steps_per_epoch", 3)
    assert [path.name for path in tmp_path.glob("*/*.pth.tar")] == ["not_finite.pth.tar"]
