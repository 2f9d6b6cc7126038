"""`check_dataset.py` as a user runs it, on whole and on damaged datasets: what it says, and the exit code."""

import pickle
import re
import runpy
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datasets.catalog import SKETCHY, TUBERLIN, published_classes
from datasets.class_names import same_classes
from datasets.file_lists import FileList, Split
from preparation.checks import inspection
from preparation.checks.config import BATCH_SIZE
from preparation.checks.findings import ERROR, WARNING, Findings
from preparation.checks.preflight import TRAINABLE, fitting_batch_size
from preparation.checks.samples import counts_table
from preparation.checks.split_lists import TITLES, SplitLists
from tests.helpers.scripts import ROOT
from tests.helpers.tiny_dataset import SEEN, UNSEEN, write_tiny_dataset

PHOTOS, SKETCHES = "all_photo_filelist_{}.txt", "sketch_tx_000000000000_ready_filelist_{}.txt"


@pytest.fixture
def check(run_script, tmp_path):
    """check(root, *options) → (exit code, output or, if that is 2, errors) for the dataset `sketchy`, or another."""

    def run(root, *options, dataset="sketchy"):
        code, out, err = run_script("check_dataset.py", dataset, "--data_root", root, "--num_workers", 0, *options)
        assert "Traceback" not in err
        return code, err if code == 2 else out

    return run


@pytest.fixture
def root(tiny_dataset):
    """A data root to damage. Its photos are noise: none looks like another."""
    return tiny_dataset


def lists_of(root):
    return root / "Sketchy/zeroshot1"


def append(path, line):
    path.write_text(path.read_text() + line + "\n")


def without(path, *ends):
    """The list without lines that end so."""
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines() if not line.endswith(ends)))


def found(out, degree):
    return [line.removeprefix(f"{degree}: ") for line in out.splitlines() if line.startswith(f"{degree}: ")]


def only_error(code, out, pattern):
    assert code == 1
    assert len(found(out, ERROR)) == 1 and re.search(pattern, found(out, ERROR)[0]), out
    assert out.splitlines()[-1] == "1 error: not ready; fix them, then check again"


def only_warning_beside(out, usual, pattern):
    more = [line for line in found(out, WARNING) if line not in usual]
    assert len(more) == 1 and re.search(pattern, more[0]), out


def test_a_dataset_without_errors_is_ready(check, shared_dataset, tmp_path):
    code, out = check(shared_dataset, "--contact_sheet", tmp_path / "sheet.png", "--batch_size", 54)
    assert code == 0 and not found(out, ERROR)
    assert (
        out.splitlines()[-1]
        == f"ready to train: python train_cse_resnet_sketchy_ext.py --data_root {shared_dataset} --batch_size 54"
    )
    assert re.search(r"train sketches +18 +55,252\n", out) and re.search(r"unseen classes +2 +25\n", out)
    assert len(out.splitlines()) < 25
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * (200 + 10 * 72), 3 * 72)
    report = (tmp_path / "sheet.txt").read_text()
    assert "\n    train sketches 18 instead of 55,252\n" in report
    assert out.splitlines()[-1] in report


def test_worker_processes_find_the_same(run_script, root):
    (root / "Sketchy/photo/mug/3.jpg").write_bytes(b"none")
    (root / "Sketchy/sketch/fish/7.png").write_bytes(b"none")
    reports = []
    for workers in (0, 2):
        run_script("check_dataset.py", "sketchy", "--data_root", root, "--num_workers", workers)
        report = (lists_of(root) / "check.txt").read_text()
        reports.append(re.sub(r"(decoded in).*", r"\1", report))
    assert reports[0] == reports[1] and reports[0].count("not a readable image") == 2


