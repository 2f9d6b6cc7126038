import pickle
import resource

import numpy as np
import pytest

from datasets.catalog import CUSTOM, SKETCHY
from datasets.file_lists import Split, read_class_names, read_list, read_semantic_mask
from tests.helpers.hostile import Hostile
from tests.helpers.tiny_dataset import write_tiny_dataset
from utils.errors import InputError


def refusal(function, *arguments) -> str:
    with pytest.raises(InputError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_lists_are_read_in_their_order_blanks_and_all(shared_dataset):
    split = Split(SKETCHY, shared_dataset, "zeroshot1")
    photos = split.photos("train")
    assert len(photos) == 36
    assert photos.paths[12] == "photo/alarm clock/0.jpg"
    assert photos.labels.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert len(split.sketches("train")) == 18
    assert len(split.sketches("test")) == 6
    assert len(split.sketches("zero")) == 12
    assert split.class_names("train") == ["mug", "alarm clock", "fish"]
    assert split.class_names("zero") == ["star", "tea pot"]
    assert split.semantic_mask().shape == (3, 1000)


def test_a_missing_dataset_is_prepared_where_it_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = "run `python prepare_dataset.py sketchy --source FOLDER_OR_ARCHIVE{}`, which makes {}/Sketchy/zeroshot1/"
    assert said.format(" --output 'my data'", "my data") in refusal(Split, SKETCHY, "my data", "zeroshot1")
    assert said.format("", "dataset") in refusal(Split, SKETCHY, "dataset", "zeroshot1")


def test_tabs_blank_lines_byte_order_marks_and_windows_line_ends_are_read(tiny_dataset):
    path = tiny_dataset / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfphoto/mug/0.jpg\t0\r\n\r\nphoto/alarm clock/1.jpg 1  \r\n")
    files = read_list(path, tiny_dataset / "Sketchy", 3)
    assert files.paths == ["photo/mug/0.jpg", "photo/alarm clock/1.jpg"]
    assert files.labels.tolist() == [0, 1]
    path.write_text("photo/mug/0.jpg 0\n\nphoto/mug/1.jpg 9\n")
    assert "line 3" in refusal(read_list, path, tiny_dataset / "Sketchy", 3)


def test_a_class_count_stands_in_for_missing_names_but_may_not_contradict_them(tiny_dataset):
    assert "--num_classes 3" in refusal(lambda: Split(SKETCHY, tiny_dataset, "zeroshot1", 4).seen_classes)
    (tiny_dataset / "Sketchy/zeroshot1/cname_cid.txt").unlink()
    assert Split(SKETCHY, tiny_dataset, "zeroshot1", 4).seen_classes == 4
    assert "cname_cid.txt" in refusal(lambda: Split(SKETCHY, tiny_dataset, "zeroshot1").seen_classes)


def test_a_missing_dataset_says_where_to_get_it_and_how_it_lies(tmp_path):
    message = refusal(Split, SKETCHY, tmp_path / "nothing", "zeroshot1")
    assert "https://" in message
    assert "Sketchy/zeroshot1/all_photo_filelist_train.txt" in message
    assert "--data_root" in message
    message = refusal(Split, CUSTOM, tmp_path / "nothing", "zeroshot")
    assert "Put your images into folders photos/<class>/ and sketches/<class>/ and run `python prepare_dataset.py" in message


def test_only_ascii_blanks_and_line_feeds_part_a_list(tmp_path):
    names = ["\u3000a\u2028b\x85c\x1cd/x\xa0.png", "\u202fe/y.png\u3000"]
    (tmp_path / "list.txt").write_text("".join(f"{name} {number}\n" for number, name in enumerate(names)), encoding="utf-8")
    assert read_list(tmp_path / "list.txt", tmp_path, 2, may_lack_files=True).paths == names
    assert read_class_names(tmp_path / "list.txt") == names


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("\n  \n", "empty"),
        ("photo/mug/0.jpg\n", "line 1"),
        ("photo/mug/0.jpg 0\nphoto/mug/1.jpg zero\n", "line 2"),
        ("photo/mug/0.jpg 3\n", "outside 0 to 2"),
        ("photo/mug/0.jpg -1\n", "line 1"),
        ("photo/mug/absent.jpg 0\n", "photo/mug/absent.jpg"),
        ("photo/nobody/0.jpg 0\n", "photo/nobody/0.jpg"),
        ("photo/mug/0.jpg " + "9" * 5000 + "\n", "line 1"),
        ("../../etc/passwd 0\n", "leaves"),
        ("/etc/passwd 0\n", "leaves"),
    ],
)
def test_bad_lists_are_named_in_one_line(tiny_dataset, content, said):
    path = tiny_dataset / "list.txt"
    path.write_text(content)
    message = refusal(read_list, path, tiny_dataset / "Sketchy", 3)
    assert "list.txt" in message
    assert said in message


