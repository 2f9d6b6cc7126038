import unicodedata

import pytest

from preparation.spellings import classes_of_folders, nearest, require_apart
from utils.errors import InputError


def test_folders_mean_the_class_that_is_nearest_in_spelling():
    classes = ["car_(sedan)", "teddy_bear", "hot-air_balloon", "bear", "café"]
    folders = ["car", "teddy-bear", "Hot Air Balloon", "bear", unicodedata.normalize("NFD", "café"), "race car"]
    found = classes_of_folders(folders, classes)
    assert found == dict(zip(folders, ["car_(sedan)", "teddy_bear", "hot-air_balloon", "bear", "café"], strict=False))


@pytest.mark.parametrize("two", [("teddy_bear", "teddy-bear"), ("car", "Car (Sedan)")])
def test_two_folders_of_one_class_are_refused(two):
    with pytest.raises(InputError, match="both mean the class"):
        classes_of_folders(two, ["teddy_bear", "car (sedan)"])


def test_names_of_signs_and_of_other_scripts_stay_apart():
    require_apart(["+", "-", "=", "c", "c++", "🐱", "🐶", "बल", "बाल", "crane (bird)", "crane (machine)"])
    with pytest.raises(InputError, match="both mean"):
        require_apart(["Cup", "cup"])


def test_a_hint_names_the_nearest_folder():
    assert "'hot_dogs'" in nearest("hotdog", ["hot_dogs", "cat"])
    assert nearest("hotdog", ["zebra"]) == ""