def test_unreadable_lists_do_not_hide_each_other_nor_the_rest(check, root):
    lists = lists_of(root)
    (lists / PHOTOS.format("train")).unlink()
    append(lists / SKETCHES.format("train"), "no_id_here.png")
    append(lists / SKETCHES.format("zero"), "sketch/star/0.png 2")
    (root / "Sketchy/photo/star/0.jpg").write_bytes(b"none")
    code, out = check(root)
    errors = found(out, ERROR)
    assert code == 1 and len(errors) == 4
    for pattern in (r"photo_filelist_train\.txt: cannot be read", "line 19: .*no_id_here", "class id 2 is outside 0 to 1"):
        assert sum(bool(re.search(pattern, error)) for error in errors) == 1
    assert any("gallery photos: 1 of 24 images cannot be decoded" in error for error in errors)


@pytest.mark.parametrize("file, ids", [("cname_cid.txt", "the ids are not 0 to 2"), ("cname_cid_zero.txt", "cannot be read")])
def test_unreadable_class_names_are_one_error(check, root, file, ids):
    if "zero" in file:
        (lists_of(root) / file).unlink()
    else:
        (lists_of(root) / file).write_text("mug 0\nfish 1\nstar 5\n")
        append(lists_of(root) / PHOTOS.format("train"), "photo/mug/0.jpg 7")  # an id that nobody can judge now
    only_error(*check(root), ids)


def test_all_missing_files_of_a_list_are_counted_and_kept(check, root):
    for number in range(7):
        (root / f"Sketchy/photo/fish/{number}.jpg").unlink()
    shutil.rmtree(root / "Sketchy/sketch/star")
    code, out = check(root)
    errors = found(out, ERROR)
    assert code == 1 and len(errors) == 2
    assert any(re.search(r"train photos: 7 of the 36 files .*: photo/fish/0.jpg, .* and 4 more$", error) for error in errors)
    assert any("query sketches: 6 of the 12 files" in error for error in errors)
    report = (lists_of(root) / "check.txt").read_text()
    assert all(f"\n    photo/fish/{number}.jpg\n" in report for number in range(7))


def test_images_that_cannot_be_decoded_are_counted_and_kept(check, root):
    for number in range(5):
        (root / f"Sketchy/photo/fish/{number}.jpg").write_bytes(b"none")
    only_error(*check(root), r"train photos: 5 of 36 images cannot be decoded: photo/fish/0\.jpg: not a .* and 3 more$")
    assert (lists_of(root) / "check.txt").read_text().count("    photo/fish/") == 5


def test_unreadable_images_are_not_taken_for_identical_ones(check, root):
    for path in ("photo/star/0.jpg", "photo/star/1.jpg", "photo/mug/0.jpg"):
        (root / "Sketchy" / path).write_bytes(b"none")
    code, out = check(root)
    assert code == 1 and len(found(out, ERROR)) == 2 and "identical" not in out


def test_repeated_and_identical_files_of_a_list(check, root):
    _, before = check(root)
    append(lists_of(root) / SKETCHES.format("train"), "sketch/mug/0.png 0")
    photos = root / "Sketchy/photo"
    shutil.copy(photos / "star/0.jpg", photos / "star/1.jpg")
    shutil.copy(photos / "star/0.jpg", photos / "tea pot/1.jpg")
    code, out = check(root)
    more = [line for line in found(out, WARNING) if line not in found(before, WARNING)]
    assert code == 0 and len(more) == 4, out
    assert "train sketches: 1 files are listed twice: sketch/mug/0.png" in more
    assert any(line.startswith("gallery photos: 2 files are byte-identical to an earlier one") for line in more)
    assert any(
        re.match(r"gallery photos: 1 of those .* two classes.* photo/star/0.jpg \(class 0\) = photo/tea pot/1.jpg \(class 1\)", x)
        for x in more
    )
    assert any("19 training sketches" in line for line in more)  # in the warning about the batch


def test_a_path_listed_under_two_ids(check, root):
    append(lists_of(root) / PHOTOS.format("train"), "photo/mug/0.jpg 2")
    code, out = check(root)
    assert code == 0 and "photo/mug/0.jpg (class 0) = photo/mug/0.jpg (class 2)" in out