def test_binary_and_absent_lists_are_named(tmp_path):
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    assert "binary.txt" in refusal(read_list, tmp_path / "binary.txt", tmp_path, 3)
    assert "absent.txt" in refusal(read_list, tmp_path / "absent.txt", tmp_path, 3)


def test_class_ids_must_be_without_gaps_but_may_come_in_any_order(tmp_path):
    path = tmp_path / "cname_cid.txt"
    path.write_text("tea pot 1\nmug 0\n")
    assert read_class_names(path) == ["mug", "tea pot"]
    for content in ("mug 0\nfish 2\n", "mug 0\nfish 0\n", "mug\n"):
        path.write_text(content)
        assert "cname_cid.txt" in refusal(read_class_names, path)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_the_mask_survives_every_pickle_protocol(tmp_path, protocol):
    path = tmp_path / "cid_mask.pickle"
    mask = {i: np.linspace(0, 1, 1000) * i / 2 for i in range(3)}
    path.write_bytes(pickle.dumps(mask, protocol=protocol))
    np.testing.assert_allclose(read_semantic_mask(path, 3), np.stack([mask[i] for i in range(3)]), atol=1e-7)


@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_masks_of_old_and_new_numpy_are_read(tmp_path, core):
    path = tmp_path / "cid_mask.pickle"
    content = pickle.dumps({0: np.ones(4)}, protocol=2)
    for name in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        content = content.replace(b"c" + name + b"\n", b"c" + core + b"\n")
    path.write_bytes(content)
    assert read_semantic_mask(path, 1).tolist() == [[1, 1, 1, 1]]


def test_a_mask_that_calls_code_is_refused_and_the_code_not_run(tmp_path):
    path, victim = tmp_path / "cid_mask.pickle", tmp_path / "victim"
    path.write_bytes(pickle.dumps({0: Hostile(victim)}))
    assert "mkdir" in refusal(read_semantic_mask, path, 1)
    assert not victim.exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "exec", "__import__", "open"])
def test_builtins_that_could_run_code_are_refused(tmp_path, name):
    path = tmp_path / "cid_mask.pickle"
    path.write_bytes(b"cbuiltins\n" + name.encode() + b"\n(S'1'\ntR.")
    assert f"builtins.{name}" in refusal(read_semantic_mask, path, 1)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ([1, 2], "{class id: vector}"),
        ({0: np.ones(4)}, "for the ids 0 to 1"),
        ({0: np.ones(4), 1: np.ones(5)}, "of one length"),
        ({0: np.ones(4), 1: "text"}, "real numbers"),
        ({0: np.ones(4), 1: np.ones(4) + 1j}, "real numbers"),
        ({0: np.ones(4), 1: [10**400] * 4}, "real numbers"),
        ({0: np.ones(0), 1: np.ones(0)}, "empty, or have values outside 0 to 1"),
        ({0: np.ones(4), 1: np.full(4, np.nan)}, "outside 0 to 1"),
    ],
)
def test_masks_that_do_not_fit_are_named(tmp_path, mask, said):
    path = tmp_path / "cid_mask.pickle"
    path.write_bytes(pickle.dumps(mask))
    message = refusal(read_semantic_mask, path, 2)
    assert "cid_mask.pickle" in message
    assert said in message


