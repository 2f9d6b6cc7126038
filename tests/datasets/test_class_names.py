import pytest

from datasets.class_names import same_classes


@pytest.mark.parametrize(
    "name, other",
    [
        ("hot-air_balloon", "hot air balloon"),
        ("car_(sedan)", "car (sedan)"),
        ("car_(sedan)", "car"),
        ("Teddy-Bear", "teddybear"),
        ("(odd)", "odd"),
    ],
)
def test_spellings_of_one_class(name, other):
    assert same_classes([name], ["cup", other]) == {name: other}


def test_others_stay_apart():
    assert same_classes(["horse", "sea_horse", "()"], ["zebra", "seashell", "chorse", "[]x"]) == {}