def test_a_path_on_both_sides_is_a_leak(check, root):
    append(lists_of(root) / PHOTOS.format("zero"), "photo/mug/0.jpg 0")
    only_error(*check(root), r"leak: 1 files are in training .*: photo/mug/0.jpg$")


@pytest.mark.parametrize(
    "source, target",
    [("photo/star/0.jpg", "photo/mug/0.jpg"), ("sketch/star/0.png", "sketch/mug/6.png")],
    ids=["photo", "held-out"],
)
def test_the_same_bytes_on_both_sides_are_a_leak(check, root, source, target):
    shutil.copy(root / "Sketchy" / source, root / "Sketchy" / target)
    code, out = check(root)
    only_error(code, out, f"leak: 1 files of training .* byte-identical; .*: {target} = {source}$")
    assert "look the same" not in out


def test_held_out_sketches_that_are_trained_on(check, root):
    _, before = check(root)
    sketches = root / "Sketchy/sketch/mug"
    shutil.copy(sketches / "0.png", sketches / "6.png")
    code, out = check(root)
    assert code == 0
    only_warning_beside(out, found(before, WARNING), "1 held-out sketches are byte-identical .*mug/0.png = sketch/mug/6.png")
    append(lists_of(root) / SKETCHES.format("test"), "sketch/fish/0.png 2")
    only_error(*check(root), "1 held-out sketches are training sketches too; .*: sketch/fish/0.png")


def test_photos_that_look_the_same_on_both_sides(check, root, monkeypatch):
    monkeypatch.setattr(inspection, "CHUNK", 7)
    _, before = check(root)
    assert sheet_after_the_classes(root).min() == 255
    Image.open(root / "Sketchy/photo/fish/4.jpg").resize((100, 90)).save(root / "Sketchy/photo/star/2.jpg", quality=60)
    code, out = check(root)
    assert code == 0
    only_warning_beside(out, found(before, WARNING), r"leak: 1 gallery .*: photo/fish/4.jpg ~ photo/star/2.jpg \((1|0\.9\d)")
    assert sheet_after_the_classes(root).min() < 200


def sheet_after_the_classes(root):
    """The part of the contact sheet below the last of five classes, in the second of two columns."""
    return np.asarray(Image.open(lists_of(root) / "contact_sheet.png").convert("L"))[2 * 72 :, 920 + 200 :]


def test_seen_classes_without_training_images_are_a_error(check, root):
    without(lists_of(root) / SKETCHES.format("train"), " 1")
    code, out = check(root, "--batch_size", 30)
    only_error(code, out, "^1 of 3 seen classes with no train sketches: alarm clock$")
    assert "2 of 3 seen classes with fewer than 10 train sketches: mug, fish" in out


def test_classes_that_cannot_be_tested_are_a_warning_until_none_is_left(check, root):
    gallery, held_out = lists_of(root) / PHOTOS.format("zero"), lists_of(root) / SKETCHES.format("test")
    without(gallery, " 1")
    without(held_out, " 0", " 1")
    code, out = check(root)
    assert code == 0
    assert "warning: 1 of 2 unseen classes with no gallery photos: tea pot" in out
    assert "warning: 2 of 3 seen classes with no held-out sketch; validation leaves them out: mug, alarm clock" in out
    assert "1 of 2 unseen classes with fewer than 100 gallery photos: P@100 cannot exceed 0.060: star" in out
    without(lists_of(root) / SKETCHES.format("zero"), " 0")
    only_error(*check(root), "no unseen class has both a query sketch and a gallery photo")