def test_a_truncated_mask_is_named(tmp_path):
    path = tmp_path / "cid_mask.pickle"
    whole = pickle.dumps({0: np.ones(1000)})
    for length in (0, 1, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "damaged" in refusal(read_semantic_mask, path, 1)


def test_a_name_no_file_can_have_is_refused(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"photo\0/a.jpg 0\n")
    assert "list.txt" in refusal(read_list, tmp_path / "list.txt", tmp_path, 1)


def test_a_mask_cannot_make_up_what_its_arrays_are_in_memory(tmp_path):
    """NumPy itself takes the flags, which say here that each number is an object's address, and frees those objects."""
    plain = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    content = pickle.dumps({0: np.ones(4)}, protocol=2)
    assert plain in content
    path = tmp_path / "cid_mask.pickle"
    path.write_bytes(content.replace(plain, plain.replace(b"K\x00", b"K\x3f")))
    assert read_semantic_mask(path, 1).tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\nbytearray\nJ\xff\xff\xff\x3f\x85R.",  # a gigabyte for the asking
        b"\x80\x05\x96\xff\xff\xff\x3f\0\0\0\0.",
        b"\x80\x04\x8e\0\0\0\0\0\0\0\x10.",  # 2**60 bytes
        b"\x80\x04\x8d\0\0\0\0\0\0\0\x10.",
        b"\x80\x05\x96\0\0\0\0\0\0\0\x10.",
        b"\x80\x04\x95\0\0\0\0\0\0\0\x10.",
        b"\x80\x04\x8b\xff\xff\xff\x7f.",
        b"\x80\x02}r\xff\xff\xff\x0f.",  # number 268435455 of the memo, of which Python's own keeps a row
        b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x3f\x85\x85R.",
    ],
)
def test_a_mask_takes_no_more_memory_than_it_is_long(tmp_path, content):
    path = tmp_path / "cid_mask.pickle"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "cid_mask.pickle" in refusal(read_semantic_mask, path, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_mask_cannot_give_state_to_what_it_names(tmp_path):
    path = tmp_path / "cid_mask.pickle"
    path.write_bytes(b"\x80\x02c_codecs\nencode\nN}X\x07\0\0\0__doc__X\x01\0\0\0as\x86b.")
    assert "state of a function" in refusal(read_semantic_mask, path, 1)


def test_lists_within_lists_are_no_vectors(tmp_path):
    """Ten names of one list in each of twelve others: small in a file, endless as an array."""
    value = [0.5]
    for _ in range(12):
        value = [value] * 10
    path = tmp_path / "cid_mask.pickle"
    path.write_bytes(pickle.dumps({0: value}))
    assert "real numbers" in refusal(read_semantic_mask, path, 1)


def test_numbers_beyond_a_float_are_refused_without_a_warning(tmp_path, recwarn):
    path = tmp_path / "cid_mask.pickle"
    path.write_bytes(pickle.dumps({0: np.full(4, 1e300)}))
    assert "outside 0 to 1" in refusal(read_semantic_mask, path, 1)
    assert not len(recwarn)


def test_the_mask_is_read_from_arrays_where_there_are_any(tiny_dataset):
    split = Split(SKETCHY, tiny_dataset, "zeroshot1")
    pickled, arrays = split.semantic_mask(), split.folder / "cid_mask.npz"
    np.savez_compressed(arrays, cid_mask=pickled.astype(np.float64) / 2)
    np.testing.assert_allclose(split.semantic_mask(), pickled / 2, atol=1e-7)
    for damage, wrong in [
        ({"cid_mask": pickled[:2]}, "cid_mask.npz: `cid_mask` is float32 of shape (2, 1000), not a row for each of 3 classes"),
        ({"cid_mask": np.ones(3)}, "not a row for each"),
        ({"cid_mask": pickled + 1}, "values outside 0 to 1"),
        ({"other": pickled}, "has no array `cid_mask`"),
    ]:
        np.savez(arrays, **damage)
        assert wrong in refusal(split.semantic_mask)


def test_own_folders_stand_in_where_the_scripts_dataset_is_not(tmp_path):
    root = write_tiny_dataset(tmp_path, "Own")
    split = Split(SKETCHY, root, "zeroshot1")
    assert (split.dataset, split.name, len(split.photos("zero"))) == (CUSTOM, "zeroshot", 24)
    assert "no such split" in refusal(Split, SKETCHY, root, "zeroshot2")
    write_tiny_dataset(tmp_path, "Sketchy", photos=3)
    assert Split(SKETCHY, root, "zeroshot1").dataset is SKETCHY
