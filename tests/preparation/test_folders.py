"""Folders on disk: odd names, links, loops and devices."""

import os

from datasets.catalog import CUSTOM
from datasets.file_lists import Split
from preparation.archives import open_source
from tests.helpers.trees import copied, packed, picture, put, refusal, write_tree

SKETCH = ("sketches/cup/b.png", picture(2))


LONG = [f"{'x' * (length - 4)}.jpg" for length in (246, 247, 251, 255)]


def test_files_of_the_longest_names_are_taken(mine, tmp_path):
    for name in LONG:
        put(mine / "photos/cup" / name, picture(7))
    copied(tmp_path / "out", mine)
    assert {name for name in os.listdir(tmp_path / "out/photos/cup") if len(name) > 100} == set(LONG)


ODD = {
    "narrow blank": "Screenshot 10.41\u202fPM.png",
    "ideographic blank": "写真\u3000一.png",
    "no-break blank": "a\u00a0b.png",
    "bidi marks": "\u200fא\u202e.png",
    "line separator": "a\u2028b.png",
    "at both ends": "\u3000x.\u00a0png",
}


def test_harmless_names_are_taken_and_read_back_from_the_lists(tmp_path, prepare):
    classes = ["\u3000cup\u00a0", "bell\u202f1", "duck\u2028pond"]
    write_tree(tmp_path / "mine", classes, 1, 2)
    for number, name in enumerate(ODD.values()):
        put(tmp_path / "mine/photos" / classes[1] / f"{name}.png", picture(number))
    code, out, err = prepare("folders", tmp_path / "mine", "--unseen", classes[0], "--output", str(tmp_path / "out"))
    assert code == 0 and "left out" not in out, err
    split = Split(CUSTOM, tmp_path / "out", "zeroshot")
    assert split.class_names("zero") == classes[:1] and set(split.class_names("train")) == set(classes[1:])
    paths = {path for files in (split.photos("train"), split.photos("zero")) for path in files.paths}  # they are all there
    assert {f"photos/{classes[1]}/{name}.png" for name in ODD.values()} <= paths and len(paths) == len(ODD) + 3


def test_names_left_out_are_counted_by_reason_and_their_class_is_not_called_empty(mine, tmp_path, prepare):
    write_tree(mine, ["bad\x07bell"], 2, 2)
    for name in ("new\nline.jpg", "tab\t.jpg", "next\u0085line.jpg", os.fsdecode(b"latin\xe9.jpg")):
        put(mine / "photos/cup" / name, picture(2))
    code, out, err = prepare("folders", mine, "--output", str(tmp_path / "out"))
    assert code == 0, err
    assert f"5 images in {mine}/photos whose path has control characters" in out
    assert f"2 images in {mine}/sketches whose path has control characters" in out
    assert f"1 images in {mine}/photos whose path has bytes that are not UTF-8" in out


def test_links_are_copied_and_none_is_linked_through(mine, tmp_path):
    secret = put(tmp_path / "private/secret.png", picture(8))
    (mine / "photos/cup/outside.png").symlink_to(secret)
    (mine / "photos/cup/device.png").symlink_to("/dev/zero")
    (mine / "photos/cup/inside.jpg").symlink_to(mine / "photos/bell/bell_0.jpg")
    (mine / "photos/friends").symlink_to(secret.parent)
    (mine / "sketches/friends").symlink_to(mine / "sketches/bell")
    layout = copied(tmp_path / "out", mine)
    assert layout.left_out == {f"devices and other special files in {mine} (the first: photos/cup/device.png)": 1}
    taken = {
        "photos/cup/inside.jpg": mine / "photos/bell/bell_0.jpg",
        "photos/cup/outside.png": secret,
        "photos/friends/secret.png": secret,
    }
    for name, original in taken.items():
        target = tmp_path / "out" / name
        assert target.read_bytes() == original.read_bytes()
        assert not target.is_symlink() and not os.path.samefile(target, original)
    assert secret.stat().st_nlink == 1
    assert os.path.samefile(tmp_path / "out/photos/bell/bell_0.jpg", mine / "photos/bell/bell_0.jpg")


def test_a_source_that_is_itself_a_link_is_linked_from_like_any_other(mine, tmp_path):
    (tmp_path / "shortcut").symlink_to(mine)
    copied(tmp_path / "out", tmp_path / "shortcut")
    assert os.path.samefile(tmp_path / "out/photos/bell/bell_0.jpg", mine / "photos/bell/bell_0.jpg")


def test_no_terminal_is_driven_by_names(tmp_path, prepare, run_script):
    escape = "\x1b[31mred\u202e"
    source, out = write_tree(tmp_path / escape, ["cup", "bell", "du\u202eck", escape], 2, 4), tmp_path / f"out{escape}"
    put(source / "photos/cup" / f"{escape}.jpg", b"no image, and a name no list holds")
    put(source / "photos/bell" / f"{escape}.HEIC", b"no image by its name")
    put(source / "photos/bell/bad\u202e.jpg", b"no image")
    options = ["--unseen", "du\u202eck", "--output", str(out)]
    code, said, err = prepare("folders", source, *options, "--side", 32)
    assert code == 0 and "cannot be read" in said, err
    member = [("photos/cup/a.jpg", picture(1)), (f"photos/{escape}/a.jpg", picture(1)), SKETCH]
    refused = [
        prepare("folders", tmp_path / f"gone{escape}", *options),
        prepare("folders", packed(tmp_path / f"{escape}.zip", member), *options, "--force"),
        prepare("folders", packed(tmp_path / f"{escape}.tgz", member), *options, "--force"),
        prepare("folders", packed(tmp_path / "climbs.zip", [(f"../{escape}", b"")]), *options),
    ]
    assert [code for code, _, _ in refused] == [2] * 4
    again = prepare("folders", source, "--output", str(out), "--side", 32)
    assert again[0] == 0 and "unseen classes as in" in again[1], again[2]
    checked = run_script("check_dataset.py", "folders", "--data_root", out, "--num_workers", 0)
    printed = [said, err, *(text for _, *texts in [*refused, again, checked] for text in texts)]
    printed.append((out / "Own/zeroshot/check.txt").read_text())
    assert not [text for text in printed if "\x1b" in text or "\u202e" in text]


def test_a_folder_is_walked_once_whatever_links_are_in_it(tmp_path):
    write_tree(tmp_path / "mine", ["cup"], 1, 1)
    (tmp_path / "mine/photos/again").symlink_to(tmp_path / "mine")
    put(tmp_path / "elsewhere/linked_0.jpg", picture(3))
    for name in ("linked", "twice"):
        (tmp_path / "mine/photos" / name).symlink_to(tmp_path / "elsewhere")
    names = open_source(tmp_path / "mine").names
    linked = ["photos/linked/linked_0.jpg", "photos/twice/linked_0.jpg"]
    assert names == ["photos/cup/cup_0.jpg", *linked, "sketches/cup/cup_0.png"]
    (tmp_path / "mine/photos/cup/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert "photos/cup/gone.jpg: a link to a file that does not exist" in refusal(open_source, tmp_path / "mine")