def test_the_bound_on_precision_counts_the_classes_that_are_asked_for(check, root):
    without(lists_of(root) / PHOTOS.format("zero"), "/1.jpg 1", "/2.jpg 1")
    _, out = check(root)
    assert "2 of 2 unseen classes with fewer than 100 gallery photos: P@100 cannot exceed 0.110: star, tea pot" in out
    without(lists_of(root) / SKETCHES.format("zero"), " 0")
    _, out = check(root)
    assert "1 of 2 unseen classes with fewer than 100 gallery photos: P@100 cannot exceed 0.100: tea pot" in out


def test_another_split_is_named_in_the_command(check, root):
    shutil.copytree(lists_of(root), root / "Sketchy/zeroshot2")
    code, out = check(root, "--split", "zeroshot2", "--batch_size", 54)
    assert code == 0
    assert out.splitlines()[-1].endswith(f"ext.py --data_root {root} --zero_version zeroshot2 --batch_size 54")


def test_nothing_to_validate_with_is_an_error(check, root):
    without(lists_of(root) / SKETCHES.format("test"), " 0", " 1")
    without(lists_of(root) / PHOTOS.format("train"), " 2")
    code, out = check(root)
    assert code == 1 and any("nothing to validate with" in error for error in found(out, ERROR))


def test_a_batch_that_the_lists_do_not_fill(check, shared_dataset, tmp_path):
    sheet = ("--contact_sheet", tmp_path / "sheet.png")
    code, out = check(shared_dataset, *sheet)
    assert code == 0 and out.splitlines()[-1].endswith(" --batch_size 54")
    assert "18 training sketches and 36 photos cannot fill a batch of 96; use --batch_size: 54 for train_cse" in out
    code, out = check(shared_dataset, *sheet, "--batch_size", 2)
    assert code == 0 and out.splitlines()[-1].endswith(" --batch_size 3")


def test_own_folders_are_for_every_script(check, tmp_path):
    root = write_tiny_dataset(tmp_path / "dataset", "Own")
    code, out = check(root, dataset="folders")
    assert code == 0 and "published" not in out
    fits = ", ".join(
        f"{fit} for train_cse_resnet_{name}_ext.py" for fit, name in ((54, "sketchy"), (40, "tuberlin"), (36, "quickdraw"))
    )
    assert fits in out
    ready = f"ready to train: python train_cse_resnet_sketchy_ext.py --data_root {root} --batch_size 54"
    assert out.splitlines()[-1] == ready
    (root / "Sketchy").mkdir()
    _, out = check(root, dataset="folders")
    assert "python train_cse_resnet_tuberlin_ext.py" in out.splitlines()[-1]
    for folder in ("TUBerlin", "QuickDraw"):
        (root / folder).mkdir()
    only_error(*check(root, dataset="folders"), "holds all other datasets")


def test_own_folders_are_found_by_another_dataset_s_name(check, tmp_path):
    root = write_tiny_dataset(tmp_path / "dataset", "Own")
    code, out = check(root, dataset="quickdraw")
    assert code == 0 and out.startswith(f"{root / 'Own'}: your own folders")
    assert out.splitlines()[-1] == f"ready to train: python train_cse_resnet_quickdraw_ext.py --data_root {root} --batch_size 36"


@pytest.mark.parametrize("dataset, folder", [("tuberlin", "TUBerlin"), ("quickdraw", "QuickDraw")])
def test_other_datasets(check, tmp_path, monkeypatch, dataset, folder):
    write_tiny_dataset(tmp_path / "dataset", folder)
    monkeypatch.chdir(tmp_path)
    code, out = check("dataset", "--batch_size", 20, dataset=dataset)
    assert code == 0
    assert out.splitlines()[-1] == f"ready to train: python train_cse_resnet_{dataset}_ext.py --batch_size 20"


def test_too_few_photos_for_any_batch(check, tmp_path):
    root = write_tiny_dataset(tmp_path / "dataset", "TUBerlin", photos=2)
    only_error(*check(root, dataset="tuberlin"), "needs 9 photos per sketch, and there are not enough")


@pytest.mark.parametrize("dataset", TRAINABLE, ids=lambda dataset: dataset.key)
def test_the_catalog_agrees_with_the_train_script(dataset):
    recipe = runpy.run_path(str(ROOT / dataset.train_script))["RECIPE"]
    assert (recipe.dataset, recipe.photos_per_sketch) == (dataset, dataset.photos_per_sketch), (
        "the catalog and the script disagree: change both"
    )


def test_the_default_batch_size_is_that_of_training(run_script):
    _, out, _ = run_script(TRAINABLE[0].train_script, "--help")
    assert re.search(rf"--batch_size VALUE[^-]*\(default: {BATCH_SIZE}\)", out)


@given(*(st.integers(1, 60) for _ in range(3)), st.sampled_from([1, 2, 9]))
def test_the_batch_size_that_fits(batch_size, sketches, photos, photos_per_sketch):
    def can_train(size):  # as training.build.training_batches decides
        share = size // (1 + photos_per_sketch)
        return share >= 1 and share <= sketches and share * photos_per_sketch <= photos

    fitting = fitting_batch_size(batch_size, sketches, photos, photos_per_sketch)
    if can_train(batch_size):
        assert fitting == batch_size
    elif fitting == 0:
        assert not any(can_train(size) for size in range(1, 700))
    else:
        assert can_train(fitting) and (fitting < batch_size or not any(can_train(size) for size in range(1, fitting)))


def short_mask(path):
    path.write_bytes(pickle.dumps({0: np.zeros(1000)}))


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_bytes(b"none"), "damaged"),
        (short_mask, "for the ids 0 to"),
    ],
    ids=["missing", "damaged", "other split's"],
)
def test_an_unusable_mask_is_an_error(check, root, damage, said):
    damage(lists_of(root) / "cid_mask.pickle")
    code, out = check(root)
    only_error(code, out, f"{said}.*training with a teacher cannot start; .*until then, train with --pretrained_weights none")
    assert len(re.findall("prepare_dataset.py makes", next(line for line in out.splitlines() if line.startswith("error: ")))) == 1


def test_unseen_classes_that_imagenet_has(check, root):
    _, before = check(root)
    assert "unknown which classes are ImageNet-1k classes: there is no cid_mask.npz" in before
    arrays = {"cid_mask": np.full((3, 1000), 0.5), "cid_mask_zero": np.zeros((2, 1000))}
    arrays["cid_mask"][1, 7] = arrays["cid_mask_zero"][1, 9] = 1
    np.savez(lists_of(root) / "cid_mask.npz", **arrays)
    code, out = check(root)
    assert code == 0 and "info: 1 of 3 seen and 1 of 2 unseen classes are ImageNet-1k classes, including" in out
    only_warning_beside(out, found(before, WARNING), "1 unseen class is an ImageNet class .*: tea pot$")


def test_unseen_classes_that_imagenet_has_by_their_photos_names(check, root):
    _, before = check(root)
    photos = root / "Sketchy/photo"
    (photos / "star/0.jpg").rename(photos / "star/n01440764_5.jpg")  # a tench
    (photos / "tea pot/0.jpg").rename(photos / "tea pot/n00000001_5.jpg")
    gallery = lists_of(root) / PHOTOS.format("zero")
    gallery.write_text(gallery.read_text().replace("star/0.", "star/n01440764_5.").replace("tea pot/0.", "tea pot/n00000001_5."))
    code, out = check(root)
    assert (
        code == 0
        and "0 of 3 seen and 1 of 2 unseen classes are ImageNet-1k classes, according to the names of their photos" in out
    )
    only_warning_beside(out, found(before, WARNING), "1 unseen class is an ImageNet class .*: star$")


def test_classes_that_are_seen_and_unseen_are_a_error(check, root):
    names = lists_of(root) / "cname_cid_zero.txt"
    names.write_text("Alarm-Clock 0\ntea pot 1\n")
    only_error(*check(root), r"1 unseen class is also a seen class; .*: Alarm-Clock \(alarm clock\)$")


@pytest.mark.parametrize("dataset, split", [(SKETCHY, "zeroshot1"), (SKETCHY, "zeroshot2"), (TUBERLIN, "zeroshot")])
def test_published_splits_have_no_class_on_both_sides(dataset, split):
    assert not same_classes(*published_classes(dataset, split))


def test_published_class_ids(check, root):
    seen, unseen = published_classes(SKETCHY, "zeroshot2")
    shutil.move(lists_of(root), root / "Sketchy/zeroshot0")
    write_names(root / "Sketchy/zeroshot0", seen, [unseen[1], unseen[0], *unseen[2:]])
    code, out = check(root, "--split", "zeroshot0")
    assert code == 1  # most classes have no images
    assert re.search(r"train sketches +18 +57,587\n", out) and re.search(r"held-out sketches +6 +-\n", out)
    assert re.search(r"seen classes +104 +104\n", out)
    reported = [line for line in found(out, WARNING) if "other ids than published" in line]
    assert reported == [
        "2 unseen classes have other ids than published: files that refer to classes by id, such as published checkpoints, "
        f"do not fit: id 0 is {unseen[1]!r}, published {unseen[0]!r} and 1 more"
    ]
    write_names(root / "Sketchy/zeroshot0", seen, [name.replace("_", " ") for name in unseen])
    _, out = check(root, "--zero_version", "zeroshot0")
    assert "other ids" not in out and "custom split" not in out
    write_names(root / "Sketchy/zeroshot0", ["gnome", *seen[1:]], unseen)
    _, out = check(root, "--zero-version", "zeroshot0")
    assert (
        "the seen classes differ from the published ones (1 ids have other names): this is a custom split: id 0 is 'gnome'" in out
    )


def write_names(folder, seen, unseen):
    for file, names in (("cname_cid.txt", seen), ("cname_cid_zero.txt", unseen)):
        (folder / file).write_text("".join(f"{name} {number}\n" for number, name in enumerate(names)))


@pytest.mark.parametrize(
    "photos, is_far", [(176_500, False), (178_200, False), (174_800, False), (178_400, True), (174_700, True)]
)
def test_about_so_many_published_photos(tmp_path, photos, is_far):
    write_tiny_dataset(tmp_path, "TUBerlin", photos=1, sketches=1)
    split = Split(TUBERLIN, tmp_path, "zeroshot")
    counts = dict(zip(TITLES, (15_400, photos, 2_200, 2_400, 27_989), strict=True))
    files = {key: FileList(tmp_path, tmp_path, ["x"] * n, np.zeros(n, np.int64)) for key, n in counts.items()}
    lists = SplitLists(split, *published_classes(TUBERLIN, "zeroshot"), files, [], 0, {})
    findings = Findings()
    table = counts_table(lists, findings)
    assert [finding.level for finding in findings] == [WARNING] * is_far
    assert re.search(rf"train photos +{photos:,} +about 176,500\n", table)


def test_strict_treats_warnings_as_errors(check, shared_dataset, tmp_path):
    code, out = check(shared_dataset, "--strict", "--contact_sheet", tmp_path / "sheet.png")
    warnings = len(found(out, WARNING))
    assert code == 1 and warnings > 0
    verdict = f"{warnings} errors, {warnings} warnings among them (--strict): not ready; fix them, then check again"
    assert out.splitlines()[-1] == verdict


def test_mistakes_are_one_line(check, run_script, shared_dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for options, said in (
        (("--split", "zeroshot9"), "zeroshot9: no such split"),
        (("--contact_sheet", tmp_path / "sheet.jpg"), "ends in .png"),
        (("--contact-shet", "x"), "did you mean --contact"),
    ):
        code, out = check(shared_dataset, *options)
        assert code == 2 and out.startswith("error: ") and out.count("\n") == 1 and said in out
    code, _, err = run_script("check_dataset.py", "folders")
    assert code == 2 and "prepare_dataset.py folders --source FOLDER_OR_ARCHIVE --output dataset" in err
    code, _, err = run_script("check_dataset.py", "sketch")
    assert code == 2 and "invalid choice: 'sketch'" in err and err.count("\n") == 1
    code, out, _ = run_script("check_dataset.py", "--help")
    assert code == 0 and out.startswith("usage: check_dataset.py {sketchy,tuberlin,quickdraw,folders} [options]\n")


def test_the_sheet_takes_anything(check, root):
    """Long and foreign names, unreadable images, a class without any."""
    (root / "Sketchy/sketch/mug/0.png").write_bytes(b"none")
    without(lists_of(root) / SKETCHES.format("train"), " 2")
    write_names(lists_of(root), ["杯子 " * 40, *SEEN[1:]], UNSEEN)
    code, _ = check(root)
    assert code == 1
    with Image.open(lists_of(root) / "contact_sheet.png") as sheet:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 24)}
    assert (0xBB, 0xBB, 0xBB) in colours


def test_a_published_split_is_not_refused_for_identical_files_it_came_with(tmp_path, check):
    for part, names in zip(("train", "zero"), published_classes(TUBERLIN, "zeroshot"), strict=True):
        root = tmp_path / "TUBerlin"
        (root / "zeroshot").mkdir(parents=True, exist_ok=True)
        listed = {"ImageResized_ready": [part], "png_ready": ["train", "test"] if part == "train" else ["zero"]}
        for folder, kinds in listed.items():
            for kind in kinds:
                lines = []
                for label, name in enumerate(names):
                    path = f"{folder}/{name}/{kind}.png"
                    (root / path).parent.mkdir(parents=True, exist_ok=True)
                    level = 0 if (folder, label) == ("ImageResized_ready", 0) else 1 + len(path) % 9 + 10 * (label % 24)
                    Image.new("L", (8 + label // 24, 8 + len(kind)), level).save(root / path)
                    lines.append(f"{path} {label}\n")
                (root / f"zeroshot/{folder}_filelist_{kind}.txt").write_text("".join(lines))
        cname = "cname_cid.txt" if part == "train" else "cname_cid_zero.txt"
        (root / "zeroshot" / cname).write_text("".join(f"{name} {label}\n" for label, name in enumerate(names)))
    source, target = (root / f"ImageResized_ready/{path}" for path in ("wrist-watch/train.png", "banana/zero.png"))
    shutil.copyfile(source, target)
    np.savez(root / "zeroshot/cid_mask.npz", cid_mask=np.zeros((220, 1000)), cid_mask_zero=np.zeros((30, 1000)))
    code, out = check(tmp_path, dataset="tuberlin")
    assert code == 0, out
    assert any("files of training" in line and "in the published split" in line for line in found(out, WARNING))
    append(root / "zeroshot/cname_cid_zero.txt", "another 30")  # now it is a split of somebody's own
    code, out = check(tmp_path, dataset="tuberlin")
    assert code == 1 and any("byte-identical; remove them from one" in line for line in found(out, ERROR))


def test_a_mask_that_fits_no_imagenet_teacher_is_an_error(check, root):
    (lists_of(root) / "cid_mask.pickle").unlink()
    np.savez(lists_of(root) / "cid_mask.npz", cid_mask=np.zeros((3, 500)), cid_mask_zero=np.zeros((2, 500)))
    only_error(*check(root), r"500 wide, and ImageNet has 1000 classes")


def test_classes_that_differ_in_brackets_alone_are_a_warning(check, root):
    names = lists_of(root) / "cname_cid_zero.txt"
    names.write_text(names.read_text().replace("star", "mug (tree)"))
    code, out = check(root)
    assert code == 0
    assert any(line.endswith("only by words in brackets: mug (tree) (mug)") for line in found(out, WARNING))
